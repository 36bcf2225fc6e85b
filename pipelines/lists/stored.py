"""Lists as the lake keeps them, a thousand users at a time: memory does not grow with their number.

An Arrow dataset decodes a whole row group at once (here all users of a shard: 4 KB each) and reads ahead by several; a
Parquet file read block by block holds one block.
"""

from collections.abc import Iterator, Sequence
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from feature_defs.recommendations import RECOMMENDATIONS
from pipelines.errors import UnavailableError
from pipelines.lake import Lake
from pipelines.suppressed_rows import without_users

# What is packed, and the user.
PACKED_COLUMNS = ("user_id", "item_ids", "scores", "sources", "reasons", "history", "vector")
_ROWS_AT_ONCE = 1024  # 4 MB of numbers: they stay in the processor's cache from reading to packing
_BUFFER_BYTES = 2**20  # of each column of a file


def stored_lists(
    lake: Lake, day: date, run_id: str, shard: str | None = None, *, columns: Sequence[str] = PACKED_COLUMNS
) -> Iterator[pa.RecordBatch]:
    """The rows of a run, or of one of its parts, in blocks.

    Args:
        lake: where they are.
        day: the day of the run.
        run_id: the run.
        shard: the part of the users, as i/n; `None` is all of them.
        columns: which to read, the user among them; users whose erasure was asked for are left out.

    Raises:
        UnavailableError: if the lake cannot be read.
    """
    wanted = {"run_id": run_id} | ({} if shard is None else {"shard": shard})
    names = [*columns, *(name for name in wanted if name not in columns)]
    system, root = lake.file_system()
    folder = f"{root}/{RECOMMENDATIONS.name}/"
    try:
        for uri in lake.files(RECOMMENDATIONS, day, day):
            erased = lake.erased_users()
            for block in _blocks(system, folder + uri.rpartition(f"/{RECOMMENDATIONS.name}/")[2], names, wanted):
                chosen = without_users(RECOMMENDATIONS, _chosen(block, wanted), erased)
                if chosen.num_rows:
                    yield chosen.select(list(columns))
    except (OSError, pa.ArrowInvalid) as error:
        raise UnavailableError(f"cannot read {RECOMMENDATIONS.name} in {lake.root}: {error}") from error


def _blocks(system: pafs.FileSystem, path: str, names: list[str], wanted: dict[str, str]) -> Iterator[pa.RecordBatch]:
    with (
        system.open_input_file(path) as source,
        pq.ParquetFile(source, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file,
    ):
        groups = [
            number
            for number in range(file.metadata.num_row_groups)
            if _may_hold(file.metadata.row_group(number), wanted)
        ]
        if groups:
            yield from file.iter_batches(_ROWS_AT_ONCE, groups, names, use_threads=False)


def _may_hold(group: pq.RowGroupMetaData, wanted: dict[str, str]) -> bool:
    """Whether rows with these values can be among those of a row group."""
    for number in range(group.num_columns):
        column = group.column(number)
        value, statistics = wanted.get(column.path_in_schema), column.statistics
        is_told = statistics is not None and statistics.has_min_max
        if value is not None and is_told and not statistics.min <= value <= statistics.max:
            return False
    return True


def _chosen(block: pa.RecordBatch, wanted: dict[str, str]) -> pa.RecordBatch:
    """The rows with these values; mostly all of them, and then nothing is copied."""
    for name, value in wanted.items():
        is_wanted = pc.equal(block.column(name), value)
        if pc.all(is_wanted).as_py() is not True:
            block = block.filter(is_wanted)
    return block
