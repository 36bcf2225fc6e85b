"""What users do and decide: durable, idempotent, and in force in the very next answer."""

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from planted_snapshot import title, write_snapshot
from running_endpoint import TODAY, Running, is_problem, publish, records

from pipelines.spool import EventRecord, Preference
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.user_state import UserState

TITLES = [title(item_id) for item_id in [*range(50, 80), *range(1000, 1030), *range(2000, 2003)]]


@pytest.fixture
def home(tmp_path):
    publish(tmp_path / "lists.lmdb")
    write_snapshot(
        str(tmp_path / "snapshots"), TITLES, run_id=TODAY, trending=range(50, 80), neighbours={1000: (1001, 1002)}
    )
    return tmp_path


@pytest.fixture
def endpoint(home):
    with Running(home, has_snapshot=True) as endpoint:
        yield endpoint


def event(event_id="e1", kind="play", user_id=1, item_id=1000, **more):
    moment = datetime.now(UTC).isoformat()
    return {
        "event_id": event_id,
        "kind": kind,
        "user_id": user_id,
        "item_id": item_id,
        "happened_at": moment,
        **more,
    }


def ids(endpoint, user_id=1, k=30):
    return [item["item_id"] for item in endpoint.get(f"/v1/recommendations/{user_id}?k={k}").json()["items"]]


def state(home, user_id):
    with EmbeddedStore(home / "lists.lmdb") as store:
        return store.state(user_id).state


def test_what_was_turned_down_and_what_was_finished_is_not_in_the_very_next_answer(endpoint):
    assert {1000, 1005} <= set(ids(endpoint, k=10))
    assert endpoint.post("/v1/events", [event("a", "not_interested")]).status_code == 202
    now = ids(endpoint, k=10)
    assert 1000 not in now
    assert not {1001, 1002} & set(now)  # its neighbours go last
    assert endpoint.post("/v1/events", [event("b", item_id=1005, watched_share=0.8)]).status_code == 202
    assert not {1000, 1005} & set(ids(endpoint, k=10))
    # One that was left early is still there, and so are the titles of everybody else.
    assert endpoint.post("/v1/events", [event("c", item_id=1006, watched_share=0.79)]).status_code == 202
    assert 1006 in ids(endpoint, k=10)
    assert ids(endpoint, 2) == [2000, 2001, 2002]


def test_events_are_on_disk_before_they_are_acknowledged(endpoint, monkeypatch):
    said = [event(f"e{number}", "click", item_id=1000 + number) for number in range(5)]
    response = endpoint.post("/v1/events", said)
    assert (response.status_code, response.json()) == (202, {"accepted": 5, "repeated": 0, "refused": []})
    written = b"".join(path.read_bytes() for path in endpoint.spool.iterdir())
    assert all(f"e{number}".encode() in written for number in range(5))


def test_an_event_is_kept_as_it_was_said_and_the_same_id_counts_once(home):
    full = event("a", request_id="0" * 32, watched_share=1, position=60, surface="home", device="tv")
    full["happened_at"] = (datetime.now(UTC) - timedelta(hours=3)).isoformat()
    with Running(home, has_snapshot=True) as endpoint:
        response = endpoint.post("/v1/events", [full, full | {"item_id": 1001}])
        assert response.json() == {"accepted": 1, "repeated": 1, "refused": []}
        assert endpoint.post("/v1/events", [full]).json()["accepted"] == 1
        assert endpoint.count('marquee_events_total{kind="play"}') == 2
    first, again = records(home / "spool")
    assert isinstance(first, EventRecord)
    assert {name: value for name, value in full.items() if name != "happened_at"} == {
        name: getattr(first, name) for name in full if name != "happened_at"
    }
    assert first.happened_at.isoformat() == full["happened_at"]
    assert abs(datetime.now(UTC) - first.received_at) < timedelta(minutes=1)
    assert first.event_id == again.event_id  # told apart, and left out, when they are loaded
    assert state(home, 1) == UserState(watched=(1000,))


