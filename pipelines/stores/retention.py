"""Which attempts does a store hold on to when it lets go of old runs?"""

from collections.abc import Collection, Iterable, Mapping

from pipelines.stores.interface import run_day


def kept(
    runs: Mapping[int, str], newest: Mapping[str, int], committed: Collection[int], live: set[int], keep: int
) -> set[int]:
    """The attempts that retention leaves alone.

    Args:
        runs: the run of every attempt there is.
        newest: the newest attempt at every run.
        committed: the attempts with a manifest.
        live: the attempts that pointers lead to.
        keep: how many of the newest committed runs stay.
    """
    # What is newer than all that is live may be about to go live, unless it was overtaken.
    being_written = {
        attempt for attempt, run_id in runs.items() if attempt > max(live, default=0) and newest.get(run_id) == attempt
    }
    last_committed = {runs[attempt]: attempt for attempt in sorted(committed)}
    newest_runs = sorted(last_committed, key=lambda run_id: (run_day(run_id), last_committed[run_id]), reverse=True)
    return live | being_written | {last_committed[run_id] for run_id in newest_runs[:keep]}


def runs_gone(runs: Mapping[int, str], doomed: Iterable[int]) -> list[str]:
    """The runs of which nothing is left when these attempts are gone, in order."""
    gone = set(doomed)
    left = {run_id for attempt, run_id in runs.items() if attempt not in gone}
    return sorted({runs[attempt] for attempt in gone} - left)
