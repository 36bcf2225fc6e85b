"""The endpoint in this process, over an embedded store with a few lists in it."""

import asyncio
from datetime import UTC, datetime
from functools import partial

import httpx

from feature_defs.recommendations import NO_REASON
from pipelines.lists.codec import pack
from pipelines.serving.app import create_app
from pipelines.serving.snapshots import Snapshots
from pipelines.spool import Spool, sealed_segments
from pipelines.stores.embedded import EmbeddedStore
from pipelines.stores.open_lookup import open_lookup
from pipelines.stores.places import Places

YESTERDAY, TODAY = "20260130-aaaaaaaaaaaa", "20260131-bbbbbbbbbbbb"
MADE_AT = datetime(2026, 2, 1, tzinfo=UTC)
MOST_POPULAR, TRENDING, ALS = range(3)


def a_list(first_item, count=30, source=ALS, history=(7, 8)):
    return pack(
        item_ids=range(first_item, first_item + count),
        scores=[1 - place / 64 for place in range(count)],
        sources=[source] * count,
        reasons=[place % 2 if history and place < 4 else NO_REASON for place in range(count)],
        history=history,
        vector=[0.5] * 8,
        generated_at=MADE_AT,
    )


PERSONAL = {1: a_list(1000), 2: a_list(2000, count=3), 3: b"MQ this is no list", 4: a_list(4000, count=0)}
POPULAR = a_list(50, source=TRENDING, history=())


def publish(path, run_id=TODAY, lists=PERSONAL, trending=POPULAR):
    with EmbeddedStore(path) as store:
        attempt = store.open_attempt(run_id)
        store.put_many(run_id, attempt, lists.items())
        store.put_trending(run_id, attempt, trending)
        store.commit_manifest(run_id, attempt, {})
        store.go_live(run_id, attempt)


class Running:
    """The endpoint from start to shutdown; `has_snapshot`: it looks for one in the folder `snapshots`."""

    def __init__(self, path, *, has_snapshot=False, lookup=None, **settings):
        self.lists, self.spool, self.snapshots = path / "lists.lmdb", path / "spool", path / "snapshots"
        if has_snapshot:
            settings["snapshots"] = Snapshots(str(self.snapshots))
        opened = lookup or partial(open_lookup, Places(lists=str(self.lists)))
        self.app = create_app(opened, Spool(self.spool), **settings)
        self._runner = asyncio.Runner()
        self._lifespan = self.app.router.lifespan_context(self.app)
        self._client = httpx.AsyncClient(
            transport=httpx.ASGITransport(self.app, raise_app_exceptions=False), base_url="http://endpoint"
        )

    def __enter__(self):
        self._runner.run(self._lifespan.__aenter__())
        return self

    def __exit__(self, *error):
        self._runner.run(self._lifespan.__aexit__(None, None, None))
        self._runner.run(self._client.aclose())
        self._runner.close()

    def get(self, path, method="GET", **given):
        return self._runner.run(self._client.request(method, path, **given))

    def post(self, path, body, method="POST"):
        return self.get(path, method, json=body)

    def together(self, *paths):
        async def ask():
            return await asyncio.gather(*(self._client.get(path) for path in paths))

        return self._runner.run(ask())

    def wait(self, seconds):
        self._runner.run(asyncio.sleep(seconds))

    def count(self, metric):
        for line in self.get("/metrics").text.splitlines():
            if line.startswith(metric + " "):
                return float(line.split()[1])
        raise AssertionError(metric)


def records(folder):
    """What is in the sealed segments of a spool."""
    return [record for segment in sealed_segments(folder) for record in segment]


def is_problem(response, status):
    body = response.json()
    return (
        (response.status_code, body["status"]) == (status, status)
        and response.headers["content-type"] == "application/problem+json"
        and "Traceback" not in response.text
        and body["detail"].endswith(".")
    )
