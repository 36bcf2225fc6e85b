"""The endpoint as it runs: a Granian process on a loopback port."""

import json
import os
import random
import signal
import socket
import threading
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from endpoint_process import answering, settings_for, start
from planted_snapshot import title, write_snapshot

from pipelines.lists.codec import pack
from pipelines.local_servers import free_port
from pipelines.spool import EventRecord, seal_orphans, sealed_segments
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.open import open_store

TODAY = "20260131-bbbbbbbbbbbb"


def a_list(first_item):
    return pack(
        item_ids=range(first_item, first_item + 200),
        scores=[1.0] * 200,
        sources=[2] * 200,
        reasons=[0] * 200,
        history=[7],
        vector=[0.5] * 64,
        generated_at=datetime(2026, 2, 1, tzinfo=UTC),
    )


def publish(home):
    with EmbeddedStore(home / "lists.lmdb") as store:
        publish_in(store)


def publish_in(store):
    attempt = store.open_attempt(TODAY)
    store.put_many(TODAY, attempt, ((user_id, a_list(1000 * user_id)) for user_id in range(1, 50)))
    store.put_trending(TODAY, attempt, a_list(1))
    store.commit_manifest(TODAY, attempt, {})
    store.go_live(TODAY, attempt)


@contextmanager
def serving(home, *flags, settings=None):
    port = free_port()
    process = start(home, port, *flags, settings=settings)
    with answering(process, port), httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=10) as client:
        yield process, client


def stop(process):
    process.send_signal(signal.SIGTERM)
    stdout, stderr = process.communicate(timeout=30)
    return process.returncode, stdout.splitlines(), stderr


def test_it_starts_before_anything_is_published_and_serves_from_then_on(tmp_path):
    with serving(tmp_path) as (process, client):
        assert client.get("/readyz").status_code == 503
        refused = client.get("/v1/recommendations/1")
        assert refused.status_code == 503
        assert refused.headers["content-type"] == "application/problem+json"
        publish(tmp_path)
        assert client.get("/readyz").json()["run_id"] == TODAY
        answer = client.get("/v1/recommendations/7?k=5").json()
        assert [item["item_id"] for item in answer["items"]] == list(range(7000, 7005))
        assert client.get("/v1/recommendations/99").json()["source"] == "trending"
        assert 'marquee_answers_total{source="personal"} 1.0' in client.get("/metrics").text
        code, lines, stderr = stop(process)
    assert (code, stderr) == (0, "")
    assert lines[0].startswith("serving ")
    assert json.loads(lines[-1])["job"] == "serve_lookup"
    # Who asked is in no log.
    assert not any("recommendations/7" in line for line in lines)
    records = [record for segment in sealed_segments(tmp_path / "spool") for record in segment]
    assert [record.user_id for record in records] == [7, 99]


def test_sigterm_under_load_cuts_no_answer_and_loses_none(tmp_path):
    publish(tmp_path)
    given, broken = [], []

    def keep_asking(base_url):
        with httpx.Client(base_url=base_url, timeout=10) as client:
            while True:
                try:
                    answer = client.get("/v1/recommendations/7?k=100")
                    given.append(answer.json()["request_id"])
                    if len(answer.json()["items"]) != 100:
                        broken.append(answer.text)
                # A connection that is closed or refused before anything was answered: the client asks another server.
                except (httpx.ConnectError, httpx.RemoteProtocolError, httpx.ReadError) as error:
                    if "incomplete" in str(error):
                        broken.append(str(error))
                    return

    with serving(tmp_path) as (process, client):
        askers = [threading.Thread(target=keep_asking, args=(str(client.base_url),)) for _ in range(4)]
        for asker in askers:
            asker.start()
        time.sleep(1)
        code, lines, stderr = stop(process)
        for asker in askers:
            asker.join()
    assert (code, stderr, broken) == (0, "", [])
    assert len(lines) == 2
    spooled = {record.request_id for segment in sealed_segments(tmp_path / "spool") for record in segment}
    assert len(given) > 50
    assert set(given) <= spooled


