"""How sure a comparison of groups is: users resampled by Poisson weights, contrasts of means, Holm's correction.

A contrast is a combination of means that is negative where a group lies beyond its limit; it is linear in the group's
own mean, so that a group that finds nothing at all is no special case. Its standard error comes from resamples (or,
where hundreds of audits are repeated as a control, from moments), its p-value from the normal distribution: with a
family of a hundred tests at alpha .02 the shares of a thousand resamples are too coarse.

Shapes: B resamples, U users, T groups, M metrics, N tests, K columns of values.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import special

Floats = NDArray[np.float64]
Kind = Literal["floor", "kept"]

_USERS_AT_ONCE = 4096
# Of a user and metric: whether it applies, the value, the champion's, and their products.
_APPLIES, _VALUE, _CHAMPION, _VALUE_2, _BOTH, _CHAMPION_2 = range(6)


@dataclass(frozen=True)
class GroupTest:
    """One test of a family: a group, a metric (places among T and M), and what may not be shown to be undercut.

    `bound`: for a floor, the least ratio to everybody else; for a kept test, the share of the champion's value that
    is to be kept, or above one what it may grow to where less is better.
    """

    group: int
    metric: int
    kind: Kind
    bound: float
    is_more_better: bool = True


def value_columns(values: Floats, champion: Floats | None) -> NDArray[np.float32]:
    """What is summed up in resamples, three columns a metric (applies, value, the champion's): float32 [U, 3 M]."""
    applies, own, theirs = _applied(values, champion)
    return np.stack([applies, own, theirs], 2).reshape(len(values), -1).astype(np.float32)


def moment_columns(values: Floats, champion: Floats | None) -> Floats:
    """The same with products, six columns a metric: float64 [U, 6 M]."""
    applies, own, theirs = _applied(values, champion)
    columns = np.empty((*values.shape, 6))
    for at, product in enumerate((applies, own, theirs, own * own, own * theirs, theirs * theirs)):
        columns[..., at] = product
    return columns.reshape(len(values), -1)


def group_sums(membership: NDArray[np.bool_], columns: Floats) -> Floats:
    """Sums of columns by group: float64 [T, K], groups may overlap.

    Args:
        membership: bool [T, U].
        columns: float64 [U, K].
    """
    sums = np.zeros((len(membership), columns.shape[1]))
    for start in range(0, len(columns), _USERS_AT_ONCE):
        part = slice(start, start + _USERS_AT_ONCE)
        sums += membership[:, part].astype(np.float64) @ columns[part]
    return sums


def resampled_sums(
    membership: NDArray[np.bool_],
    columns: NDArray[np.float32],
    whole_columns: NDArray[np.float32],
    resamples: int,
    seed: int,
) -> tuple[Floats, Floats]:
    """Sums of columns by group, and of other columns over everybody, in resamples of users.

    Each user is drawn a number of times that has a Poisson distribution of mean one, the same for all metrics and
    models, which pairs them. (Hanley and MacGibbon, "Creating non-parametric bootstrap samples using Poisson
    frequencies", 2006; Chamandy et al., "Estimating uncertainty for massive data streams", 2012.)

    Args:
        membership: bool [T, U].
        columns: float32 [U, K], summed by group.
        whole_columns: float32 [U, E], summed over everybody.
        resamples: B.
        seed: of the weights.

    Returns:
        float64 [B, T, K] and [B, E].
    """
    user_count, width = columns.shape
    by_group = np.zeros((resamples, len(membership) * width))
    whole = np.zeros((resamples, whole_columns.shape[1]))
    generator = np.random.default_rng(seed)
    for start in range(0, user_count, _USERS_AT_ONCE):
        part = slice(start, start + _USERS_AT_ONCE)
        weights = _poisson_weights(generator, resamples, len(columns[part]))
        spread = membership[:, part].T[:, :, None] * columns[part][:, None, :]
        by_group += weights @ spread.reshape(len(spread), -1)
        whole += weights @ whole_columns[part]
    return by_group.reshape(resamples, len(membership), width), whole


@dataclass(frozen=True)
class Contrasts:
    """Of N tests, in resamples or as they are: float64 [..., N] each.

    `differences`: negative beyond the limit. `scales`: the value that limits are shares of. `estimates`: the ratio
    that is tested.
    """

    differences: Floats
    scales: Floats
    estimates: Floats


def contrasts(sums: Floats, totals: Floats, tests: Sequence[GroupTest]) -> Contrasts:
    """Contrasts from sums of value columns or of moment columns.

    Args:
        sums: float64 [..., T, M, 3 or 6].
        totals: float64 [..., M, 3 or 6], the same over everybody.
        tests: N.
    """
    at = _TestColumns(tests)
    own = sums[..., at.groups, at.metrics, :]
    rest = totals[..., at.metrics, :] - own
    group, others = _mean(own, _VALUE), _mean(rest, _VALUE)
    before, others_before = _mean(own, _CHAMPION), _mean(rest, _CHAMPION)
    scales = np.where(at.kept, before * _moved(others, others_before, at.more), others)
    with np.errstate(divide="ignore", invalid="ignore"):
        estimates = np.where(scales > 0, group / scales, np.nan)
    return Contrasts(np.where(at.more, 1.0, -1.0) * (group - at.bounds * scales), scales, estimates)


def analytic_errors(sums: Floats, totals: Floats, tests: Sequence[GroupTest]) -> Floats:
    """Standard errors of the contrasts by the delta method, from sums of moment columns: float64 [N].

    Args:
        sums: float64 [T, M, 6].
        totals: float64 [M, 6].
        tests: N.
    """
    at = _TestColumns(tests)
    own = sums[at.groups, at.metrics]
    rest = totals[at.metrics] - own
    others, others_before = _mean(rest, _VALUE), _mean(rest, _CHAMPION)
    moved = _moved(others, others_before, at.more)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(at.kept & (moved != 1), others / others_before, 0.0)
        from_rest = np.where(at.kept & (moved != 1), at.bounds * _mean(own, _CHAMPION) / others_before, 0.0)
    from_rest = np.where(at.kept, from_rest, at.bounds)
    of_group = _variance_of_mean(own, np.where(at.kept, at.bounds * moved, 0.0))
    return np.sqrt(of_group + from_rest**2 * _variance_of_mean(rest, ratio))


def least_errors(sums: Floats, totals: Floats, tests: Sequence[GroupTest]) -> Floats:
    """What the standard error of a floor's contrast is at the least, as if its users varied as others do: float64 [N].

    A group that finds little by chance also seems to vary little, and its own spread would call that certain.

    Args:
        sums: float64 [T, M, 6].
        totals: float64 [M, 6].
        tests: N; zero for tests of another kind.
    """
    at = _TestColumns(tests)
    own = sums[at.groups, at.metrics]
    rest = totals[at.metrics] - own
    spread = _variance_of_mean(rest, np.zeros(len(rest))) * rest[:, _APPLIES]
    return np.where(at.kept, 0.0, at.bounds * np.sqrt(spread / np.maximum(own[:, _APPLIES], 1)))


def thinned(sums: Floats, kept: float) -> Floats:
    """Moments of groups of whose users each is left with its value with this probability, and with nothing otherwise.

    Args:
        sums: float64 [T, M, 6].
        kept: the share of users who keep theirs.
    """
    shares = np.ones(6)
    shares[[_VALUE, _VALUE_2, _BOTH]] = kept
    return sums * shares


def p_values(differences: Floats, errors: Floats) -> Floats:
    """One-sided: how likely so low a contrast is where the limit is just kept: float64 [N]."""
    with np.errstate(divide="ignore", invalid="ignore"):
        scores = np.where(errors > 0, differences / errors, np.sign(differences) * np.inf)
    chances: Floats = special.ndtr(np.where(np.isnan(scores), 0.0, scores))
    return np.where((errors <= 0) & (differences >= 0), 1.0, chances)


def holm(p: Floats) -> Floats:
    """Adjusted p-values: whatever of these is below alpha is so with a chance of alpha that any of it is false.

    Holm, "A simple sequentially rejective multiple test procedure" (1979). float64 [N].
    """
    order = np.argsort(p, kind="stable")
    adjusted = np.empty(len(p))
    adjusted[order] = np.minimum(np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1)), 1)
    return adjusted


