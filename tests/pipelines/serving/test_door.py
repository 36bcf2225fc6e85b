"""Who is let in, and how many: keys, bounds, shedding; and what is told of it."""

import asyncio
import hashlib
import json
import time

import pytest
from planted_snapshot import title, write_snapshot
from running_endpoint import TODAY, Running, is_problem, publish

from pipelines.errors import UsageError
from pipelines.serving.app import Bounds
from pipelines.serving.keys import ApiKeys, read_api_keys
from pipelines.stores.open_lookup import open_lookup
from pipelines.stores.places import Places

KEYS = {"shop": "k" * 16, "app": "a key of the app's own"}


@pytest.fixture
def home(tmp_path):
    publish(tmp_path / "lists.lmdb")
    write_snapshot(str(tmp_path / "snapshots"), [title(item) for item in range(1000, 1030)], run_id=TODAY)
    return tmp_path


def bearer(key):
    return {"authorization": f"Bearer {key}"}


def test_without_a_key_only_the_process_is_told_of(home):
    with Running(home, has_snapshot=True, keys=ApiKeys(KEYS)) as endpoint:
        for key in KEYS.values():
            assert endpoint.get("/v1/recommendations/1", headers=bearer(key)).status_code == 200
        assert endpoint.get("/v1/trending", headers={"authorization": f"bearer  {KEYS['app']} "}).status_code == 200
        for headers in ({}, bearer(""), bearer("k" * 15), bearer("k" * 17), {"authorization": "k" * 16}):
            for path in ("/v1/recommendations/1", "/v1/trending", "/v1/nothing"):
                refused = endpoint.get(path, headers=headers)
                assert is_problem(refused, 401)
                assert refused.headers["www-authenticate"] == "Bearer"
            assert is_problem(endpoint.get("/v1/events", "POST", content=b"[]", headers=headers), 401)
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert endpoint.get(path).status_code == 200, path
        assert endpoint.count('marquee_requests_total{caller="shop"}') == 1
        assert endpoint.count('marquee_requests_total{caller="app"}') == 2
        told = endpoint.get("/metrics").text + endpoint.get("/readyz").text
        assert not any(key in told for key in KEYS.values())


def test_every_key_is_compared_whichever_it_is(monkeypatch):
    compared = []
    keys = ApiKeys(KEYS)
    monkeypatch.setattr("hmac.compare_digest", lambda one, other: compared.append((one, other)) or one == other)
    assert keys.caller_of(KEYS["shop"].encode()) == "shop"
    assert keys.caller_of(b"nobody's") is None
    assert len(compared) == 4
    assert {len(one) for pair in compared for one in pair} == {hashlib.sha256().digest_size}


def test_keys_are_read_from_the_setting_or_from_a_file(tmp_path):
    text = json.dumps(KEYS)
    file = tmp_path / "keys.json"
    file.write_text(text + "\n")
    assert read_api_keys("").is_open
    for setting in (text, str(file)):
        keys = read_api_keys(setting)
        assert not keys.is_open
        assert keys.caller_of(KEYS["app"].encode()) == "app"
    assert read_api_keys(text).secret == read_api_keys(str(file)).secret != b""


@pytest.mark.parametrize(
    "setting",
    ["/no/such/file", "{", "[]", '{"a": 1}', '{"a": "short"}', '{"": "long enough, that is"}', '{"a": "%s", "b": "%s"}']
)  # fmt: skip
def test_what_is_no_set_of_keys_is_one_sentence_that_shows_no_key(setting):
    with pytest.raises(UsageError, match="MARQUEE_API_KEYS") as caught:
        read_api_keys(setting.replace("%s", "the same key for two"))
    assert "short" not in str(caught.value)
    assert "the same" not in str(caught.value)


class Slow:
    """A lookup that takes its time."""

    def __init__(self, lookup, seconds):
        self._lookup, self._seconds = lookup, seconds

    async def find(self, *asked):
        await asyncio.sleep(self._seconds)
        return await self._lookup.find(*asked)

    def __getattr__(self, name):
        return getattr(self._lookup, name)


def test_beyond_its_bound_it_sheds_at_once_and_recovers(home):
    async def slow():
        return Slow(await open_lookup(Places(lists=str(home / "lists.lmdb"))), 0.5)

    with Running(home, has_snapshot=True, lookup=slow, bounds=Bounds(most_in_flight=8)) as endpoint:
        began = time.monotonic()
        answers = endpoint.together(*["/v1/recommendations/1"] * 80, "/healthz")
        assert time.monotonic() - began < 5
        statuses = [answer.status_code for answer in answers]
        assert (statuses.count(200), statuses.count(503)) == (9, 72)
        shed = next(answer for answer in answers if answer.status_code == 503)
        assert is_problem(shed, 503)
        assert shed.headers["retry-after"] == "1"
        assert endpoint.count("marquee_shed_total") == 72
        assert endpoint.count("marquee_in_flight") == 0
        assert [answer.status_code for answer in endpoint.together(*["/v1/recommendations/1"] * 8)] == [200] * 8


def test_a_body_that_does_not_come_is_given_up(home, monkeypatch):
    monkeypatch.setattr("pipelines.serving.bodies._READ_SECONDS", 0.2)

    with Running(home) as endpoint:
        sent = []

        async def receive():
            if not sent:
                sent.append(1)
                return {"type": "http.request", "body": b"[", "more_body": True}
            await asyncio.sleep(5)
            return {"type": "http.disconnect"}

        async def send(message):
            sent.append(message)

        scope = {
            "type": "http",
            "method": "POST",
            "path": "/v1/events",
            "raw_path": b"/v1/events",
            "query_string": b"",
            "headers": [],
            "http_version": "1.1",
            "root_path": "",
        }
        endpoint._runner.run(endpoint.app(scope, receive, send))
        assert sent[1]["status"] == 408
        assert endpoint.count("marquee_in_flight") == 0


@pytest.mark.parametrize(
    "path", ["/v1/recommendations/" + "1" * 2000, "/v1/trending?exclude=" + "1," * 5000, "/" + "x" * 9000]
)
def test_an_address_that_is_too_long_is_refused(home, path):
    with Running(home) as endpoint:
        assert is_problem(endpoint.get(path), 414)


def test_hops_sources_and_ages_are_told(home):
    with Running(home, has_snapshot=True) as endpoint:
        for _ in range(3):
            endpoint.get("/v1/recommendations/1?exclude=1000,1001")
        assert endpoint.count('marquee_hop_seconds_count{hop="embedded"}') >= 3
        assert endpoint.count('marquee_hop_failures_total{hop="embedded"}') == 0
        assert endpoint.count('marquee_hop_resting{hop="embedded"}') == 0
        assert endpoint.count("marquee_snapshot_age_seconds") > 0
        assert endpoint.count("marquee_list_age_seconds") > 0
        assert endpoint.count('marquee_filtered_total{rule="excluded"}') == 6
        assert endpoint.count("marquee_empty_answers_total") == 0
        state = endpoint.get("/readyz").json()
        assert state["stores"] == {"embedded": "asked"}
        assert (state["snapshot"]["run_id"], state["snapshot_trouble"]) == (TODAY, None)
