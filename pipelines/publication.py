"""Is what the store holds what was made? Counts, checksums and a sample read back, before anything goes live."""

import random
from typing import Any

import pyarrow.compute as pc

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.days import end_of
from pipelines.errors import UnavailableError
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.runs import Run, last_step
from pipelines.shards import shards
from pipelines.stores.interface import ListStore, Tally, sum_of

_SAMPLE = 100


def verify(lake: Lake, run: Run, store: ListStore) -> dict[str, Any]:
    """The manifest of a run, once the store was found to hold exactly what its shards wrote.

    Counts and checksums of all lists, as read back, are held against those of the shards; and a sample of lists
    against the lake's rows, packed anew.

    Raises:
        DataError: if a shard was not written.
        UnavailableError: if the store holds something else; a new attempt may mend it.
    """
    parts = [str(shard) for shard in shards(run.configuration.shard_count)]
    written = [last_step(lake, run, "write_lists", part)["counts"] for part in parts]
    expected = sum_of(Tally(counts["lists"], int(counts["checksum"], 16)) for counts in written)
    found = store.tally(run.run_id)
    if found != expected:
        raise UnavailableError(
            f"the store holds {found.list_count:,} lists of run {run.run_id} with checksum {found.checksum:016x}; "
            f"{expected.list_count:,} with {expected.checksum:016x} were written: write its lists again"
        )
    for user_id, data in _sample(lake, run):
        if store.get(run.run_id, user_id) != data:
            raise UnavailableError(
                f"the list of a user in run {run.run_id} is not the one that was made: write its lists again"
            )
    model_sets = {last_step(lake, run, "score_users", part)["counts"]["champion"] for part in parts}
    if len(model_sets) > 1:
        raise UnavailableError(f"the shards of run {run.run_id} were scored by different model sets: score them again")
    return {
        "lists": expected.list_count,
        "checksum": f"{expected.checksum:016x}",
        "model_set": model_sets.pop(),
        "recommendations_version": lake.version(RECOMMENDATIONS),
    }


def _sample(lake: Lake, run: Run) -> list[tuple[int, bytes]]:
    """Some lists as the lake has them, packed: the same ones for the same run."""
    of_run = pc.field("run_id") == run.run_id
    users = (
        lake.read(RECOMMENDATIONS, run.day, run.day, columns=["user_id"], where=of_run).column("user_id").to_pylist()
    )
    chosen = random.Random(run.run_id).sample(sorted(users), min(_SAMPLE, len(users)))  # noqa: S311  (a sample)
    rows = lake.read(RECOMMENDATIONS, run.day, run.day, where=of_run & pc.field("user_id").isin(chosen))
    return list(pack_many(rows, generated_at=end_of(run.day)))
