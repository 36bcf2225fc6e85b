"""What is to be predicted, and what may be known of it."""

from datetime import UTC, date, datetime, timedelta

from feature_defs.features import ITEM_FEATURES, USER_FEATURES
from feature_defs.interactions import INTERACTIONS, LABELS
from pipelines.features.labels import feature_days, labels, reactions_received

AT = datetime(2026, 3, 29, 12, tzinfo=UTC)


TODAY = AT.date()


def interaction(name, day=TODAY, share=None, **flags):
    return {
        **{field: False if field.startswith("is_") else None for field in INTERACTIONS.names},
        "user_id": 1,
        "item_id": 1,
        "occasion_id": name,
        "happened_at": AT,
        "received_at": AT,
        "event_count": 1,
        "watched_share": share,
        "is_play": share is not None,
        "day": day,
        **flags,
    }


def features(view, key, midnight, count):
    row = {"feature_at": midnight, "created_at": midnight, "play_count": count, "last_played_at": midnight}
    counts = {"play_count_7d": count, "play_count_28d": count, "complete_count_28d": 0}
    return {key: 1, **row, **counts, "mean_watched_share_28d": None, "day": midnight.date() - timedelta(days=1)}


def labelled(frames, rows, history=(), of_users=(), of_items=()):
    frame = labels(
        frames.of(INTERACTIONS, rows),
        reactions_received(frames.of(INTERACTIONS, [*rows, *history])),
        frames.of(USER_FEATURES.table, of_users),
        frames.of(ITEM_FEATURES.table, of_items),
    )
    assert frame.columns == [*LABELS.names, "day"]
    return {row["occasion_id"]: row for row in frames.rows(frame)}


def test_what_is_watched_left_or_passed_over(frames):
    found = labelled(
        frames,
        [
            interaction("watched", share=0.8),
            interaction("half", share=0.5),
            interaction("a fifth", share=0.2),
            interaction("left", share=0.1, is_impression=True, is_click=True),
            interaction("passed over", is_impression=True),
            interaction("clicked", is_impression=True, is_click=True),
            interaction("unmeasured", is_play=True),
            interaction("liked", is_like=True),
        ],
    )
    assert {name: (round(row["watch"], 6) if row["watch"] is not None else None) for name, row in found.items()} == {
        "watched": 0.8, "half": 0.5, "a fifth": 0.2, "left": 0.1, "passed over": 0.0, "clicked": 0.0,
        "unmeasured": None, "liked": None,
    }  # fmt: skip
    assert {name for name, row in found.items() if row["is_complete"]} == {"watched"}
    assert {name for name, row in found.items() if row["is_complete"] is None} == {"unmeasured", "liked"}
    assert {name for name, row in found.items() if row["is_negative"]} == {"left", "passed over"}


def test_a_reaction_that_was_never_received_is_masked_and_never_invented(frames):
    long_ago = interaction("past", TODAY - timedelta(days=28), is_share=True, is_impression=True)
    lately = interaction("late", TODAY - timedelta(days=27), is_follow=True, is_impression=True)
    found = labelled(
        frames,
        [
            interaction("shown", is_impression=True),
            interaction("skipped", is_skip=True, is_impression=True),
            interaction("used", share=1.0),
        ],
        history=[long_ago, lately],
    )
    heads = ("is_skip", "is_follow", "is_share", "is_report")
    assert {name: tuple(row[head] for head in heads) for name, row in found.items()} == {
        "shown": (False, False, None, None),
        "skipped": (True, False, None, None),
        "used": (None, None, None, None),
    }


def test_features_are_those_known_when_it_happened(frames):
    midnights = [datetime(2026, 3, day, tzinfo=UTC) for day in (27, 28, 29, 30)]
    found = labelled(
        frames,
        [interaction("now", day=date(2026, 4, 2))],
        of_users=[features(USER_FEATURES, "user_id", midnight, 10 + midnight.day) for midnight in midnights],
        of_items=[features(ITEM_FEATURES, "item_id", midnight, 50 + midnight.day) for midnight in midnights[:2]],
    )
    assert (found["now"]["user_play_count"], found["now"]["item_play_count"]) == (39, 78)
    assert found["now"]["day"] == date(2026, 4, 2)


def test_the_days_whose_features_can_be_known_reach_back_to_the_ttl_and_not_to_the_day_itself():
    (first, *_, last) = feature_days([date(2026, 3, 29)])
    assert (first, last) == (date(2026, 3, 1), date(2026, 3, 28))
    assert len(feature_days([date(2026, 3, 29), date(2025, 3, 29)])) == 56