def adjusted_by_moments(sums: Floats, totals: Floats, tests: Sequence[GroupTest]) -> Floats:
    """Adjusted p-values of tests whose standard errors come from moments, without a resample: float64 [N].

    Args:
        sums: float64 [T, M, 6].
        totals: float64 [M, 6].
        tests: N.
    """
    errors = np.maximum(analytic_errors(sums, totals, tests), least_errors(sums, totals, tests))
    return holm(p_values(contrasts(sums, totals, tests).differences, errors))


def users_needed(
    counts: NDArray[np.int64], errors: Floats, scales: Floats, beyond: float, level: float, power: float
) -> Floats:
    """How many users of a group it takes to find it so far beyond its limit: float64, infinite where it cannot be.

    Args:
        counts: users of each group.
        errors: standard errors of their contrasts.
        scales: values that `beyond` is a share of.
        beyond: how far, as a share.
        level: of one test.
        power: with what probability.
    """
    reach = special.ndtri(1 - level) + special.ndtri(power)
    with np.errstate(divide="ignore", invalid="ignore"):
        needed: Floats = np.where(scales > 0, counts * (errors * reach / (beyond * scales)) ** 2, np.inf)
    return needed


def exact_upper(failures: int, trials: int, confidence: float = 0.95) -> float:
    """The upper end of the exact one-sided interval of a share (Clopper and Pearson, 1934)."""
    return 1.0 if failures >= trials else float(special.betaincinv(failures + 1, trials - failures, confidence))


