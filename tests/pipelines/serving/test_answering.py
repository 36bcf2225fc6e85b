"""Which list a user gets, from where, and how its pages go on."""

import dataclasses
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_snapshot import NOW, title, trending_list, write_snapshot
from running_endpoint import TODAY, YESTERDAY, Running, is_problem, publish, records

from pipelines.errors import UnavailableError
from pipelines.serving import answering
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.hop_times import HopTimes
from pipelines.stores.lookup import Found
from pipelines.stores.user_state import UserState

TITLES = [
    title(item_id, maturity=18 if item_id % 3 == 0 else 0, published_at=NOW - timedelta(days=100, minutes=item_id))
    for item_id in [*range(50, 80), *range(300, 340), *range(1000, 1030), *range(2000, 2003)]
]
COHORTS = {
    ("18_24", "Berlin", "Drama"): trending_list(range(300, 320)),
    (None, None, "Drama"): trending_list(range(320, 340)),
}
KEEP_EVERYTHING = {"neighbours": {1000: (1001, 1002, 1003, 60)}, "cohorts": COHORTS, "trending": range(50, 80)}


@pytest.fixture
def home(tmp_path):
    publish(tmp_path / "lists.lmdb")
    write_snapshot(str(tmp_path / "snapshots"), TITLES, run_id=TODAY, audit_id="audit-7", **KEEP_EVERYTHING)
    return tmp_path


@pytest.fixture
def endpoint(home):
    with Running(home, has_snapshot=True) as endpoint:
        yield endpoint


def ids(answer):
    return [item["item_id"] for item in answer["items"]]


def say(home, user_id, state):
    with EmbeddedStore(home / "lists.lmdb") as store:
        assert store.put_state(user_id, state, store.state(user_id).version)


def test_an_answer_names_its_run_its_model_set_and_its_audit(endpoint):
    answer = endpoint.get("/v1/recommendations/1").json()
    assert (answer["run_id"], answer["model_set"], answer["audit_id"]) == (TODAY, "m" * 32, "audit-7")


def test_the_lists_of_a_user_are_tried_in_order(home):
    say(home, 20, UserState(onboarding_genres=("Drama", "Crime"), age_band="18_24", city="Berlin"))
    say(home, 21, UserState(onboarding_genres=("Drama",), age_band="55_up", city="Ulm"))
    say(home, 22, UserState(onboarding_genres=("Nothing like it",)))
    say(home, 2, UserState(watched=(2000, 2001, 2002), onboarding_genres=("Drama",)))
    with Running(home, has_snapshot=True) as endpoint:
        sources = {}
        for user_id in (1, 20, 21, 22, 2, 999):
            answer = endpoint.get(f"/v1/recommendations/{user_id}?k=3").json()
            sources[user_id] = (answer["source"], ids(answer)[0])
            assert answer["run_id"] == TODAY
        # 2 has seen all of a list of three: a rule gives way before another list is tried.
        assert sources == {
            1: ("personal", 1000),
            20: ("cohort", 300),
            21: ("cohort", 320),
            22: ("trending", 50),
            2: ("personal", 2000),
            999: ("trending", 50),
        }
        assert endpoint.count('marquee_answers_total{source="cohort"}') == 2


def test_a_cohort_list_of_another_run_is_not_mixed_into_this_one(home):
    say(home, 20, UserState(onboarding_genres=("Drama",)))
    publish(home / "lists.lmdb", "20260201-cccccccccccc")
    with Running(home, has_snapshot=True) as endpoint:
        answer = endpoint.get("/v1/recommendations/20").json()
        assert (answer["source"], answer["run_id"]) == ("trending", "20260201-cccccccccccc")
        assert (answer["model_set"], answer["audit_id"]) == (None, None)


def test_a_newer_run_and_its_snapshot_are_taken_up_without_a_restart(home):
    with Running(home, has_snapshot=True) as endpoint:
        assert endpoint.get("/readyz").json()["snapshot"]["run_id"] == TODAY
        run_id = "20260201-cccccccccccc"
        write_snapshot(str(home / "snapshots"), TITLES, run_id=run_id, audit_id="audit-8", **KEEP_EVERYTHING)
        publish_beside(home, run_id)
        for _ in range(100):
            endpoint.wait(0.1)
            answer = endpoint.get("/v1/recommendations/1").json()
            if answer["audit_id"] == "audit-8":
                break
        assert (answer["run_id"], answer["audit_id"]) == (run_id, "audit-8")


def publish_beside(home, run_id):
    """In another process: an embedded store is open once in one."""
    program = (
        "import sys; from pathlib import Path; from running_endpoint import publish\n"
        "publish(Path(sys.argv[1]), sys.argv[2])"
    )
    path = os.pathsep.join(sys.path)
    subprocess.run(
        [sys.executable, "-c", program, str(home / "lists.lmdb"), run_id], check=True, env={"PYTHONPATH": path}
    )


