"""What is drawn, and that the correction has the right sign and size."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from pipelines.models import sampled_softmax
from pipelines.models.sampled_softmax import drawn_titles, softmax_loss, target_shares


def learned(corrected: bool) -> np.ndarray:
    """Logits that a model without users learns of eight titles, the first of which is watched most."""
    shares = np.array([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    generator = np.random.default_rng(1)
    logits = torch.zeros(8, requires_grad=True)
    optimiser = torch.optim.SGD([logits], lr=1.0)
    tail = []
    for step in range(3000):
        targets = generator.choice(8, 6, p=shares)
        drawn, log_q = drawn_titles(targets, shares, 2, generator)
        log_q = torch.as_tensor(log_q if corrected else np.zeros_like(log_q))
        titles = logits[torch.as_tensor(drawn)][:, None]
        wanted = torch.as_tensor(np.searchsorted(drawn, targets))[:, None]
        shares_of_place = torch.ones(len(targets), 1)
        loss = softmax_loss(torch.ones(len(targets), 1), titles, wanted, shares_of_place, log_q) / len(targets)
        for group in optimiser.param_groups:
            group["lr"] = 0.5 / (1 + step / 300)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        if step > 2000:
            tail.append(logits.detach().numpy().copy())
    mean = np.mean(tail, 0)
    return mean - mean.mean()


def test_with_the_correction_the_softmax_over_drawn_titles_learns_how_often_each_is_watched():
    wanted = np.log([0.4, 0.2, 0.1, 0.1, 0.05, 0.05, 0.05, 0.05])
    np.testing.assert_allclose(learned(corrected=True), wanted - wanted.mean(), atol=0.25)


def test_without_it_popular_titles_are_pushed_down():
    off = learned(corrected=False)
    on = learned(corrected=True)
    assert off[0] - off[-1] < 0.75 * (on[0] - on[-1])


def test_a_catalogue_no_larger_than_the_negatives_is_read_whole_and_needs_no_correction():
    drawn, log_q = drawn_titles(np.array([3, 3]), np.full(10, 0.1), 10, np.random.default_rng(1))
    assert drawn.tolist() == list(range(10))
    assert not log_q.any()


@given(st.lists(st.integers(0, 99), min_size=1, max_size=30), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_every_target_is_drawn_once_and_every_probability_is_one(targets, negatives, seed):
    shares = np.bincount(targets, minlength=100) / len(targets)
    drawn, log_q = drawn_titles(np.array(targets), shares, negatives, np.random.default_rng(seed))
    assert set(targets) <= set(drawn.tolist())
    assert (np.diff(drawn) > 0).all()
    assert np.isfinite(log_q).all()
    assert (log_q <= 0).all()


def test_the_probability_of_coming_in_is_how_often_titles_come_in():
    shares = np.array([0.5, 0.3, 0.1, 0.05, 0.05] + [0.0] * 15)
    generator = np.random.default_rng(2)
    counts, expected = np.zeros(20), np.zeros(20)
    for _ in range(4000):
        drawn, log_q = drawn_titles(generator.choice(20, 3, p=shares), shares, 4, generator)
        counts[drawn] += 1
        expected[drawn] = np.exp(log_q)
    np.testing.assert_allclose(counts / 4000, expected, atol=0.03)


def test_shares_of_targets_count_targets_alone():
    shares = target_shares(np.array([0, 0, 1, 2]), np.array([True, True, True, False]), 4)
    assert shares.tolist() == pytest.approx([2 / 3, 1 / 3, 0, 0])


@settings(deadline=None)
@given(st.integers(1, 40), st.integers(2, 30), st.integers(1, 3), st.integers(0, 2**32 - 1))
def test_loss_and_gradients_are_those_of_cross_entropy_however_many_places_are_taken_at_once(
    places, titles, targets, seed
):
    torch.manual_seed(seed)
    users, drawn = torch.randn(places, 8) * 5, torch.randn(titles, 8)
    wanted, log_q = torch.randint(0, titles, (places, targets)), -torch.rand(titles)
    shares = torch.rand(places, targets).softmax(1)
    # A title that is a target twice is to have both shares.
    distribution = torch.zeros(places, titles).scatter_add_(1, wanted, shares)
    found, expected = [], []
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sampled_softmax._CELLS, "cpu", 3 * titles)
        for into, loss_of in (
            (found, lambda u, t: softmax_loss(u, t, wanted, shares, log_q)),
            (expected, lambda u, t: F.cross_entropy(u @ t.T - log_q, distribution, reduction="sum")),
        ):
            u, t = users.clone().requires_grad_(), drawn.clone().requires_grad_()
            loss = loss_of(u, t)
            (loss / 3).backward()
            into += [loss.detach(), u.grad, t.grad]
    for one, other in zip(found, expected, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-4)
