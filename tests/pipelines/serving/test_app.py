import json
import shutil
from datetime import UTC, datetime, timedelta
from urllib.parse import quote_from_bytes

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from running_endpoint import MADE_AT, TODAY, YESTERDAY, Running, is_problem, publish

from pipelines.spool import sealed_segments
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.user_state import UserState


@pytest.fixture
def endpoint(tmp_path):
    publish(tmp_path / "lists.lmdb")
    with Running(tmp_path) as endpoint:
        yield endpoint


def test_a_known_user_gets_the_first_titles_of_the_own_list_with_reasons(endpoint):
    response = endpoint.get("/v1/recommendations/1?k=6")
    answer = response.json()
    assert response.status_code == 200
    assert response.headers["content-type"] == "application/json"
    assert response.headers["cache-control"] == "no-store"
    request_id, items = answer.pop("request_id"), answer.pop("items")
    assert len(request_id) == 32
    assert len(answer.pop("next_page_token")) > 40
    assert answer == {
        "run_id": TODAY,
        "source": "personal",
        "store": "embedded",
        "generated_at": "2026-02-01T00:00:00Z",
        # Without a snapshot of the run nobody knows.
        "model_set": None,
        "audit_id": None,
        "relaxed": [],
    }
    assert [item["item_id"] for item in items] == list(range(1000, 1006))
    assert [item["slot"] for item in items] == list(range(6))
    assert items[2] == {
        "item_id": 1002,
        "score": 1 - 2 / 64,
        "slot": 2,
        "propensity": 1.0,
        "reason": {"kind": "because_you_watched", "item_id": 7},
    }
    assert items[4]["reason"] == {"kind": "als"}


def test_twenty_titles_are_the_default_and_a_short_list_gives_what_it_has(endpoint):
    assert len(endpoint.get("/v1/recommendations/1").json()["items"]) == 20
    assert len(endpoint.get("/v1/recommendations/1?k=100").json()["items"]) == 30
    assert len(endpoint.get("/v1/recommendations/2").json()["items"]) == 3


def test_every_answer_has_an_id_of_its_own(endpoint):
    assert len({endpoint.get("/v1/recommendations/1").json()["request_id"] for _ in range(20)}) == 20


def test_an_unknown_user_gets_what_trends(endpoint):
    answer = endpoint.get("/v1/recommendations/999?k=2").json()
    assert (answer["source"], answer["run_id"]) == ("trending", TODAY)
    assert [(item["item_id"], item["reason"]) for item in answer["items"]] == [
        (50, {"kind": "trending"}),
        (51, {"kind": "trending"}),
    ]


def test_a_corrupt_list_costs_its_user_alone_and_is_counted(endpoint):
    assert endpoint.get("/v1/recommendations/3").json()["source"] == "trending"
    assert endpoint.get("/v1/recommendations/1").json()["source"] == "personal"
    assert endpoint.count("marquee_corrupt_lists_total") == 1


def test_an_empty_list_is_answered_with_what_trends(endpoint):
    assert endpoint.get("/v1/recommendations/4").json()["source"] == "trending"


def test_no_list_at_all_is_an_empty_answer_that_says_so(tmp_path):
    publish(tmp_path / "lists.lmdb", trending=b"torn")
    with Running(tmp_path) as endpoint:
        answer = endpoint.get("/v1/recommendations/3").json()
        assert (answer["source"], answer["items"], answer["run_id"]) == ("none", [], TODAY)
        assert endpoint.get("/v1/recommendations/1").json()["source"] == "personal"
        assert endpoint.get("/readyz").status_code == 200


def test_a_forgotten_user_gets_what_trends(tmp_path):
    publish(tmp_path / "lists.lmdb")
    with EmbeddedStore(tmp_path / "lists.lmdb") as store:
        store.forget_user(1)
    with Running(tmp_path) as endpoint:
        assert endpoint.get("/v1/recommendations/1").json()["source"] == "trending"


@pytest.mark.parametrize(("is_opted_out", "source"), [(True, "trending"), (False, "personal"), (None, "personal")])
def test_a_user_who_opted_out_gets_what_trends(tmp_path, is_opted_out, source):
    publish(tmp_path / "lists.lmdb")
    with EmbeddedStore(tmp_path / "lists.lmdb") as store:
        assert store.put_state(1, UserState(is_opted_out=is_opted_out), 0)
    with Running(tmp_path) as endpoint:
        assert endpoint.get("/v1/recommendations/1").json()["source"] == source
        assert endpoint.get("/v1/recommendations/2").json()["source"] == "personal"


