"""Parts of the users: `i/n` is every user whose id leaves the remainder i when divided by n."""

import re
from dataclasses import dataclass

import pyarrow as pa

from pipelines.errors import UsageError


@dataclass(frozen=True)
class Shard:
    """One of `count` parts of the users; `index` counts from 0."""

    index: int
    count: int

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


EVERYONE = Shard(0, 1)


def parse_shard(text: str) -> Shard:
    """A shard from `i/n`.

    Raises:
        UsageError: if that is not what the text is.
    """
    match = re.fullmatch(r"(\d{1,6})/(\d{1,6})", text)
    if match is None or int(match[1]) >= int(match[2]):
        raise UsageError(f"{text!r} is no shard: write i/n with i from 0 to n - 1, such as 0/2")
    return Shard(int(match[1]), int(match[2]))


def shards(count: int) -> list[Shard]:
    """All parts of `count`."""
    return [Shard(index, count) for index in range(count)]


def of_shard(rows: pa.Table, shard: Shard) -> pa.Table:
    """The rows of the users of a shard, by their column `user_id`."""
    return rows.filter(pa.array(rows.column("user_id").to_numpy() % shard.count == shard.index))