def test_who_asks_for_it_and_who_opted_out_gets_the_newest_first_within_the_limit(home):
    say(home, 1, UserState(is_opted_out=True, maturity_limit=12))
    with Running(home, has_snapshot=True) as endpoint:
        feed = endpoint.get("/v1/recommendations/1?k=5").json()
        assert (feed["source"], feed["store"], feed["run_id"]) == ("chronological", "snapshot", TODAY)
        assert ids(feed) == [item for item in range(50, 60) if item % 3][:5]
        chosen = endpoint.get("/v1/recommendations/2?k=5&mode=chronological").json()
        assert (chosen["source"], ids(chosen)) == ("chronological", list(range(50, 55)))
        # The page that follows goes on in the same order, for as long as there are titles.
        seen, token = ids(feed), feed["next_page_token"]
        while token:
            page = endpoint.get(f"/v1/recommendations/1?k=20&page_token={token}").json()
            seen, token = seen + ids(page), page["next_page_token"]
        assert seen == [one.item_id for one in TITLES if one.maturity == 0]


def test_who_opted_out_at_the_account_alone_is_answered_as_who_said_so_here(home):
    say(home, 1, UserState(account_opts_out=True, account_limit=12))
    say(home, 2, UserState(is_opted_out=False, account_opts_out=True, account_limit=12))
    with Running(home, has_snapshot=True) as endpoint:
        feed = endpoint.get("/v1/recommendations/1?k=5").json()
        assert feed["source"] == "chronological"
        assert ids(feed) == [item for item in range(50, 60) if item % 3][:5]
        limited = endpoint.get("/v1/recommendations/2?k=20").json()
        assert limited["source"] == "personal"
        assert all(item % 3 for item in ids(limited))
        # Whoever has no limit is shown what these two are not.
        unknown = endpoint.get("/v1/recommendations/999?k=20").json()
        assert not all(item % 3 for item in ids(unknown))
    assert {record.user_id for record in records(home / "spool")} == {2, 999}


def test_the_stricter_of_the_users_limit_and_the_accounts_counts(home):
    say(home, 1, UserState(maturity_limit=18))
    say(home, 2, UserState(maturity_limit=12))
    with Running(home, has_snapshot=True) as endpoint:
        for user_id in (1, 999):
            for mode in ("personal", "chronological"):
                path = f"/v1/recommendations/{user_id}?k=30&mode={mode}"
                assert any(item % 3 == 0 for item in ids(endpoint.get(path).json()))
                limited = ids(endpoint.get(f"{path}&maturity_limit=12").json())
                assert limited
                assert all(item % 3 for item in limited)
        looser = ids(endpoint.get("/v1/recommendations/2?k=30&maturity_limit=18").json())
        assert looser
        assert all(item % 3 for item in looser)


class Watched:
    """A lookup that writes down what is asked of it."""

    def __init__(self, found):
        self.found, self.asked = found, []

    async def find(self, user_id, surface="home", at=None):
        if user_id:
            self.asked.append(("find", user_id))
        return self.found

    async def live(self, surface="home"):
        return self.found.live

    async def state(self, user_id):
        self.asked.append(("state", user_id))
        return self.found.state

    async def change_state(self, user_id, change):
        self.asked.append(("change_state", user_id))
        return self.found.state

    def hops(self):
        return {"watched": HopTimes()}

    async def close(self):
        pass


class Forbidden(UserState):
    """A state of which only the flag and the limit may be read."""

    def __getattribute__(self, name):
        known = ("is_opted_out", "maturity_limit", "account_opts_out", "account_limit", "opts_out", "limit")
        assert name in (*known, "is_forgotten"), name
        return super().__getattribute__(name)


def watched(home, state):
    with EmbeddedStore(home / "lists.lmdb") as store:
        answered = store.live_list(1)
    lookup = Watched(Found(answered.live, None, answered.trending, state, "embedded"))

    async def opened():
        return lookup

    return lookup, opened


def test_the_feed_reads_the_flag_and_the_limit_and_nothing_else_and_nothing_of_it_is_written(home):
    lookup, opened = watched(home, Forbidden(is_opted_out=True, maturity_limit=12))
    with Running(home, has_snapshot=True, lookup=opened) as endpoint:
        personal = endpoint.get("/v1/recommendations/7?k=5")
        assert personal.json()["source"] == "chronological"
        chosen = endpoint.get("/v1/recommendations/7?k=5&mode=chronological")
        assert ids(chosen.json()) == ids(personal.json())
        # Where the feed is asked for, no list is.
        assert lookup.asked == [("find", 7), ("state", 7)]
    assert records(home / "spool") == []


