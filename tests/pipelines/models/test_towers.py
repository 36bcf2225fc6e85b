"""Planted structure comes back: order, attributes, content; and towers are what their files say."""

import dataclasses
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import small_catalogue as small
import torch
from safetensors.torch import load as tensors_from_bytes
from safetensors.torch import save as tensors_to_bytes

from pipelines import crash_points
from pipelines.errors import DataError
from pipelines.models.towers import ItemTensors, Towers
from pipelines.models.towers_configuration import TowersConfiguration
from pipelines.models.towers_inputs import item_inputs, vocabularies, windows
from pipelines.models.towers_learner import Learner, next_and_later
from pipelines.models.towers_training import train_towers

ITEMS = 30
SMALL = TowersConfiguration(
    width=16,
    blocks=1,
    history_length=8,
    epochs=30,
    batch_tokens=256,
    learning_rate=1e-2,
    creator_buckets=8,
    dropout=0.0,
)
ROOT = Path(__file__).resolve().parents[3]


def world(user_count=60, left_out=()):
    """Users go round a circle of titles, in steps of one, from anywhere on. Text says where a title stands."""
    generator = np.random.default_rng(3)
    rows = []
    for _ in range(user_count):
        start = int(generator.integers(ITEMS))
        row = [(start + step) % ITEMS + 1 for step in range(8)]
        rows.append([item for item in row if item not in left_out])
    angle = np.arange(ITEMS) / ITEMS * 2 * np.pi
    text = np.stack([np.sin(angle * k) for k in (1, 2)] + [np.cos(angle * k) for k in (1, 2)], 1) / 2**0.5
    return small.histories(*rows), small.catalogue(ITEMS), small.users(user_count), text.astype(np.float32)


def trained(configuration=SMALL, left_out=(), user_count=60, **options):
    past, catalogue, users, text = world(user_count, left_out)
    known = vocabularies(catalogue, past.item_ids, users, 4, configuration.creator_buckets, configuration.user_buckets)
    cut = windows(past, catalogue, users, known, configuration.history_length, configuration.held_out_share)
    return train_towers(cut, item_inputs(catalogue, text, known), known, configuration, **options)


@pytest.fixture(scope="module")
def towers():
    return trained()


@pytest.fixture(scope="module")
def with_taste(towers):
    past, catalogue, _, text = world()
    return towers.with_taste(past, catalogue, text)


def next_titles(towers, past):
    _, catalogue, users, text = world()
    return towers.encode_users(past, users, catalogue, text) @ towers.encode_items(catalogue, text).T


def test_the_title_that_follows_in_order_comes_first(towers):
    past = small.histories(*[[(start + step) % ITEMS + 1 for step in range(4)] for start in range(ITEMS)])
    wanted = (np.arange(ITEMS) + 4) % ITEMS
    ranks = (next_titles(towers, past) > next_titles(towers, past)[np.arange(ITEMS), wanted][:, None]).sum(1)
    assert (ranks < 3).mean() > 0.9
    assert np.median(ranks) == 0


def test_order_matters_and_not_the_set_of_titles_alone(towers):
    forth, back = small.histories([4, 5, 6, 7]), small.histories([7, 6, 5, 4])
    assert next_titles(towers, forth)[0].argmax() == 7
    assert next_titles(towers, back)[0].argmax() != 7


def test_a_place_predicts_the_next_title_and_with_a_share_the_one_after_if_that_is_to_be_predicted_too():
    titles = np.array([[5, 6, 7, 8], [1, 2, 3, 4]])
    is_target = np.array([[True, True, False, True], [False, True, True, True]])
    wanted, shares = next_and_later(titles, is_target, 0.25)
    assert [row[share > 0].tolist() for row, share in zip(wanted, shares, strict=True)] == [
        [5, 6], [6], [8], [2, 3], [3, 4], [4],
    ]  # fmt: skip
    assert wanted[:, 0].tolist() == titles[is_target].tolist()
    np.testing.assert_allclose(shares.sum(1), 1)
    assert shares[:, 1].tolist() == [0.25, 0, 0, 0.25, 0.25, 0]


def test_who_a_user_is_decides_where_nothing_was_watched():
    rows = [[1 + 2 * ((user + step) % 10) + user % 2 for step in range(3)] for user in range(80)]
    catalogue = small.catalogue(20)
    users = small.users(80, age_band=["18_24" if user % 2 else "55_up" for user in range(80)])
    past, text = small.histories(*rows), np.zeros((20, 4), np.float32)
    known = vocabularies(catalogue, past.item_ids, users, 4, 8, 0)
    model = train_towers(windows(past, catalogue, users, known, 8), item_inputs(catalogue, text, known), known, SMALL)
    nobody = small.histories([], [])
    scores = model.encode_users(nobody, users, catalogue, text) @ model.encode_items(catalogue, text).T
    assert set(np.argsort(-scores[0])[:8] % 2) == {0}
    assert set(np.argsort(-scores[1])[:8] % 2) == {1}


