"""An installation in which one rare user has left traces wherever users leave them; made in a second, without Spark."""

import datetime as dt
import re
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from feature_defs.events import EVENTS
from feature_defs.recommendations import RECOMMENDATIONS
from feature_defs.users import USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.lake import Lake
from pipelines.lists.packing import pack_many
from pipelines.spool import Answer, AnsweredItem, EventRecord, Spool
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.interface import ListStore
from pipelines.stores.user_state import UserState

RARE, OTHER = 8_731_946_205, 41
DAYS = (dt.date(2026, 1, 30), dt.date(2026, 1, 31))
NOON = dt.datetime(2026, 1, 31, 12, tzinfo=dt.UTC)
RUN_ID = "20260131-0123456789ab"
SHARDS = ("0/2", "1/2")


def events(day: dt.date, *users: int) -> pa.Table:
    at = dt.datetime(day.year, day.month, day.day, 12, tzinfo=dt.UTC)
    rows = [
        {"event_id": f"{day}-{user}-{number}".replace(str(RARE), "r"), "user_id": user, "item_id": number + 1}
        | {"kind": "play", "happened_at": at, "received_at": at, "watched_share": 0.5}
        for user in users
        for number in range(3)
    ]
    return pa.Table.from_pylist(rows, arrow_schema(EVENTS))


def people(*users: int) -> pa.Table:
    rows = [{"user_id": user, "signup_at": NOON, "is_opted_out": False} for user in users]
    return pa.Table.from_pylist(rows, arrow_schema(USERS))


def recommendations(shard: str, *users: int) -> pa.Table:
    rows = [
        {"run_id": RUN_ID, "shard": shard, "user_id": user, "item_ids": [1, 2], "scores": [2.0, 1.0]}
        | {"sources": [0, 0], "reasons": [255, 255], "history": [], "vector": [0.0] * 64}
        for user in users
    ]
    return pa.Table.from_pylist(rows, arrow_schema(RECOMMENDATIONS))


def event_record(number: int, user: int) -> EventRecord:
    return EventRecord(f"s{number}", "r", user, 1, "click", NOON, NOON)


def answer(user: int) -> Answer:
    return Answer("r", NOON, user, RUN_ID, "embedded", [AnsweredItem(0, 1, 1.0, 0.5)])


def spooled(folder: Path, *records: Answer | EventRecord) -> Path:
    """Records in a sealed segment."""
    before = set(folder.glob("*"))
    writer = Spool(folder)
    for record in records:
        writer.append(record)
    writer.close()
    [made] = set(folder.glob("*")) - before
    return made


def write_lake(lake: Lake) -> None:
    for day in DAYS:
        lake.replace(EVENTS, pa.concat_tables([events(day, RARE, OTHER), clocks_wrong(day)]), day)
        lake.replace(USERS, people(RARE, OTHER), day)
    for shard, user in zip(SHARDS, (RARE, OTHER), strict=True):
        lake.replace(RECOMMENDATIONS, recommendations(shard, user), DAYS[1], where={"shard": shard})


def clocks_wrong(day: dt.date) -> pa.Table:
    """Rows of both users that are set aside in quarantine."""
    rows = events(day, RARE, OTHER)
    ids = pc.binary_join_element_wise(rows.column("event_id"), "wrong", "-")
    years_ago = pc.subtract(rows.column("happened_at"), pa.scalar(dt.timedelta(1500)))
    rows = rows.set_column(EVENTS.names.index("event_id"), "event_id", ids)
    return rows.set_column(EVENTS.names.index("happened_at"), "happened_at", years_ago)


def write_store(store: ListStore) -> None:
    attempt = store.open_attempt(RUN_ID)
    for shard, user in zip(SHARDS, (RARE, OTHER), strict=True):
        rows = recommendations(shard, user).to_batches()[0]
        store.put_many(RUN_ID, attempt, list(pack_many(rows, generated_at=NOON)), part=shard)
    store.put_trending(RUN_ID, attempt, b"trending")
    store.commit_manifest(RUN_ID, attempt, {})
    store.go_live(RUN_ID, attempt)
    store.put_state(RARE, UserState(is_opted_out=True), 0)


def write_installation(home: Path) -> Lake:
    lake = Lake(str(home / "lake"))
    write_lake(lake)
    with EmbeddedStore(home / "lists.lmdb") as store:
        write_store(store)
    spooled(home / "spool", answer(RARE), event_record(1, OTHER), event_record(2, RARE))
    kept = spooled(home / "spool", event_record(3, RARE), event_record(4, OTHER), event_record(5, RARE))
    torn = kept.read_bytes()[:-3]  # the last record has lost its end
    kept.with_suffix(".kept").write_bytes(torn)
    kept.unlink()
    page = home / "data_docs" / "2026-01-31" / "extract_events" / "validations" / "users.html"
    page.parent.mkdir(parents=True)
    page.write_text(PAGE)
    return lake


def files_that_name(home: Path, user: int = RARE) -> set[str]:
    """Every file below a folder that holds the user: as a number in Parquet, as text or in MessagePack elsewhere."""
    found = set()
    for path in home.rglob("*"):
        if path.is_file() and ((path.suffix == ".parquet" and _in_parquet(path, user)) or _in_bytes(path, user)):
            found.add(path.relative_to(home).as_posix())
    return found


def _in_parquet(path: Path, user: int) -> bool:
    for column in pq.ParquetFile(path).read().columns:
        if pa.types.is_integer(column.type) and pc.any(pc.equal(column, user)).as_py():
            return True
        if pa.types.is_string(column.type) and pc.any(pc.match_substring(column, str(user))).as_py():
            return True
    return False


def _in_bytes(path: Path, user: int) -> bool:
    data = path.read_bytes()
    is_text = re.search(rb"(?<!\d)%d(?!\d)" % user, data) is not None
    return is_text or user.to_bytes(8, "big") in data or user.to_bytes(8, "little") in data


# As Great Expectations renders what it found: the value, and how often.
PAGE = f"""<html><body><p>2 rows, {OTHER} of them good</p><table><thead >
  <tr><th > Unexpected Value </th><th> Count </th></tr></thead>
<tbody>
<tr><td id="a"><div class="show-scrollbars">{RARE}</div></td><td id="b"><div>{OTHER}</div></td></tr>
<tr><td id="c"><div class="show-scrollbars"><span>{RARE}</span><span>5</span></div></td><td><div>3</div></td></tr>
<tr><td id="d"><div class="show-scrollbars">{RARE}7</div></td><td id="e"><div>1</div></td></tr>
</tbody>
</table></body></html>"""