@pytest.mark.parametrize("user_id", ["0", "-1", "01", "1.0", "ann", "9223372036854775808", "9" * 5000, "%D9%A1", "%00"])
def test_what_is_no_user_id_is_a_problem_of_the_asker(endpoint, user_id):
    assert is_problem(endpoint.get(f"/v1/recommendations/{user_id}"), 414 if len(user_id) > 1000 else 400)


@pytest.mark.parametrize("query", ["k=0", "k=101", "k=-1", "k=", "k=1e1", "k=%D9%A1", "k=1&k=2", "k=" + "1" * 5000])
def test_a_wrong_number_of_titles_is_a_problem_of_the_asker(endpoint, query):
    assert is_problem(endpoint.get(f"/v1/recommendations/1?{query}"), 400)


def test_what_is_not_there_and_what_is_not_allowed_are_problems_too(endpoint):
    for path in ("/v1", "/v1/recommendations", "/v1/recommendations/", "/v1/recommendations/1/", "/healthz/"):
        assert is_problem(endpoint.get(path), 404), path
    refused = endpoint.get("/v1/recommendations/1", method="POST")
    assert is_problem(refused, 405)
    assert "GET" in refused.headers["allow"]


@given(path=st.binary(max_size=60), query=st.binary(max_size=40))
@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow]
)
def test_no_path_and_no_query_breaks_it(endpoint, path, query):
    for place in ("/", "/v1/recommendations/"):
        response = endpoint.get(f"{place}{quote_from_bytes(path)}?{quote_from_bytes(query, safe='=&;+')}")
        assert response.status_code == 200 or is_problem(response, response.status_code)
        assert response.status_code < 500


def test_a_bug_of_ours_is_a_plain_500_without_its_trace(endpoint, monkeypatch):
    monkeypatch.setattr("pipelines.serving.answering.arrange", lambda *_: 1 / 0)
    response = endpoint.get("/v1/recommendations/1")
    assert is_problem(response, 500)
    assert "division" not in response.text


def test_before_anything_is_published_the_endpoint_lives_and_is_not_ready(tmp_path):
    with Running(tmp_path) as endpoint:
        assert endpoint.get("/healthz").status_code == 200
        for path in ("/v1/recommendations/1", "/readyz"):
            response = endpoint.get(path)
            assert is_problem(response, 503)
            assert int(response.headers["retry-after"]) > 0
        assert "marquee_list_age_seconds NaN" in endpoint.get("/metrics").text
        assert is_problem(endpoint.get("/v1/recommendations/ann"), 400)

        # A store without a live run is no better than none. It is open here twice, one after the other.
        EmbeddedStore(tmp_path / "lists.lmdb").close()
        assert is_problem(endpoint.get("/readyz"), 503)


def test_a_run_is_served_from_the_moment_it_is_live_and_the_next_one_too(tmp_path):
    with Running(tmp_path) as endpoint:
        assert endpoint.get("/readyz").status_code == 503
        publish(tmp_path / "lists.lmdb", YESTERDAY)
        assert endpoint.get("/v1/recommendations/1").json()["run_id"] == YESTERDAY
        # A store made anew in the same place, by somebody who removed the old one.
        shutil.rmtree(tmp_path / "lists.lmdb")
        publish(tmp_path / "lists.lmdb", TODAY)
        # It looks for one now and then; on a busy machine that takes its time.
        for _ in range(50):
            endpoint.wait(0.3)
            if endpoint.get("/v1/recommendations/1").json()["run_id"] == TODAY:
                break
        assert endpoint.get("/v1/recommendations/1").json()["run_id"] == TODAY


def test_a_store_that_cannot_be_read_is_a_503(tmp_path):
    (tmp_path / "lists.lmdb").mkdir()
    (tmp_path / "lists.lmdb" / "data.mdb").write_bytes(b"not a store" * 1000)
    with Running(tmp_path) as endpoint:
        assert is_problem(endpoint.get("/v1/recommendations/1"), 503)


def test_readiness_names_the_run_and_its_age(endpoint):
    state = endpoint.get("/readyz").json()
    assert (state["status"], state["run_id"], state["spool"]) == ("ready", TODAY, "writable")
    assert state["list_age_seconds"] == pytest.approx((datetime.now(UTC) - MADE_AT).total_seconds(), abs=60)
    assert datetime.now(UTC) - datetime.fromisoformat(state["live_since"]) < timedelta(minutes=1)