def test_a_title_never_watched_is_placed_by_its_content():
    model = trained(left_out=(12,))
    _, catalogue, _, text = world()
    vectors = model.encode_items(catalogue, text)
    near = np.argsort(-vectors @ vectors[11])[1:6]
    assert len(set(near) & {8, 9, 10, 12, 13, 14}) >= 3


def test_vectors_are_of_unit_length_whatever_is_known(towers):
    _, catalogue, users, text = world()
    past = small.histories([], [3], [1, 2, 99], list(range(1, 25)))
    assert np.linalg.norm(towers.encode_users(past, users, catalogue, text), axis=1) == pytest.approx(1, abs=1e-5)
    bare = small.catalogue(2, genres=[None, None], language=[None, None], release_year=[None, None])
    assert np.linalg.norm(towers.encode_items(bare, np.zeros((2, 1), np.float32)), axis=1) == pytest.approx(1, abs=1e-5)


def test_a_user_is_encoded_alike_alone_and_among_others(towers):
    _, catalogue, users, text = world()
    rows = [[1, 2, 3], [5], [7, 8, 9, 10], [2, 4, 6]]
    together = towers.encode_users(small.histories(*rows), users, catalogue, text)
    past = small.histories(*rows)
    for user in range(4):
        alone = towers.encode_users(past.of(past.user_ids[user : user + 1]), users, catalogue, text)
        np.testing.assert_allclose(alone[0], together[user], atol=1e-5)


def test_taste_draws_a_user_to_what_is_like_titles_older_than_those_read_in_order(towers, with_taste):
    newest = list(range(1, 9))
    past = small.histories(newest, [18, 19, 21, 22, *newest], [25, 26, 28, *newest])
    np.testing.assert_allclose(next_titles(towers, past)[1:], next_titles(towers, past)[[0, 0]], atol=1e-5)
    scores = next_titles(with_taste, past)
    # Title 20 and title 27, which none of them watched.
    assert scores[:, 19].argmax() == 1
    assert scores[:, 26].argmax() == 2


def test_with_taste_a_logit_is_that_of_the_order_and_the_weighed_score_of_taste(towers, with_taste):
    _, catalogue, users, text = world()
    past = small.histories([3, 9, 4], [12])
    titles, people = with_taste.encode_items(catalogue, text), with_taste.encode_users(past, users, catalogue, text)
    width, taste = SMALL.width, titles[:, SMALL.width :] * 2**0.5
    by_order = next_titles(towers, past) / towers.temperature
    # A user is made of unit length: of one user all logits are scaled alike.
    scale = np.linalg.norm(people[:, :width], axis=1, keepdims=True)
    by_taste = people[:, width:] / (scale * towers.temperature) @ taste.T
    logits = people @ titles.T / with_taste.temperature
    np.testing.assert_allclose(logits / scale, by_order + by_taste, atol=1e-3)
    watched = by_taste[0, [2, 8, 3]]
    assert watched == pytest.approx(SMALL.taste_weight, rel=0.4)
    assert by_taste[1, 11] == pytest.approx(SMALL.taste_weight, rel=0.4)


def test_vectors_with_taste_are_of_unit_length_whatever_is_known(with_taste):
    _, catalogue, users, text = world()
    past = small.histories([], [3], [1, 2, 99], list(range(1, 25)))
    people = with_taste.encode_users(past, users, catalogue, text)
    assert people.shape == (4, SMALL.width + SMALL.taste_width)
    assert np.linalg.norm(people, axis=1) == pytest.approx(1, abs=1e-5)
    bare = small.catalogue(2, genres=[None, None], language=[None, None], release_year=[None, None])
    assert np.linalg.norm(with_taste.encode_items(bare, np.zeros((2, 1), np.float32)), axis=1) == pytest.approx(
        1, abs=1e-5
    )


def test_a_title_is_placed_alike_alone_and_among_others(with_taste):
    _, catalogue, _, text = world()
    together = with_taste.encode_items(catalogue, text)
    np.testing.assert_allclose(with_taste.encode_items(small.catalogue(3), text[:3]), together[:3], atol=1e-5)


