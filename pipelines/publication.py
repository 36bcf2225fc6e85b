"""Is what the store holds what was made, by a set that may serve? Counts, checksums and a sample read back, and the
signed promotion of the set, before anything goes live.
"""

import json
import random
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_defs.recommendations import RECOMMENDATION_SLOTS, RECOMMENDATIONS
from pipelines.audit.entry import AuditRecord
from pipelines.audit.in_force import promotions_of
from pipelines.days import end_of
from pipelines.digested_files import DigestedFiles
from pipelines.errors import DataError, RefusedError, UnavailableError
from pipelines.expectations import validate
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.lists.place_checks import PLACE_COLUMNS, telling_places
from pipelines.lists.stored import stored_lists
from pipelines.runs import Run, last_step
from pipelines.shards import shards
from pipelines.stores.interface import ListStore, Tally, sum_of, tally_of

_SAMPLE = 100


def verify(lake: Lake, run: Run, store: ListStore) -> dict[str, Any]:
    """The manifest of a run, once the store was found to hold exactly what its shards wrote.

    Counts and checksums of all lists, as the store says them, are held against those of the shards; and a sample of
    lists against the lake's rows, packed anew.

    Raises:
        DataError: if a shard was not written.
        UnavailableError: if the store holds something else; a new attempt may mend it.
    """
    parts = [str(shard) for shard in shards(run.configuration.shard_count)]
    written = [last_step(lake, run, "write_lists", part) for part in parts]
    expected = sum_of(Tally(part["counts"]["lists"], int(part["counts"]["checksum"], 16)) for part in written)
    found = store.tally(run.run_id)
    if found != expected and not _is_erased_since(lake, run, found):
        raise UnavailableError(
            f"the store holds {found.list_count:,} lists of run {run.run_id} with checksum {found.checksum:016x}; "
            f"{expected.list_count:,} with {expected.checksum:016x} were written: write its lists again"
        )
    forgotten = store.forgotten()
    for user_id, data in _sample(lake, run):
        if user_id not in forgotten and store.get(run.run_id, user_id) != data:
            raise UnavailableError(
                f"the list of a user in run {run.run_id} is not the one that was made: write its lists again"
            )
    model_sets = {last_step(lake, run, "score_users", part)["counts"]["champion"] for part in parts}
    if len(model_sets) > 1:
        raise UnavailableError(f"the shards of run {run.run_id} were scored by different model sets: score them again")
    return {
        "lists": found.list_count,
        "checksum": f"{found.checksum:016x}",
        "model_set": model_sets.pop(),
        "recommendations_version": max(json.loads(part["reads"])[RECOMMENDATIONS.name] for part in written),
    }


def promotion_of_lists(
    lake: Lake, run: Run, manifest: Mapping[str, Any], entries: Sequence[AuditRecord], models: DigestedFiles
) -> AuditRecord | None:
    """The signed promotion on which the lists of a run may be served; `None` where there is neither set nor list.

    Args:
        lake: where the steps of the run are.
        run: whose lists are to be served.
        manifest: of the run; says by which set they were made, and how many they are.
        entries: of the signed record, each of them as it was signed.
        models: where the files of sets are.

    Raises:
        RefusedError: if the set was never promoted, was promoted only after it had scored these lists, or is no longer
            what was promoted; one sentence.
    """
    model_set = manifest["model_set"]
    if model_set is None and not manifest["lists"]:
        return None
    parts = [str(shard) for shard in shards(run.configuration.shard_count)]
    scored_at = min(last_step(lake, run, "score_users", part)["started_at"] for part in parts)
    named = f"the lists of run {run.run_id} were made by the model set {model_set}"
    promotions = promotions_of(entries, model_set)
    if not promotions:
        raise RefusedError(f"{named}, which the signed record does not promote: they are not published")
    before = [one for one in promotions if datetime.fromisoformat(one.content["recorded_at"]) <= scored_at]
    if not before:
        raise RefusedError(f"{named} before it was promoted: they are not published; score them again")
    try:
        models.load(model_set)
    except DataError as error:
        raise RefusedError(f"{named}, which is no longer the one that passed: {error}") from None
    return before[-1]


def _is_erased_since(lake: Lake, run: Run, found: Tally) -> bool:
    """Whether a store that reads its lists back lacks those of users who were erased after they were written, only."""
    if not lake.erased_users():
        return False
    packed = (pack_many(block, generated_at=end_of(run.day)) for block in stored_lists(lake, run.day, run.run_id))
    return found == tally_of(chain.from_iterable(packed))


def show_expectations(lake: Lake, run: Run, docs: Path) -> None:
    """Hold a run's lists against the suite of their places, and write the page that shows people how they fared.

    The suite sees those places that could break a rule (`pipelines.lists.place_checks.telling_places`), a few of each
    thousand lists.

    Raises:
        DataError: if a place breaks a rule; names each expectation.
    """
    places = telling_places(stored_lists(lake, run.day, run.run_id, columns=PLACE_COLUMNS))
    if not places.num_rows:
        return
    with tempfile.TemporaryDirectory(prefix="marquee-") as folder:
        path = Path(folder) / "places.parquet"
        pq.write_table(places, path)
        found = validate({RECOMMENDATION_SLOTS: path}, docs, run.day, "publish_recommendations")
    found.refuse_if_critical(f"the lists of run {run.run_id}")


def _sample(lake: Lake, run: Run) -> Iterator[tuple[int, bytes]]:
    """Some lists as the lake has them, packed: the same ones for the same run."""
    ids = [block.column("user_id").to_numpy() for block in stored_lists(lake, run.day, run.run_id, columns=["user_id"])]
    users = np.sort(np.concatenate([np.empty(0, np.int64), *ids]))
    places = random.Random(run.run_id).sample(range(len(users)), min(_SAMPLE, len(users)))  # noqa: S311  (a sample)
    chosen = pa.array(users[places])
    for block in stored_lists(lake, run.day, run.run_id):
        yield from pack_many(
            block.filter(pc.is_in(block.column("user_id"), value_set=chosen)), generated_at=end_of(run.day)
        )
