"""Three nights on this machine: python -m jobs.run_demo, or with --source movielens --data ../ml-100k

Fills a warehouse with a simulated service, or with MovieLens; brings its past into the lake; lets Airflow run
`retrain_weekly` where there are impressions to learn a ranker from, and `recommend_daily` for the last three days; and
asks the endpoint for three users' lists. Everything lies in one folder, made anew each time, and is left to look at.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections import defaultdict
from concurrent.futures import ThreadPoolExecutor
from ctypes.util import find_library
from dataclasses import astuple
from datetime import date, timedelta
from pathlib import Path
from types import FrameType
from typing import Any, Literal

import numpy as np
import pyarrow.compute as pc

from feature_defs.audit_policy import FEW_USERS_POLICY
from feature_defs.events import EVENTS
from feature_defs.record import EVALUATIONS
from pipelines import airflow_runs
from pipelines.audit.in_force import OWN_AUDITS
from pipelines.audit.policy_file import policy_to_json
from pipelines.audit.records import records
from pipelines.catalogue import read_names
from pipelines.command_line import run, say, say_result
from pipelines.demo_pages import models_of, quality_table, steps_table, user_page
from pipelines.errors import DataError, UnavailableError, UsageError
from pipelines.evaluation.bootstrap import interval
from pipelines.evaluation.comparison import CANDIDATES, per_user
from pipelines.evaluation.held_out import read_held_out
from pipelines.histories import read_histories, read_opted_out
from pipelines.knowledge import read_users
from pipelines.lake import Lake
from pipelines.local_servers import LocalServer, free_port, start_server, stop_servers, wait_until_ready
from pipelines.local_services import LocalServices, start_services, stop_services
from pipelines.runs import run_of
from pipelines.settings import read_settings
from pipelines.simulation.configuration import WorldConfiguration
from pipelines.simulation.truth import oracle_ranking, state_before
from pipelines.simulation.world import make_world
from pipelines.stores.open import open_store
from pipelines.warehouse.open import open_warehouse

_DAG = "recommend_daily"
_WEEKLY = "retrain_weekly"
_NIGHTS = 3
_STORES = (frozenset({"embedded"}), frozenset({"cassandra"}), frozenset({"cassandra", "redis"}))
# The simulated service: large enough to tell models apart, small enough for a laptop.
_USERS, _TITLES, _DAYS, _SEED = 4000, 1600, 45, 1
# MovieLens has some 50 active users a week: a single day could not tell models apart.
_TRUTH_DAYS = {"simulated": 1, "movielens": 7}
# As good as 64 factors and 10 rounds on a catalogue of this size, by validation, for a fraction of the work.
_FACTORS, _ITERATIONS = 32, 6
_EPOCHS = {"simulated": 5, "movielens": 4}
# What 4,000 people are shown in one week is too little for a ranker (decision 0026).
_LABEL_DAYS = 14
_EXPLAINED = {
    "simulated": (
        "  A play of at least 80 % counts. The oracle knows what users like and what they are in the middle of; what\n"
        "  they choose by chance nobody knows. These figures are of a simulated service, not of a real one."
    ),
    "movielens": (
        "  A rating of 4 or 5 stands for a play of at least 80 %: MovieLens has ratings, no plays. Nor impressions:\n"
        "  every head of a ranker is masked, there is none, and lists stay in the order of retrieval, diversified."
    ),
}
_ROOT = Path(__file__).resolve().parents[1]
_MARK = ".marquee-demo"
# Small jobs end before the JVM's second compiler has paid for itself (only vectors in plain Java cannot do without it),
# or collecting garbage on several threads, or planning a query anew at each shuffle.
_SHORT_JOBS = {
    "spark.driver.extraJavaOptions": "-Duser.timezone=UTC -Xss4m -XX:TieredStopAtLevel=1 -XX:+UseSerialGC",
    "spark.sql.adaptive.enabled": "false",
    "spark.sql.shuffle.partitions": "2",
    "spark.default.parallelism": "2",
}


def main(
    source: Literal["simulated", "movielens"] = "simulated", data: Path | None = None, stores: str = "embedded"
) -> None:
    """Run the demo.

    Args:
        source: where events come from.
        data: the folder of MovieLens.
        stores: where lists are kept: `embedded`, or `cassandra,redis`: real servers, started for the demo.
    """
    wanted = frozenset(stores.split(","))
    if wanted not in _STORES:
        raise UsageError(
            f"there are no stores {stores!r}: say STORES=embedded, STORES=cassandra or STORES=cassandra,redis"
        )
    if source == "movielens" and data is None:
        raise UsageError(
            "MovieLens is needed: make demo SOURCE=movielens DATA=FOLDER, where FOLDER holds MovieLens 100K or 1M "
            "(u.data, u.item, u.user; or ratings.dat, movies.dat, users.dat), which GroupLens offers for research"
        )
    if source == "simulated" and data is not None:
        raise UsageError("a simulated service reads no data: leave out DATA, or say SOURCE=movielens")
    if data is not None and not data.is_dir():
        raise UsageError(f"there is no folder {data}")
    signal.signal(signal.SIGTERM, _interrupt)
    started = time.monotonic()
    home = read_settings().home.absolute()
    _make_anew(home)
    services = _start_services(home / "services", wanted - {"embedded"})
    try:
        result = _run(source, data, started)
    finally:
        stop_services(services)
    say(_where_next(home, result["seconds"], has_services=bool(services.servers)))
    say_result(result)


def _start_services(folder: Path, stores: frozenset[str]) -> LocalServices:
    """The servers that the demo's lists are kept in, if any; from here on the settings lead there."""
    if not stores:
        return LocalServices({}, ())
    say(f"starting {' and '.join(sorted(stores))}: a minute or two")
    services = start_services(
        folder, stores=stores, nodes=1, port=free_port(), storage_port=free_port(), redis_port=free_port()
    )
    os.environ.update(services.settings)
    return services