def test_without_a_width_for_it_there_is_no_taste():
    past, catalogue, _, text = world()
    none = trained(dataclasses.replace(SMALL, epochs=1, taste_width=0))
    assert none.with_taste(past, catalogue, text).to_files() == none.to_files()


def test_towers_with_taste_come_back_from_their_files_and_taste_that_does_not_fit_is_refused(towers, with_taste):
    past = small.histories([4, 5, 6, 7])
    again = Towers.from_files(with_taste.to_files())
    np.testing.assert_array_equal(next_titles(again, past), next_titles(with_taste, past))
    assert again.to_files() == with_taste.to_files()

    def shorten(weights):
        weights["taste.factors"] = weights["taste.factors"][:-1].contiguous()

    def poison(weights):
        weights["taste.of_content"][0, 0] = float("inf")

    with pytest.raises(DataError, match="the taste of the towers does not fit"):
        Towers.from_files(altered(with_taste, shorten))
    with pytest.raises(DataError, match=r"taste\.of_content of the towers are not all finite"):
        Towers.from_files(altered(with_taste, poison))
    # As kept before there was taste: read as they were judged.
    described = json.loads(towers.to_files()["towers.json"])
    for name in ("taste_width", "taste_weight"):
        del described["configuration"][name]
    before = Towers.from_files({**towers.to_files(), "towers.json": json.dumps(described).encode()})
    np.testing.assert_array_equal(next_titles(before, past), next_titles(towers, past))


def test_the_same_seed_gives_the_same_files_and_another_seed_others():
    short = dataclasses.replace(SMALL, epochs=2, dropout=0.3)
    assert trained(short).to_files() == trained(short).to_files()
    assert trained(short).to_files() != trained(dataclasses.replace(short, seed=2)).to_files()


def cut_off_at(monkeypatch, checkpoint, configuration, kept, **options):
    """Train until so many checkpoints were laid down, and no further."""

    class PowerCutError(Exception):
        pass

    passed = []

    def cut(point):
        passed.append(point)
        if len(passed) == checkpoint:
            raise PowerCutError

    with monkeypatch.context() as patch:
        patch.setattr(crash_points, "passing", cut)
        with pytest.raises(PowerCutError):
            trained(configuration, checkpoints=kept, **options)
    return json.loads((kept / "checkpoint.json").read_text())


def test_a_training_cut_off_resumes_from_its_checkpoint_to_the_same_files(tmp_path, monkeypatch):
    short = dataclasses.replace(SMALL, epochs=6, dropout=0.3, checkpoint_steps=3)
    whole = trained(short).to_files()
    cut_off_at(monkeypatch, 2, short, tmp_path / "kept")
    epochs = []
    resumed = trained(short, checkpoints=tmp_path / "kept", progress=lambda found: epochs.append(found.epoch))
    assert resumed.to_files() == whole
    assert epochs[0] > 0, "what was done before the cut is not done again"
    assert not (tmp_path / "kept").exists()


def test_with_titles_held_out_a_training_cut_off_resumes_to_the_same_files(tmp_path, monkeypatch):
    short = dataclasses.replace(SMALL, epochs=3, checkpoint_steps=4, held_out_share=0.5)
    whole = trained(short, user_count=300).to_files()
    assert cut_off_at(monkeypatch, 4, short, tmp_path / "kept", user_count=300)["judged"] > 0
    assert trained(short, user_count=300, checkpoints=tmp_path / "kept").to_files() == whole


def test_learning_ends_when_what_is_held_out_is_no_longer_predicted_better_and_the_best_pass_is_kept():
    # Steps so large that passes throw away what those before had learned.
    wild = dataclasses.replace(SMALL, epochs=30, learning_rate=0.5, patience=2, held_out_share=0.5)
    found = []
    towers = trained(wild, user_count=300, progress=found.append)
    losses = [one.held_out_loss for one in found]
    best = int(np.argmin(losses))
    assert len(losses) == max(best + 1 + 2, 15) < 30
    past, catalogue, users, text = world(300)
    known = towers.known
    cut = windows(past, catalogue, users, known, wild.history_length, wild.held_out_share)
    titles = ItemTensors.of(item_inputs(catalogue, text, known), towers.device)
    judge = Learner(towers.network, cut, titles, wild, towers.device, ThreadPoolExecutor(1), 1)
    judge.judge()
    assert judge.newest_loss == pytest.approx(min(losses)) != pytest.approx(losses[-1])