def test_what_an_opted_out_user_plays_is_counted_for_its_title_and_for_no_profile(home):
    lookup, opened = watched(home, Forbidden(is_opted_out=True))
    request_id = "a" * 32
    said = {
        "user_id": 7,
        "item_id": 60,
        "request_id": request_id,
        "happened_at": now(),
        "surface": "home",
        "device": "tv",
    }
    with Running(home, has_snapshot=True, lookup=opened) as endpoint:
        response = endpoint.post(
            "/v1/events",
            [
                {"event_id": "p", "kind": "play", "watched_share": 1.0, "position": 9, **said},
                {"event_id": "n", "kind": "not_interested", **said},
                {"event_id": "i", "kind": "impression", **said},
            ],
        )
        assert (response.status_code, response.json()["accepted"]) == (202, 3)
        assert endpoint.count("marquee_unkept_events_total") == 2
        assert lookup.asked == [("state", 7)]  # and no state is written
    [play] = records(home / "spool")
    assert (play.event_id, play.item_id, play.kind, play.watched_share) == ("p", 60, "play", 1.0)
    assert (play.request_id, play.position, play.surface, play.device) == (None, None, None, None)


def now():
    return datetime.now(UTC).isoformat()


class Down:
    """Stores of which none answers."""

    async def find(self, *_):
        raise UnavailableError("down")

    live = state = change_state = find

    def hops(self):
        return {}

    async def close(self):
        pass


async def down():
    return Down()


def test_with_all_stores_down_the_newest_snapshot_answers_as_for_a_child(home):
    write_snapshot(
        str(home / "snapshots"), TITLES, run_id=YESTERDAY, generated_at=NOW - timedelta(1), **KEEP_EVERYTHING
    )
    with Running(home, has_snapshot=True, lookup=down) as endpoint:
        answer = endpoint.get("/v1/recommendations/1?k=5").json()
        assert (answer["source"], answer["store"], answer["run_id"]) == ("trending", "snapshot", TODAY)
        assert ids(answer) == [item for item in range(50, 60) if item % 3][:5]
        following = endpoint.get(f"/v1/recommendations/1?k=5&page_token={answer['next_page_token']}").json()
        assert not set(ids(following)) & set(ids(answer))
        feed = endpoint.get("/v1/recommendations/1?k=5&mode=chronological").json()
        assert (feed["source"], ids(feed)) == ("chronological", ids(answer))
        assert is_problem(endpoint.get("/readyz"), 503)
        assert endpoint.get("/v1/trending?k=3").json()["source"] == "trending"


def test_with_neither_stores_nor_a_snapshot_there_is_a_503(tmp_path):
    with Running(tmp_path, has_snapshot=True, lookup=down) as endpoint:
        for path in ("recommendations/1", "recommendations/1?mode=chronological", "trending", "items/1/similar"):
            response = endpoint.get(f"/v1/{path}")
            assert is_problem(response, 503), path
            assert response.headers["retry-after"] == "5"


@given(user_id=st.sampled_from([1, 2, 20, 999]), sizes=st.lists(st.integers(1, 12), min_size=1, max_size=12))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_pages_never_overlap_and_are_of_one_run(endpoint, user_id, sizes):
    seen, token, runs = [], None, set()
    for k in sizes:
        query = f"k={k}" + (f"&page_token={token}" if token else "")
        answer = endpoint.get(f"/v1/recommendations/{user_id}?{query}").json()
        seen += ids(answer)
        runs.add(answer["run_id"])
        token = answer["next_page_token"]
        if token is None:
            break
    assert len(seen) == len(set(seen))
    assert runs == {TODAY}


def test_a_page_goes_on_in_its_run_while_that_is_kept_and_is_gone_with_it(home):
    with Running(home, has_snapshot=True) as endpoint:
        first = endpoint.get("/v1/recommendations/1?k=5").json()
        token = first["next_page_token"]
        publish_beside(home, "20260201-cccccccccccc")
        assert endpoint.get("/v1/recommendations/1?k=5").json()["run_id"] == "20260201-cccccccccccc"
        second = endpoint.get(f"/v1/recommendations/1?k=5&page_token={token}").json()
        assert (second["run_id"], ids(second)) == (TODAY, list(range(1005, 1010)))
        drop_all_but_one(home)
        assert is_problem(endpoint.get(f"/v1/recommendations/1?k=5&page_token={token}"), 410)


def drop_all_but_one(home):
    program = (
        "import sys; from pathlib import Path; from pipelines.stores.embedded import EmbeddedStore\n"
        "with EmbeddedStore(Path(sys.argv[1])) as store: print(store.drop_runs(1))"
    )
    subprocess.run([sys.executable, "-c", program, str(home / "lists.lmdb")], check=True)