def test_noise_on_the_wire_gets_a_4xx_and_no_trace(tmp_path):
    publish(tmp_path)
    rng = random.Random(11)
    with serving(tmp_path) as (process, client):
        noises = [bytes(rng.randrange(256) for _ in range(rng.randrange(1, 80))) for _ in range(60)]
        targets = [noise.translate(None, b" \r\n\0") for noise in noises]
        requests = [
            b"GET /v1/recommendations/" + target + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
            for target in targets
        ]
        requests += [
            b"GET /v1/recommendations/1?k=" + b"9" * 100_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
        ]
        requests += [b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
        requests += [b"GET /v1/recommendations/%ff%fe%00 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
        requests += [noise + b"\r\n\r\n" for noise in noises]
        for request in requests:
            answer = exchange(client.base_url.port, request)
            assert b"Traceback" not in answer
            if answer:  # hyper hangs up on what is not HTTP at all
                assert answer.startswith(b"HTTP/1.1 4"), answer[:200]
        assert client.get("/v1/recommendations/1").status_code == 200
        code, lines, stderr = stop(process)
    assert (code, stderr, len(lines)) == (0, "", 2)


def exchange(port, request):
    answer = b""
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        try:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            while chunk := connection.recv(65536):
                answer += chunk
        except OSError:  # it hung up
            pass
    return answer


def test_a_worker_does_not_outlive_its_killed_supervisor(tmp_path):
    publish(tmp_path)
    with serving(tmp_path) as (process, client):
        request_id = client.get("/v1/recommendations/3").json()["request_id"]
        process.kill()
        process.communicate(timeout=30)  # ends when the worker has let go of the pipes too
        with pytest.raises(httpx.ConnectError), httpx.Client(base_url=client.base_url) as fresh:
            fresh.get("/healthz")
    assert [record.request_id for segment in sealed_segments(tmp_path / "spool") for record in segment] == [request_id]


def test_a_killed_worker_is_replaced(tmp_path):
    publish(tmp_path)
    with serving(tmp_path) as (process, client):
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
        os.kill(int(children[0]), signal.SIGKILL)
        for _ in range(200):
            with suppress(httpx.TransportError), httpx.Client(base_url=client.base_url, timeout=10) as fresh:
                if fresh.get("/v1/recommendations/3").status_code == 200:
                    break
            time.sleep(0.05)
        else:
            raise AssertionError("nobody answers")
        assert stop(process)[0] == 0


def test_two_workers_share_the_port_and_the_spool(tmp_path):
    publish(tmp_path)
    with serving(tmp_path, "--workers", "2") as (process, client):
        given = []
        for _ in range(40):
            with httpx.Client(base_url=client.base_url) as fresh:
                given.append(fresh.get("/v1/recommendations/3").json()["request_id"])
        code, _, stderr = stop(process)
    assert (code, stderr) == (0, "")
    segments = sealed_segments(tmp_path / "spool")
    assert sorted(record.request_id for segment in segments for record in segment) == sorted(given)


@pytest.mark.parametrize("reuses_port", [False, True])
def test_a_port_in_use_is_one_sentence(tmp_path, reuses_port):
    with socket.socket() as other:
        if reuses_port:  # as a second endpoint would
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        process = start(tmp_path, port)
        stdout, stderr = process.communicate(timeout=60)
    assert (process.returncode, stdout) == (69, "")
    assert stderr.startswith(f"marquee: cannot listen on 127.0.0.1:{port}: Address already in use")
    assert stderr.count("\n") == 1


def test_no_worker_is_a_usage_error(tmp_path):
    process = start(tmp_path, free_port(), "--workers", "0")
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 64
    assert stderr == "marquee: --workers is 0: at least one is needed\n"


def test_it_serves_from_cassandra_and_redis_what_is_published_while_it_runs(tmp_path, places):
    with serving(tmp_path, settings=settings_for(places)) as (process, client):
        assert client.get("/readyz").status_code == 503
        with open_store(places) as store:
            publish_in(store)
        began = time.monotonic()
        while client.get("/readyz").status_code != 200:
            assert time.monotonic() - began < 10
            time.sleep(0.1)
        # On a machine with little time a deadline may pass; soon one does not.
        for _ in range(100):
            answer = client.get("/v1/recommendations/7?k=5").json()
            if answer["store"] == "redis":
                break
            assert answer["source"] in ("personal", "trending")
            time.sleep(0.1)
        assert (answer["source"], answer["store"], answer["run_id"]) == ("personal", "redis", TODAY)
        assert [item["item_id"] for item in answer["items"]] == list(range(7000, 7005))
        code, lines, _ = stop(process)
    assert code == 0
    assert lines[0].startswith("serving cassandra://")
    records = [record for segment in sealed_segments(tmp_path / "spool") for record in segment]
    assert records[-1].source == "redis"


@pytest.mark.parametrize("setting", ["MARQUEE_LISTS", "MARQUEE_CACHE"])
def test_an_address_of_no_known_form_is_a_usage_error(tmp_path, setting):
    process = start(tmp_path, free_port(), settings={setting: "mongodb://host/lists"})
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 64
    assert stderr.startswith(f"marquee: the setting {setting} is 'mongodb://host/lists'")
    assert stderr.count("\n") == 1


def test_without_keys_it_listens_on_this_machine_alone_and_says_so(tmp_path):
    process = start(tmp_path, free_port(), settings={"MARQUEE_HOST": "0.0.0.0"})
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 64
    assert "MARQUEE_API_KEYS is empty" in stderr
    assert stderr.count("\n") == 1
    with serving(tmp_path) as (process, _):
        _, lines, _ = stop(process)
    assert "whoever is on this machine may ask" in lines[0]


def test_with_keys_callers_need_one_and_tokens_outlive_a_restart(tmp_path):
    publish(tmp_path)
    lay_down_snapshot(tmp_path)
    key = {"authorization": "Bearer the key of the shop"}
    settings = {"MARQUEE_API_KEYS": '{"shop": "the key of the shop"}', "MARQUEE_HOST": "0.0.0.0"}
    with serving(tmp_path, settings=settings) as (process, client):
        assert client.get("/v1/recommendations/7").status_code == 401
        first = client.get("/v1/recommendations/7?k=10", headers=key).json()
        code, lines, stderr = stop(process)
    assert (code, stderr) == (0, "")
    assert "the key of" not in "".join(lines)
    with serving(tmp_path, "--workers", "2", settings=settings) as (_, client):
        page = f"/v1/recommendations/7?k=10&page_token={first['next_page_token']}"
        second = client.get(page, headers=key).json()
    assert not {item["item_id"] for item in first["items"]} & {item["item_id"] for item in second["items"]}
    assert (first["audit_id"], first["run_id"]) == (second["audit_id"], second["run_id"]) == ("audit-7", TODAY)


def lay_down_snapshot(home):
    titles = [title(item_id) for item_id in range(7000, 7200)]
    write_snapshot(str(home / "snapshots"), titles, run_id=TODAY, audit_id="audit-7")


def test_what_was_acknowledged_before_a_kill_is_in_the_spool_and_in_force_after(tmp_path):
    publish(tmp_path)
    lay_down_snapshot(tmp_path)
    moment = datetime.now(UTC).isoformat()
    taken = []
    with serving(tmp_path) as (process, client):
        for number in range(20):
            said = {"event_id": f"e{number}", "kind": "not_interested", "user_id": 7, "item_id": 7000 + number}
            response = client.post("/v1/events", json=[said | {"happened_at": moment}])
            assert response.status_code == 202
            taken.append(said["event_id"])
            shown = client.get("/v1/recommendations/7?k=100").json()["items"]
            assert 7000 + number not in {item["item_id"] for item in shown}
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate(timeout=30)
    assert seal_orphans(tmp_path / "spool") >= 1
    records = [record for segment in sealed_segments(tmp_path / "spool") for record in segment]
    assert [record.event_id for record in records if isinstance(record, EventRecord)] == taken
    with serving(tmp_path) as (_, client):
        shown = client.get("/v1/recommendations/7?k=100").json()["items"]
    assert not {item["item_id"] for item in shown} & set(range(7000, 7020))


def test_slow_and_endless_clients_are_hung_up_on_and_cost_nobody_else_anything(tmp_path):
    publish(tmp_path)
    with serving(tmp_path) as (process, client):
        port = client.base_url.port
        head = b"POST /v1/events HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
        dripping = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(40)]
        for number, connection in enumerate(dripping):
            # Half never end their headers, half never send the body they announce.
            connection.sendall(b"GET /v1/rec" if number % 2 else head + b"Content-Length: 100\r\n\r\n[")
        oversized = exchange(port, head + b"Content-Length: 600000\r\n\r\n" + b" " * 600_000)
        assert not oversized or oversized.startswith(b"HTTP/1.1 413")
        endless = exchange(
            port,
            head
            + b"Transfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
            + (b"10000\r\n" + b" " * 65536 + b"\r\n") * 12,
        )
        assert not endless or endless.startswith(b"HTTP/1.1 413")
        began = time.monotonic()
        for _ in range(20):
            assert client.get("/v1/recommendations/1").status_code == 200
        assert time.monotonic() - began < 5
        for connection in dripping:
            answer = b""
            with suppress(OSError):
                while chunk := connection.recv(65536):
                    answer += chunk
                    if b"\r\n\r\n" in answer:
                        break
            assert not answer or answer.startswith(b"HTTP/1.1 408"), answer
            connection.close()
        code, _, stderr = stop(process)
    assert (code, "Traceback" in stderr) == (0, False)