def test_metrics_count_answers_problems_and_seconds(endpoint):
    for path in ("1", "1", "999", "ann"):
        endpoint.get(f"/v1/recommendations/{path}")
    assert endpoint.count('marquee_answers_total{source="personal"}') == 2
    assert endpoint.count('marquee_answers_total{source="trending"}') == 1
    assert endpoint.count('marquee_answers_total{source="none"}') == 0
    assert endpoint.count('marquee_answers_by_store_total{store="embedded"}') == 3
    assert endpoint.count('marquee_problems_total{status="400"}') == 1
    assert endpoint.count("marquee_request_seconds_count") == 3
    assert endpoint.count("marquee_list_age_seconds") > 0


def test_every_answer_is_in_the_spool_after_shutdown_as_it_was_given(tmp_path):
    publish(tmp_path / "lists.lmdb")
    with Running(tmp_path) as endpoint:
        given_answers = [endpoint.get(f"/v1/recommendations/{user_id}?k=3").json() for user_id in (1, 2, 999)]
        endpoint.get("/v1/recommendations/ann")
    records = [record for segment in sealed_segments(tmp_path / "spool") for record in segment]
    assert [record.request_id for record in records] == [answer["request_id"] for answer in given_answers]
    assert [record.user_id for record in records] == [1, 2, 999]
    assert [record.source for record in records] == ["embedded", "embedded", "trending"]
    for record, answer in zip(records, given_answers, strict=True):
        assert record.run_id == answer["run_id"]
        slots = [(item["slot"], item["item_id"], item["score"], item["propensity"]) for item in answer["items"]]
        assert [(item.slot, item.item_id, item.score, item.propensity) for item in record.items] == slots


def test_answers_are_on_disk_soon_after_they_were_given(endpoint):
    request_id = endpoint.get("/v1/recommendations/1").json()["request_id"]
    endpoint.wait(0.5)
    written = b"".join(path.read_bytes() for path in endpoint.spool.iterdir())
    assert request_id.encode() in written


def test_a_spool_that_cannot_be_written_is_told_and_fails_no_answer(tmp_path, capsys):
    publish(tmp_path / "lists.lmdb")
    (tmp_path / "spool").write_text("a file where the folder should be")
    with Running(tmp_path) as endpoint:
        assert endpoint.get("/v1/recommendations/1").status_code == 200
        endpoint.wait(0.3)
        state = endpoint.get("/readyz")
        assert state.status_code == 200
        assert "cannot be written" in state.json()["spool"]
        assert state.json()["spool_waiting"] == 1
        assert endpoint.count("marquee_spool_errors_total") == 1
        assert endpoint.get("/v1/recommendations/1").status_code == 200
    assert "2 answers are lost" in capsys.readouterr().err


def test_answers_that_waited_for_the_disk_are_written_when_it_is_back(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.serving.remembering._SECONDS_AFTER_ERROR", 0.1)
    publish(tmp_path / "lists.lmdb")
    (tmp_path / "spool").write_text("in the way")
    with Running(tmp_path) as endpoint:
        request_id = endpoint.get("/v1/recommendations/1").json()["request_id"]
        endpoint.wait(0.3)
        (tmp_path / "spool").unlink()
        endpoint.wait(0.5)
        assert endpoint.get("/readyz").json()["spool"] == "writable"
    records = [record for segment in sealed_segments(tmp_path / "spool") for record in segment]
    assert [record.request_id for record in records] == [request_id]


def test_what_waits_for_the_spool_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr("pipelines.serving.remembering._MOST_WAITING", 3)
    publish(tmp_path / "lists.lmdb")
    (tmp_path / "spool").write_text("in the way")
    with Running(tmp_path) as endpoint:
        assert [endpoint.get("/v1/recommendations/1").status_code for _ in range(5)] == [200] * 5
        assert endpoint.count("marquee_spool_lost_total") == 2


def test_no_metric_and_no_problem_names_a_user(endpoint):
    user_id = "424242424242"
    endpoint.get(f"/v1/recommendations/{user_id}")
    bad = endpoint.get(f"/v1/recommendations/{user_id}x")
    assert user_id not in bad.text
    assert user_id not in endpoint.get("/metrics").text
    assert json.dumps(user_id) not in endpoint.get("/readyz").text