def _run(source: str, data: Path | None, started: float) -> dict[str, Any]:
    """Everything but the servers of the lists; returns the figures."""
    settings = read_settings()
    home = settings.home.absolute()
    environment = {
        **os.environ,
        "MARQUEE_HOME": str(home),
        # Two tasks run beside each other, each on a core of its own.
        "OMP_NUM_THREADS": "1",
        "MARQUEE_SPARK_OPTIONS": json.dumps(_SHORT_JOBS if find_library("blas") else {}),
    }
    steps: dict[str, float] = defaultdict(float)
    if source == "movielens" and not settings.audit_policy:
        few_users = home / "audit_policy.json"
        few_users.write_text(policy_to_json(FEW_USERS_POLICY) + "\n", encoding="utf-8")
        environment["MARQUEE_AUDIT_POLICY"] = str(few_users)

    # Airflow takes half a minute to start, mostly on one core: the past is loaded meanwhile.
    with ThreadPoolExecutor(1) as beside:
        starting = beside.submit(
            airflow_runs.start,
            home / "airflow",
            _ROOT,
            python=Path(sys.executable),
            port=free_port(),
            environment=environment,
            schedule=False,
        )
        try:
            first_night, last_day = _load_past(settings.warehouse, environment, steps, source, data)
            learned = {"factors": _FACTORS, "iterations": _ITERATIONS, "epochs": _EPOCHS[source]}
            if source == "simulated":
                _ranker(starting.result(), steps, first_night - timedelta(days=1), learned)
            else:
                say(f"\n{_WEEKLY} is left out: without impressions every head of a ranker that needs them is masked")
            _nights(starting.result(), steps, first_night, last_day, learned | {"truth_days": _TRUTH_DAYS[source]})
        finally:
            if starting.exception() is None:
                airflow_runs.stop(starting.result())

    lake = Lake(settings.lake, settings.lake_options)
    say("\n" + _audited(lake, settings.audits))
    _show_users(home, environment, lake, last_day)
    rows = _evaluations(lake, last_day)
    if source == "simulated":
        say("\nasking the simulation for the best possible lists ...")
        rows = [*_oracle(lake, last_day), *rows]
    learned_until = last_day - timedelta(days=_TRUTH_DAYS[source])
    say(f"\nQuality of the night of {last_day}, on what was watched after {learned_until}, unseen by every model")
    say("(mean over users, 95 % bootstrap intervals, those of differences paired):\n")
    say(quality_table(rows))
    say(_EXPLAINED[source])
    say("\nSeconds by step, all nights together:\n")
    say(steps_table(steps))
    seconds = round(time.monotonic() - started, 1)
    with open_store(settings.list_places, is_reader=True) as store:
        live = store.live()
        lists = store.tally(live.run_id).list_count if live else 0
    result = {
        "seconds": seconds,
        "steps": {name: round(value, 1) for name, value in steps.items()},
        "models": models_of(rows),
        "lists": lists,
    }
    _report_of(home).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    return result