def exact_interval(count: int, trials: int, confidence: float = 0.95) -> tuple[float, float]:
    """The exact two-sided interval of a share (Clopper and Pearson, 1934)."""
    tail = (1 - confidence) / 2
    low = 0.0 if not count else float(special.betaincinv(count, trials - count + 1, tail))
    return low, exact_upper(count, trials, 1 - tail)


class _TestColumns:
    """Tests as columns: [N] each."""

    def __init__(self, tests: Sequence[GroupTest]) -> None:
        self.groups = np.array([one.group for one in tests], np.int64)
        self.metrics = np.array([one.metric for one in tests], np.int64)
        self.kept = np.array([one.kind == "kept" for one in tests], np.bool_)
        self.bounds = np.array([one.bound for one in tests], np.float64)
        self.more = np.array([one.is_more_better for one in tests], np.bool_)


def _applied(values: Floats, champion: Floats | None) -> tuple[Floats, Floats, Floats]:
    """Whether a metric applies, and both values, zero where it does not: float64 [U, M] each."""
    theirs = np.zeros_like(values) if champion is None else champion
    # A metric that the champion has of nobody (what was served, say) is not held against it.
    compared = np.isfinite(theirs).any(0)
    applies = np.isfinite(values) & (np.isfinite(theirs) | ~compared)
    return (
        applies.astype(np.float64),
        np.where(applies, values, 0.0),
        np.where(applies & np.isfinite(theirs), theirs, 0.0),
    )


def _mean(sums: Floats, column: int) -> Floats:
    mean: Floats = sums[..., column] / np.maximum(sums[..., _APPLIES], 1e-12)
    return mean


def _moved(others: Floats, others_before: Floats, more: NDArray[np.bool_]) -> Floats:
    """What everybody else kept: at most all of it where more is better, at least all where less is."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = np.where(others_before > 0, others / others_before, 1.0)
    return np.where(more, np.minimum(ratio, 1.0), np.maximum(ratio, 1.0))


def _variance_of_mean(sums: Floats, factor: Floats) -> Floats:
    """Of `value - factor * champion's value`: float64 [N]."""
    count = np.maximum(sums[..., _APPLIES], 1)
    mean = (sums[..., _VALUE] - factor * sums[..., _CHAMPION]) / count
    square = sums[..., _VALUE_2] - 2 * factor * sums[..., _BOTH] + factor**2 * sums[..., _CHAMPION_2]
    variance: Floats = np.maximum(square / count - mean**2, 0) / np.maximum(count - 1, 1)
    return variance


def _poisson_weights(generator: np.random.Generator, resamples: int, users: int) -> NDArray[np.float32]:
    weights: NDArray[np.float32] = _POISSON[generator.integers(0, len(_POISSON), (resamples, users), np.uint16)]
    return weights


def _poisson_table() -> NDArray[np.float32]:
    """Quantiles of the Poisson distribution of mean one at 65,536 even steps."""
    chances = (np.arange(65536) + 0.5) / 65536
    return np.searchsorted(special.pdtr(np.arange(12), 1.0), chances).astype(np.float32)


_POISSON = _poisson_table()