@pytest.mark.parametrize(
    ("wrong", "named"),
    [
        ({"kind": "dance"}, "kind"),
        ({"item_id": 0}, "item_id"),
        ({"item_id": 2**32}, "item_id"),
        ({"user_id": 2**63}, "user_id"),
        ({"happened_at": "2026-01-01T00:00:00"}, "happened_at"),
        ({"happened_at": "2020-01-01T00:00:00Z"}, "happened_at"),
        ({"happened_at": "2999-01-01T00:00:00Z"}, "happened_at"),
        ({"watched_share": 1.01}, "watched_share"),
        ({"watched_share": 1e999}, "watched_share"),
        ({"kind": "click", "watched_share": 0.5}, "plays only"),
        ({"request_id": "x"}, "request_id"),
        ({"surface": "HOME PAGE"}, "surface"),
        ({"event_id": ""}, "event_id"),
        ({"propensity": 1.0}, "propensity"),
    ],
)
def test_each_event_that_is_refused_is_named_and_the_others_are_taken(endpoint, wrong, named):
    body = json.dumps([event("good"), event("bad") | wrong]).replace("Infinity", "1e999")
    response = endpoint.get("/v1/events", "POST", content=body)
    assert response.status_code == 202
    taken = response.json()
    assert (taken["accepted"], len(taken["refused"])) == (1, 1)
    refused = taken["refused"][0]
    assert (refused["index"], refused["event_id"]) == (1, wrong.get("event_id", "bad"))
    assert named in refused["detail"]
    alone = endpoint.post("/v1/events", [event("worse", "click", item_id=-1)])
    assert is_problem(alone, 400)
    assert alone.json()["refused"][0]["event_id"] == "worse"


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{}", 400),
        (b"[]", 400),
        (b"[1, null, []]", 400),
        (b"\xff\xfe", 400),
        (b"[" * 100_000, 400),
        (b"[" + b'"",' * 501 + b'""]', 400),
        (b" " * (512 * 1024 + 1), 413),
    ],
)
def test_what_is_no_batch_is_a_problem_of_the_sender(endpoint, body, status):
    assert is_problem(endpoint.get("/v1/events", "POST", content=body), status)


def test_a_body_that_says_it_is_no_json_and_one_that_lies_about_its_length_are_refused(endpoint):
    kind = {"content-type": "text/plain"}
    assert is_problem(endpoint.get("/v1/events", "POST", content=b"[]", headers=kind), 415)
    for length in ("99999999999999999999", "-1", "1e3"):
        assert is_problem(endpoint.get("/v1/events", "POST", content=b"[]", headers={"content-length": length}), 413)


@given(body=st.binary(max_size=300) | st.text(max_size=100).map(lambda text: json.dumps(text).encode()))
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_body_breaks_it(endpoint, body):
    for path, method in (
        ("/v1/events", "POST"),
        ("/v1/users/1/onboarding", "POST"),
        ("/v1/users/1/preferences", "PUT"),
    ):
        response = endpoint.get(path, method, content=body)
        assert is_problem(response, response.status_code)
        assert response.status_code < 500


def test_an_event_of_an_erased_user_is_refused_by_name(home):
    with EmbeddedStore(home / "lists.lmdb") as store:
        store.forget_user(1)
    with Running(home, has_snapshot=True) as endpoint:
        taken = endpoint.post("/v1/events", [event("gone"), event("here", user_id=2, item_id=2000)]).json()
        assert [(one["event_id"], one["index"]) for one in taken["refused"]] == [("gone", 0)]
        said = {"is_opted_out": False, "maturity_limit": 12}
        assert is_problem(endpoint.post("/v1/users/1/preferences", said, "PUT"), 410)
        assert is_problem(endpoint.post("/v1/users/1/onboarding", {"genres": ["Drama"]}), 410)
    assert [record.user_id for record in records(home / "spool")] == [2]


def test_opting_out_is_in_force_at_once_lets_go_of_what_was_kept_and_can_be_taken_back(home):
    with Running(home, has_snapshot=True) as endpoint:
        endpoint.post("/v1/events", [event("a", "not_interested"), event("b", item_id=1005, watched_share=1)])
        said = {"is_opted_out": True, "maturity_limit": 16}
        response = endpoint.post("/v1/users/1/preferences", said, "PUT")
        assert (response.status_code, response.json()) == (200, said)
        assert endpoint.get("/v1/recommendations/1").json()["source"] == "chronological"
        assert is_problem(endpoint.post("/v1/users/1/onboarding", {"genres": ["Drama"]}), 409)
        endpoint.post("/v1/users/1/preferences", {"is_opted_out": False}, "PUT")
        back = endpoint.get("/v1/recommendations/1?k=30").json()
        assert back["source"] == "personal"
        assert {1000, 1005} <= {item["item_id"] for item in back["items"]}
    assert state(home, 1) == UserState(is_opted_out=False)
    decided = [record for record in records(home / "spool") if isinstance(record, Preference)]
    assert [(one.user_id, one.is_opted_out, one.maturity_limit) for one in decided] == [(1, True, 16), (1, False, None)]


