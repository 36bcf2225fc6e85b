"""What users said at the endpoint goes before what the warehouse says of them."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from feature_defs.users import PREFERENCES, USERS
from pipelines.arrow_schemas import arrow_schema
from pipelines.decided import as_decided

NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)
DECISION = st.fixed_dictionaries({"is_opted_out": st.booleans(), "maturity_limit": st.none() | st.integers(0, 21)})
ANSWER = st.fixed_dictionaries(
    {
        "onboarding_genres": st.lists(st.sampled_from(["Drama", "Crime"]), min_size=1, max_size=2),
        "age_band": st.none() | st.just("18_24"),
        "city": st.none() | st.just("Ulm"),
    }
)


def in_batches(table, rows, sizes):
    whole = pa.Table.from_pylist(rows, arrow_schema(table))
    start = 0
    for size in sizes * (len(rows) + 1):
        yield from whole.slice(start, size).combine_chunks().to_batches() or [
            pa.RecordBatch.from_pylist([], arrow_schema(table))
        ]
        start += size


@given(
    users=st.sets(st.integers(1, 20)),
    said=st.lists(st.tuples(st.integers(1, 20), DECISION | ANSWER), max_size=30),
    sizes=st.tuples(st.lists(st.integers(1, 7), min_size=1), st.lists(st.integers(1, 7), min_size=1)),
)
def test_the_newest_word_counts_wherever_batches_are_cut(users, said, sizes):
    warehouse = [
        {
            "user_id": user_id,
            "signup_at": NOON,
            "is_opted_out": user_id % 2 == 0,
            "maturity_limit": 12 if user_id % 3 == 0 else None,
            "age_band": "55_up",
            "city": None,
            "onboarding_genres": None,
            "country": "DE",
            "device": None,
        }
        for user_id in sorted(users)
    ]
    expected = {row["user_id"]: dict(row) for row in warehouse}
    rows = []
    for number, (user_id, words) in enumerate(said):
        rows.append({"user_id": user_id, "said_at": NOON + timedelta(seconds=number), **words})
    for kind in ("is_opted_out", "onboarding_genres"):
        for user_id in users:
            newest = next((row for row in reversed(rows) if row["user_id"] == user_id and kind in row), {})
            told = {name: value for name, value in newest.items() if value is not None and name != "said_at"}
            expected[user_id] |= told
    rows.sort(key=lambda row: (row["user_id"], row["said_at"]))
    found = [
        row
        for batch in as_decided(in_batches(USERS, warehouse, sizes[0]), in_batches(PREFERENCES, rows, sizes[1]))
        for row in batch.to_pylist()
    ]
    assert found == [expected[user_id] for user_id in sorted(users)]