def _make_anew(home: Path) -> None:
    """An empty folder; what an earlier demo left is removed, what is not a demo's is not."""
    if home.exists() and any(home.iterdir()) and not (home / _MARK).exists():
        raise UsageError(f"{home} holds something that no demo made: name another folder with MARQUEE_HOME")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / _MARK).touch()


def _job(environment: dict[str, str], steps: dict[str, float], name: str, *arguments: str) -> None:
    """Run a job as a person would, and show what it says."""
    say(f"\n$ python -m jobs.{name} {' '.join(arguments)}")
    started = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", f"jobs.{name}", *arguments],
        cwd=_ROOT,
        env=environment,
        check=False,
        stderr=subprocess.PIPE,
    )
    if ended.returncode:
        words = ended.stderr.decode(errors="replace").strip().splitlines()
        raise DataError(f"{name} ended with exit code {ended.returncode}: {words[-1] if words else 'it said nothing'}")
    steps[name] += time.monotonic() - started


def _load_past(
    place: str, environment: dict[str, str], steps: dict[str, float], source: str, data: Path | None
) -> tuple[date, date]:
    """Fill the warehouse and bring all but the last days into the lake; returns the first night and the last."""
    sizes = {"--users": _USERS, "--titles": _TITLES, "--days": _DAYS, "--seed": _SEED}
    what = [str(part) for pair in sizes.items() for part in pair] if data is None else ["--data", str(data.absolute())]
    _job(environment, steps, "load_warehouse", "--source", source, *what)
    with open_warehouse(place) as warehouse:
        bounds = warehouse.days(EVENTS)
    if bounds is None or (bounds[1] - bounds[0]).days < _NIGHTS + max(_TRUTH_DAYS.values()):
        raise DataError(f"{data} holds too few days of events for a demo")
    first_day, last_day = bounds
    first_night = last_day - timedelta(days=_NIGHTS - 1)
    past = ["--from-day", str(first_day), "--day", str(first_night - timedelta(days=1))]
    _job(environment, steps, "extract_events", *past)
    _job(environment, steps, "build_features", *past)
    return first_night, last_day


def _ranker(airflow: airflow_runs.LocalAirflow, steps: dict[str, float], day: date, params: dict[str, int]) -> None:
    """Let Airflow learn a ranker from the last days up to one."""
    say(f"\nAirflow runs {_WEEKLY}: a ranker, from what was shown in the {_LABEL_DAYS} days up to {day}")
    runs = airflow_runs.trigger(airflow, _WEEKLY, day=day, params=params | {"truth_days": _LABEL_DAYS})
    _watch(airflow, _WEEKLY, runs, steps)


def _nights(
    airflow: airflow_runs.LocalAirflow,
    steps: dict[str, float],
    first_day: date,
    last_day: date,
    params: dict[str, int],
) -> None:
    """Let Airflow run the last days, one after another."""
    say(f"\nAirflow runs {_DAG} for {first_day} to {last_day}")
    told = {**params, "shard_count": 1, "promote": True, "publish": True}
    runs = airflow_runs.backfill(airflow, _DAG, first_day=first_day, last_day=last_day, params=told)
    _watch(airflow, _DAG, runs, steps)


def _watch(airflow: airflow_runs.LocalAirflow, dag: str, runs: dict[str, date], steps: dict[str, float]) -> None:
    """Show each task as it ends."""
    started = time.monotonic()
    for change in airflow_runs.task_changes(airflow, dag, runs):
        if change.state not in {"success", "failed", "up_for_retry"} or change.seconds is None:
            continue
        steps[change.task_id] += change.seconds
        part = f" {change.map_index}" if change.map_index >= 0 else ""
        say(f"  {time.monotonic() - started:5.0f} s  {change.day}  {change.task_id + part:<26}{change.state}")


def _audited(lake: Lake, audits: Path) -> str:
    """What the nights' audits said, in one line."""
    told = [f"{one.audit_id} {one.content['verdict']}" for one in records(lake) if one.moment in OWN_AUDITS]
    return (
        "Audited each night, under a policy and with a key for demonstrations, which the record says: "
        f"{', '.join(told)}; the pages are in {_shown(audits)}"
    )