def test_a_user_read_for_the_last_place_alone_is_the_user_read_whole(towers):
    generator = torch.Generator().manual_seed(1)
    titles = torch.randn(3, 5, 16, generator=generator).to(towers.device)
    read = towers.network.users
    with towers.device:
        people = torch.zeros(3, dtype=torch.int64), torch.zeros(3, 4, dtype=torch.int64)
        shares = torch.full((3, 5), 3)
    with torch.inference_mode():
        whole = read(*people, titles, shares)
        last = read(*people, titles, shares, last_only=True)
    torch.testing.assert_close(whole[:, -1:], last, rtol=1e-5, atol=1e-5)


def test_a_checkpoint_of_another_training_is_not_taken_up(tmp_path):
    short = dataclasses.replace(SMALL, epochs=2, checkpoint_steps=1)
    (tmp_path / "kept").mkdir()
    (tmp_path / "kept" / "checkpoint.json").write_text(json.dumps({"step": 3, "purpose": "another"}))
    assert trained(short, checkpoints=tmp_path / "kept").to_files() == trained(short).to_files()


def test_in_bfloat16_it_learns_the_same_within_what_bfloat16_tells_apart(towers):
    past = small.histories([4, 5, 6, 7], [10, 11, 12])
    halved = trained(in_bfloat16=True)
    assert next_titles(halved, past).argmax(1).tolist() == next_titles(towers, past).argmax(1).tolist() == [7, 12]


def test_two_processes_learn_what_one_does(tmp_path):
    program = tmp_path / "two.py"
    program.write_text(
        "import os, sys, dataclasses, numpy as np\n"
        f"sys.path[:0] = [{str(Path(__file__).parent)!r}, {str(ROOT / 'tests' / 'worlds')!r}]\n"
        "import test_towers as t\n"
        "from pipelines.models.processes import is_first_process, join_processes\n"
        "join_processes(int(os.environ.get('WORLD_SIZE', '1')), int(os.environ.get('LOCAL_RANK', '0')))\n"
        "files = t.trained(dataclasses.replace(t.SMALL, epochs=4)).to_files()\n"
        "if is_first_process():\n"
        "    open(sys.argv[1], 'wb').write(files['towers.safetensors'])\n"
    )
    # By gloo, on CPU: a machine with one GPU has none for the second process.
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""}
    one = [sys.executable, str(program), str(tmp_path / "one")]
    launch = ["-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    both = [sys.executable, *launch, str(program), str(tmp_path / "both")]
    for command in (one, both):
        subprocess.run(command, check=True, cwd=ROOT, env=environment, capture_output=True, timeout=300)
    alone = tensors_from_bytes((tmp_path / "one").read_bytes())
    together = tensors_from_bytes((tmp_path / "both").read_bytes())
    for name, tensor in alone.items():
        torch.testing.assert_close(tensor, together[name], atol=2e-3, rtol=1e-2, msg=name)


def test_towers_come_back_from_their_files(towers):
    past = small.histories([4, 5, 6, 7])
    again = Towers.from_files(towers.to_files())
    np.testing.assert_array_equal(next_titles(again, past), next_titles(towers, past))


def altered(towers, change):
    files = towers.to_files()
    weights = tensors_from_bytes(files["towers.safetensors"])
    change(weights)
    return {**files, "towers.safetensors": tensors_to_bytes(weights)}


def test_weights_that_are_not_finite_or_do_not_fit_are_refused_before_use(towers):
    def poison(weights):
        weights["items.mix.1.weight"][0, 0] = float("nan")

    def shrink(weights):
        weights["items.mix.1.weight"] = weights["items.mix.1.weight"][:, :-1].contiguous()

    with pytest.raises(DataError, match=r"items\.mix\.1\.weight of the towers are not all finite"):
        Towers.from_files(altered(towers, poison))
    with pytest.raises(DataError, match="do not fit together"):
        Towers.from_files(altered(towers, shrink))
    with pytest.raises(DataError, match="cannot be read"):
        Towers.from_files({**towers.to_files(), "towers.safetensors": b"\x80\x04pickle"})
    with pytest.raises(DataError, match="format 9"):
        Towers.from_files({**towers.to_files(), "towers.json": b'{"format": 9}'})


def test_nothing_to_predict_is_said_in_a_sentence():
    past, catalogue, users, text = world()
    past = small.histories([1], [2, 3], shares=[[0.1], [0.5, 0.2]])
    known = vocabularies(catalogue, past.item_ids, users, 4, 8, 0)
    with pytest.raises(DataError, match="nothing was watched to the end"):
        train_towers(windows(past, catalogue, users, known, 8), item_inputs(catalogue, text, known), known, SMALL)


def test_windows_of_a_batch_are_of_like_length_so_that_little_is_padded():
    found = []
    trained(dataclasses.replace(SMALL, epochs=1), progress=found.append)
    assert found[0].padding_share < 0.05