def test_a_maturity_limit_is_in_force_at_once(tmp_path):
    publish(tmp_path / "lists.lmdb")
    titles = [title(item_id, maturity=18 if item_id % 2 else 6) for item_id in range(1000, 1030)]
    write_snapshot(str(tmp_path / "snapshots"), titles, run_id=TODAY)
    with Running(tmp_path, has_snapshot=True) as endpoint:
        assert any(item % 2 for item in ids(endpoint))
        endpoint.post("/v1/users/1/preferences", {"is_opted_out": False, "maturity_limit": 12}, "PUT")
        assert ids(endpoint)
        assert not any(item % 2 for item in ids(endpoint))


def test_answers_at_sign_up_are_kept_and_told_to_the_night(home):
    said = {"genres": ["Drama", "Crime"], "age_band": "18_24", "city": "Berlin"}
    with Running(home, has_snapshot=True) as endpoint:
        response = endpoint.post("/v1/users/77/onboarding", said)
        assert (response.status_code, response.json()) == (200, said)
    assert state(home, 77) == UserState(onboarding_genres=("Drama", "Crime"), age_band="18_24", city="Berlin")
    [told] = records(home / "spool")
    assert (told.user_id, told.onboarding_genres, told.age_band, told.city) == (
        77,
        ("Drama", "Crime"),
        "18_24",
        "Berlin",
    )


@pytest.mark.parametrize(
    ("path", "method", "body"),
    [
        ("users/1/preferences", "PUT", {}),
        ("users/1/preferences", "PUT", {"is_opted_out": "yes"}),
        ("users/1/preferences", "PUT", {"is_opted_out": True, "maturity_limit": 22}),
        ("users/1/preferences", "PUT", {"is_opted_out": True, "gender": "x"}),
        ("users/0/preferences", "PUT", {"is_opted_out": True}),
        ("users/1/onboarding", "POST", {"genres": []}),
        ("users/1/onboarding", "POST", {"genres": ["x"] * 21}),
        ("users/1/onboarding", "POST", {"genres": ["Drama"], "age_band": "old"}),
        ("users/ann/onboarding", "POST", {"genres": ["Drama"]}),
    ],
)
def test_decisions_of_no_known_form_are_refused(endpoint, path, method, body):
    assert is_problem(endpoint.post(f"/v1/{path}", body, method), 400)


def test_what_the_disk_or_the_store_does_not_take_is_not_acknowledged(home):
    (home / "spool").write_text("a file where the folder should be")
    with Running(home, has_snapshot=True) as endpoint:
        refused = endpoint.post("/v1/events", [event()])
        assert is_problem(refused, 503)
        assert refused.headers["retry-after"] == "2"
        assert is_problem(endpoint.post("/v1/users/1/preferences", {"is_opted_out": True}, "PUT"), 503)


def test_two_devices_that_speak_at_once_are_both_heard(endpoint, home):
    async def speak():
        batches = [[event(f"e{number}", "not_interested", item_id=1000 + number)] for number in range(12)]
        return await asyncio.gather(*(endpoint._client.post("/v1/events", json=batch) for batch in batches))

    assert {response.status_code for response in endpoint._runner.run(speak())} == {202}
    assert not set(range(1000, 1012)) & set(ids(endpoint))


def test_what_is_kept_of_a_user_is_bounded(home):
    with Running(home, has_snapshot=True) as endpoint:
        for batch in range(3):
            said = [
                event(f"{batch}-{number}", item_id=1 + 500 * batch + number, watched_share=1) for number in range(500)
            ]
            assert endpoint.post("/v1/events", said).status_code == 202
    assert state(home, 1).watched == tuple(range(1001, 1501))