def _show_users(home: Path, environment: dict[str, str], lake: Lake, day: date) -> None:
    """Ask the running endpoint for the lists of three users: of short, middling and long history."""
    names = read_names(lake, day)
    histories = read_histories(lake, day, opted_out=read_opted_out(lake, day))
    lengths = np.diff(histories.offsets)
    order = np.argsort(lengths, kind="stable")
    chosen = [int(order[int(share * (len(order) - 1))]) for share in (0.1, 0.5, 0.9)]
    port = free_port()
    server = start_server(
        "the endpoint",
        [sys.executable, "-m", "jobs.serve_lookup"],
        log=home / "serve_lookup.log",
        environment={**environment, "MARQUEE_PORT": str(port)},
        folder=_ROOT,
    )
    try:
        _ask(server, port, "/readyz")
        for user in chosen:
            start, stop = histories.offsets[user], histories.offsets[user + 1]
            history = [names.get(int(item), str(item)) for item in histories.item_ids[start:stop][::-1]]
            user_id = int(histories.user_ids[user])
            say("\n" + user_page(user_id, history, _ask(server, port, f"/v1/recommendations/{user_id}?k=8"), names))
        stranger = int(pc.max(read_users(lake, day).column("user_id")).as_py()) + 1
        answer = _ask(server, port, f"/v1/recommendations/{stranger}?k=3")
        shown = ", ".join(names.get(item["item_id"], "?") for item in answer["items"])
        say(f"\nuser {stranger} is unknown and gets what trends (source: {answer['source']}): {shown}")
    finally:
        stop_servers([server])


def _ask(server: LocalServer, port: int, path: str) -> Any:
    address = f"http://127.0.0.1:{port}{path}"
    answer: list[Any] = []

    def is_answered() -> bool:
        try:
            with urllib.request.urlopen(address, timeout=5) as response:
                answer.append(json.load(response))
        except OSError:
            return False
        return True

    wait_until_ready([server], is_answered, seconds=60)
    if not answer:
        raise UnavailableError(f"the endpoint did not answer {path}; see {server.log}")
    return answer[-1]


def _evaluations(lake: Lake, day: date) -> list[dict[str, Any]]:
    of_run = pc.field("run_id") == run_of(lake, day).run_id
    rows: list[dict[str, Any]] = lake.read(EVALUATIONS, day, day, where=of_run).to_pylist()
    return rows


def _oracle(lake: Lake, day: date) -> list[dict[str, Any]]:
    """What the best possible lists reach, judged as the models were."""
    held_out = read_held_out(lake, day, 1)
    world = make_world(WorldConfiguration(_USERS, _TITLES, _DAYS, seed=_SEED))
    eligible = held_out.catalogue.eligible
    lists = oracle_ranking(world, state_before(world, day), day, held_out.known, eligible, CANDIDATES)
    return [
        {"role": "oracle", "against": "challenger", "segment": "all", "metric": metric, "user_count": len(values)}
        | dict(zip(("value", "low", "high"), astuple(interval(values)), strict=True))
        for metric, values in per_user(lists, held_out.truth).items()
    ]


def _report_of(home: Path) -> Path:
    return home.parent / "demo.json"


def _where_next(home: Path, seconds: float, *, has_services: bool) -> str:
    at = f"MARQUEE_HOME={_shown(home)}"
    first = (
        f"  make services {at} && source {_shown(home / 'services' / 'settings.env')}\n"
        "                                        the servers of the lists again; make services-stop ends them\n"
    )
    return (
        f"\nDone in {seconds:.0f} s. Where to look next:\n"
        f"{first if has_services else ''}"
        f"  make serve {at}      the endpoint: curl http://127.0.0.1:8080/v1/recommendations/1\n"
        f"  make mlflow {at}     what was learned and which model set is champion\n"
        f"  make airflow {at}    the DAG, its manual, its runs\n"
        f"  {_shown(home / 'data_docs' / 'index.html')}    how the data fared\n"
        f"  make demo-audit                       how every group fares, on this and on MovieLens\n"
        f"  {_shown(_report_of(home))}    the figures above\n"
    )


def _shown(path: Path) -> str:
    return os.path.relpath(path)


def _interrupt(_number: int, _frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    run(main, description=__doc__)