def test_a_page_of_the_feed_is_gone_when_its_run_is(home):
    with Running(home, has_snapshot=True) as endpoint:
        token = endpoint.get("/v1/recommendations/1?k=5&mode=chronological").json()["next_page_token"]
    # The same secret in both: that of the keys.
    with Running(home, has_snapshot=True, secret=b"s" * 32) as endpoint:
        assert is_problem(endpoint.get(f"/v1/recommendations/1?mode=chronological&page_token={token}"), 400)
        token = endpoint.get("/v1/recommendations/1?k=5&mode=chronological").json()["next_page_token"]
        run_id = "20260201-cccccccccccc"
        write_snapshot(str(home / "snapshots"), TITLES, run_id=run_id, **KEEP_EVERYTHING)
        publish_beside(home, run_id)
        for _ in range(100):
            endpoint.wait(0.1)
            if endpoint.get("/readyz").json()["snapshot"]["run_id"] == run_id:
                break
        assert is_problem(endpoint.get(f"/v1/recommendations/1?mode=chronological&page_token={token}"), 410)


def test_a_token_is_for_its_user_surface_and_mode_alone(endpoint):
    token = endpoint.get("/v1/recommendations/1?k=5").json()["next_page_token"]
    assert endpoint.get(f"/v1/recommendations/1?page_token={token}").status_code == 200
    for wrong in (
        f"2?page_token={token}",
        f"1?page_token={token}&mode=chronological",
        f"1?page_token={token}&surface=kids",
        f"1?page_token={token[:-2]}xx",
        "1?page_token=AAAA",
        "1?page_token=",
    ):
        assert is_problem(endpoint.get(f"/v1/recommendations/{wrong}"), 400), wrong


def test_what_the_caller_excludes_is_not_in_the_answer(endpoint):
    answer = endpoint.get("/v1/recommendations/1?k=5&exclude=1000,1002").json()
    assert ids(answer) == [1001, 1003, 1004, 1005, 1006]
    assert endpoint.count('marquee_filtered_total{rule="excluded"}') == 2


def test_an_answer_can_be_made_again_from_its_request_id(endpoint, monkeypatch):
    first = endpoint.get("/v1/recommendations/1").json()
    monkeypatch.setattr(answering.os, "urandom", lambda _: bytes.fromhex(first["request_id"]))
    assert endpoint.get("/v1/recommendations/1").json()["items"] == first["items"]


def test_titles_near_one_and_what_trends_are_for_nobody_in_particular(endpoint):
    near = endpoint.get("/v1/items/1000/similar?k=3&exclude=1001").json()
    assert (near["source"], near["store"], near["audit_id"]) == ("similar", "snapshot", "audit-7")
    assert [item["reason"] for item in near["items"]] == [{"kind": "similar", "item_id": 1000}] * 3
    assert ids(near) == [1002, 1003, 60]
    limited = endpoint.get("/v1/items/1000/similar?maturity_limit=12").json()
    assert ids(limited) == [1001, 1003]
    trends = endpoint.get("/v1/trending?k=4&maturity_limit=12").json()
    assert (trends["source"], ids(trends)) == ("trending", [50, 52, 53, 55])
    assert is_problem(endpoint.get("/v1/items/7777/similar"), 404)
    assert is_problem(endpoint.get("/v1/items/0/similar"), 400)
    assert is_problem(endpoint.get("/v1/trending?mode=personal"), 400)


def test_a_surface_without_a_pointer_has_the_lists_of_the_home_page(endpoint):
    answer = endpoint.get("/v1/recommendations/1?k=2&surface=detail").json()
    assert (answer["source"], ids(answer)) == ("personal", [1000, 1001])


def test_the_draws_of_another_runs_snapshot_are_not_made(home, monkeypatch):
    seen = []
    monkeypatch.setattr(answering, "arrange", lambda *asked: seen.append(asked[2].rules) or answering._NOTHING)
    with Running(home, has_snapshot=True) as endpoint:
        endpoint.get("/v1/recommendations/1")
    publish(home / "lists.lmdb", "20260201-cccccccccccc")
    with Running(home, has_snapshot=True) as endpoint:
        endpoint.get("/v1/recommendations/1")
    first, last = seen[0], seen[-1]
    assert first.explored_slots
    assert first.fresh_slots
    assert last == dataclasses.replace(first, fresh_slots=(), explored_slots=())


def test_many_answers_at_once_are_each_of_their_user(endpoint):
    answers = endpoint.together(*[f"/v1/recommendations/{user}?k=3" for user in (1, 2) * 40])
    assert {tuple(ids(answer.json())) for answer in answers} == {(1000, 1001, 1002), (2000, 2001, 2002)}
