"""The join on both clocks, held against a loop over labels and rows."""

from datetime import UTC, datetime, timedelta

import pyarrow as pa
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from feature_defs.declarations import Dtype, Entity, FeatureView, Field
from pipelines.features.point_in_time import known_at

TTL = timedelta(days=2)
VIEW = FeatureView(
    name="weather",
    entities=(Entity("place", ("place_id", "hall_id"), "A hall of a place."),),
    ttl=TTL,
    schema=tuple(
        Field(name, dtype, name)
        for name, dtype in [
            ("place_id", Dtype.INT64),
            ("hall_id", Dtype.STRING),
            ("measured_at", Dtype.TIMESTAMP),
            ("written_at", Dtype.TIMESTAMP),
            ("heat", Dtype.FLOAT64),
            ("note", Dtype.STRING),
        ]
    ),
    timestamp_field="measured_at",
    created_timestamp_column="written_at",
    description="Measured at one time, written down at another.",
)
INSTANT = pa.timestamp("us", "UTC")
ROWS = pa.schema(
    [
        ("place_id", pa.int64()),
        ("hall_id", pa.string()),
        ("measured_at", INSTANT),
        ("written_at", INSTANT),
        ("heat", pa.float64()),
        ("note", pa.string()),
    ]
)
LABELS = pa.schema(
    [("label", pa.int64()), ("place_id", pa.int64()), ("hall_id", pa.string()), ("happened_at", INSTANT)]
)

# The night in which Berlin loses an hour lies within the ttl; half days and single microseconds meet every boundary.
START = datetime(2026, 3, 28, tzinfo=UTC)
MOMENTS = st.builds(
    lambda halves, micros: START + timedelta(hours=12 * halves, microseconds=micros),
    st.integers(0, 8),
    st.sampled_from([-1, 0, 0, 0, 1]),
)
KEYS = st.tuples(st.integers(1, 2), st.sampled_from(["a", "b"]))
FEATURE_ROWS = st.lists(
    st.tuples(KEYS, MOMENTS, MOMENTS, st.sampled_from([None, 0.0, 1.0]), st.sampled_from([None, "x", "y"])), max_size=8
)
LABEL_ROWS = st.lists(st.tuples(KEYS, MOMENTS), min_size=1, max_size=6)


def expected(rows, key, at):
    def order(row):
        _, measured_at, written_at, heat, note = row
        return measured_at, written_at, (heat is not None, heat), (note is not None, note)

    known = [row for row in rows if row[0] == key and at - TTL < row[1] <= at and row[2] <= at]
    return max(known, key=order)[3:] if known else (None, None)


def joined(frames, worlds):
    """For each world the features of its labels, from one join over all of them."""
    rows = [
        {"place_id": k[0] + 10 * w, "hall_id": k[1], "measured_at": m, "written_at": c, "heat": h, "note": n}
        for w, (world, _) in enumerate(worlds)
        for k, m, c, h, n in world
    ]
    labels = [
        {"label": 100 * w + number, "place_id": k[0] + 10 * w, "hall_id": k[1], "happened_at": at}
        for w, (_, wanted) in enumerate(worlds)
        for number, (k, at) in enumerate(wanted)
    ]
    frame = known_at(
        frames.spark.createDataFrame(pa.Table.from_pylist(labels, LABELS)),
        VIEW,
        frames.spark.createDataFrame(pa.Table.from_pylist(rows, ROWS)),
        "happened_at",
        "then_",
    )
    found = frames.rows(frame)
    assert sorted(row["label"] for row in found) == [row["label"] for row in labels]
    by_label = {row["label"]: row for row in found}
    for row in labels:
        assert {name: by_label[row["label"]][name] for name in LABELS.names} == row
    return [
        [
            (by_label[100 * w + number]["then_heat"], by_label[100 * w + number]["then_note"])
            for number in range(len(wanted))
        ]
        for w, (_, wanted) in enumerate(worlds)
    ]


# Not shrunk: a world that fails is small as it is, and Spark takes seconds for each try.
@settings(
    max_examples=4,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=list(HealthCheck),
)
@given(worlds=st.lists(st.tuples(FEATURE_ROWS, LABEL_ROWS), min_size=40, max_size=40))
def test_each_label_gets_what_a_loop_over_rows_finds(frames, zone, worlds):
    assert joined(frames, worlds) == [[expected(rows, key, at) for key, at in wanted] for rows, wanted in worlds]


def test_the_boundaries_of_both_clocks_and_of_the_ttl(frames):
    key, micro = (1, "a"), timedelta(microseconds=1)
    at = START + timedelta(days=2)

    def heat(*rows):
        return [(key, measured, written, heat, None) for measured, written, heat in rows], [(key, at)]

    worlds = {
        "at the very moment": (heat((at, at, 1.0)), 1.0),
        "a moment later": (heat((at + micro, at + micro, 1.0)), None),
        "known too late": (heat((at - micro, at + micro, 1.0)), None),
        "the older one was known": (heat((at - micro, at + micro, 1.0), (at - TTL / 2, at, 2.0)), 2.0),
        "as old as the ttl": (heat((at - TTL, at - TTL, 1.0)), None),
        "a moment younger than the ttl": (heat((at - TTL + micro, at, 1.0)), 1.0),
        "corrected later": (heat((at - micro, at, 1.0), (at - micro, at - micro, 2.0)), 1.0),
        "corrected after the label": (heat((at - micro, at + micro, 1.0), (at - micro, at - micro, 2.0)), 2.0),
        "an old row written last is old all the same": (
            heat((at - TTL / 2, at, 1.0), (at - micro, at - micro, 2.0)),
            2.0,
        ),
    }
    found = joined(frames, [world for world, _ in worlds.values()])
    assert {name: row[0][0] for name, row in zip(worlds, found, strict=True)} == {
        name: value for name, (_, value) in worlds.items()
    }
