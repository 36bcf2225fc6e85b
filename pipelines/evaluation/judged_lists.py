"""What was judged in a night: which model set, and the lists it was judged by, to the lake and back.

The audit of a run looks at what its evaluation made, and only what was evaluated is audited and promoted.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from feature_defs.judged_lists import JUDGED_LISTS
from pipelines.arrow_schemas import arrow_schema
from pipelines.errors import DataError
from pipelines.lake import Lake
from pipelines.runs import Run, last_step
from pipelines.sorted_ids import positions_among


def evaluated_set(lake: Lake, run: Run) -> str:
    """The digest of the challenger that a run's evaluation judged, whatever was assembled after it.

    Raises:
        DataError: if the run was not evaluated, or by a version that did not record what it judged.
    """
    judged = last_step(lake, run, "evaluate_models")["writes"].get("model_set")
    if judged is None:
        raise DataError(f"the evaluation of run {run.run_id} does not say which model set it judged: evaluate it again")
    return str(judged)


def judged_rows(
    run_id: str, role: str, model_set: str, user_ids: NDArray[np.int64], ranking: NDArray[np.int64]
) -> pa.Table:
    """Rows of JUDGED_LISTS.

    Args:
        run_id: the run that judged.
        role: challenger or champion.
        model_set: digest of the set that made the lists.
        user_ids: int64 [U].
        ranking: item ids, best first, int64 [U, R]; -1 where a list is shorter.
    """
    is_there = ranking >= 0
    offsets = np.concatenate([[0], np.cumsum(is_there.sum(1))]).astype(np.int32)
    count = len(user_ids)
    columns = {
        "run_id": pa.array([run_id] * count, pa.string()),
        "role": pa.array([role] * count, pa.string()),
        "model_set": pa.array([model_set] * count, pa.string()),
        "user_id": pa.array(user_ids, pa.int64()),
        "item_ids": pa.ListArray.from_arrays(pa.array(offsets), pa.array(ranking[is_there], pa.int64())),
    }
    return pa.Table.from_pydict(columns).cast(arrow_schema(JUDGED_LISTS))


def judged_sets(lake: Lake, run: Run) -> dict[str, str]:
    """The model set that a run's evaluation kept lists of, by role, challenger first; without those that it did not."""
    of_run = pc.field("run_id") == run.run_id
    rows = lake.read(JUDGED_LISTS, run.day, run.day, columns=["role", "model_set"], where=of_run)
    pairs = rows.group_by(["role", "model_set"]).aggregate([]).sort_by("role")
    return dict(zip(pairs.column("role").to_pylist(), pairs.column("model_set").to_pylist(), strict=True))


def role_of(lake: Lake, run: Run, model_set: str) -> str:
    """The role in which a run's evaluation judged a model set; a champion that its own night judges again has both.

    Raises:
        DataError: if it kept no lists of that set.
    """
    found = next((role for role, judged in judged_sets(lake, run).items() if judged == model_set), None)
    if found is None:
        raise DataError(
            f"there is nobody to audit: run {run.run_id} kept no lists of model set {model_set}, as no user had "
            "something to find or it was not judged"
        )
    return found


def read_judged(lake: Lake, run: Run, role: str, user_ids: NDArray[np.int64], width: int) -> NDArray[np.int64]:
    """The lists of these users by one role of a run: int64 [U, width], -1 where a list is shorter or there is none."""
    wanted = (pc.field("run_id") == run.run_id) & (pc.field("role") == role)
    rows = lake.read(JUDGED_LISTS, run.day, run.day, columns=["user_id", "item_ids"], where=wanted)
    if not rows.num_rows:
        return np.full((len(user_ids), width), -1, np.int64)
    rows = rows.sort_by("user_id").combine_chunks()
    lists = rows.column("item_ids").chunk(0)
    counts = pc.list_value_length(lists).to_numpy()
    padded = np.full((len(counts) + 1, width), -1, np.int64)
    padded[:-1][np.arange(width) < counts[:, None]] = lists.flatten().to_numpy()
    # Whoever is not there, because erased meanwhile, finds the row of nobody.
    return padded[positions_among(rows.column("user_id").to_numpy(), user_ids)]
