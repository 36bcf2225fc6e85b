"""What the nightly DAG would run, and when.

`recorded/recommend_daily.txt` holds every command as Airflow renders it. After a wanted change, record it anew and let
the review see what will run differently:

    MARQUEE_RECORD=1 .venv/bin/python -m pytest tests/dags/test_recommend_daily.py -n 0
"""

import os
import re
import shlex
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import ParamValidationError
from airflow.sdk.execution_time import macros
from scheduled_dag import as_scheduled, at

RECORDED = Path(__file__).parent / "recorded" / "recommend_daily.txt"
ORDER = [
    "load_events",
    "extract_events",
    "open_run",
    "build_features",
    "embed_items",
    "train_als",
    "train_towers",
    "assemble_models",
    "evaluate_models",
    "audit_bias",
    "promote_models",
    "score_users",
    "write_lists",
    "build_snapshot",
    "publish_recommendations",
]


@pytest.fixture(scope="session")
def scheduled(recommend_daily):
    return as_scheduled(recommend_daily)


def scheduler_form(dag):
    """The form as the API server checks what was filled in."""
    return as_scheduled(dag).params


def rendered(dag, *, form=None, run_type="scheduled", interval=None, run_after=None, shard="0/2"):
    """The commands of one run in the order they run, rendered by Airflow's operators."""
    params = scheduler_form(dag).deep_merge(form or {}).validate()
    run = SimpleNamespace(
        run_type=run_type,
        conf=form or {},
        run_after=run_after or interval.end,
        data_interval_start=interval and interval.start,
    )
    context = {"params": params, "dag_run": run, "macros": macros}
    commands = []
    for task in sorted(dag.tasks, key=lambda task: ORDER.index(task.task_id)):
        operator = task.unmap({"shard": shard, **task.partial_kwargs}) if task.is_mapped else task
        text = operator.render_template(operator.bash_command, {**context, "task": operator}, dag.get_template_env())
        commands.append(text)
    return commands


def command(commands, name):
    return next(text for text in commands if f"-m jobs.{name} " in f"{text} ")


def an_interval(scheduled, first="2026-01-31", last="2026-01-31T23:59"):
    return [info.data_interval for info in scheduled.iter_dagrun_infos_between(at(first), at(last))]


def test_what_runs_is_what_was_recorded(recommend_daily, scheduled):
    (interval,) = an_interval(scheduled)
    filled = {
        "day": "2026-01-05",
        "truth_days": 7,
        "shard_count": 16,
        "factors": 48,
        "iterations": 15,
        "epochs": 12,
        "promote": False,
        "publish": False,
        "allow_older": True,
    }
    told = {"promote": True, "publish": True}
    runs = {
        "The run of 2026-01-31, by schedule": rendered(recommend_daily, interval=interval),
        "A back-fill of 2026-01-31": rendered(recommend_daily, interval=interval, run_type="backfill"),
        "A back-fill of 2026-01-31 that was told to promote and publish": rendered(
            recommend_daily, interval=interval, run_type="backfill", form=told
        ),
        "By hand, everything in the form filled in": rendered(
            recommend_daily, interval=interval, run_type="manual", form=filled
        ),
    }
    text = "\n".join(f"# {title}\n" + "\n".join(commands) + "\n" for title, commands in runs.items())
    if os.environ.get("MARQUEE_RECORD"):
        RECORDED.write_text(text)
    assert text == RECORDED.read_text(), f"what runs has changed; if that is wanted: {__doc__}"


def test_tasks_follow_each_other_in_the_order_of_the_walk(recommend_daily):
    assert {task.task_id: sorted(task.downstream_task_ids) for task in recommend_daily.tasks} == {
        "load_events": ["extract_events"],
        "extract_events": ["open_run"],
        # The shards of the run reach both mapped tasks.
        "open_run": ["build_features", "embed_items", "score_users", "write_lists"],
        "build_features": ["train_als", "train_towers"],
        "embed_items": ["train_towers"],
        "train_als": ["assemble_models"],
        "train_towers": ["assemble_models"],
        "assemble_models": ["evaluate_models"],
        "evaluate_models": ["audit_bias"],
        "audit_bias": ["promote_models"],
        "promote_models": ["build_snapshot", "score_users"],
        "score_users": ["write_lists"],
        "write_lists": ["publish_recommendations"],
        "build_snapshot": ["publish_recommendations"],
        "publish_recommendations": [],
    }
    assert {task.trigger_rule for task in recommend_daily.tasks} == {"all_success"}


def test_every_task_runs_in_the_repository_with_the_named_interpreter(recommend_daily, scheduled):
    assert {task.partial_kwargs["cwd"] if task.is_mapped else task.cwd for task in recommend_daily.tasks} == {
        "/srv/marquee"
    }
    for text in rendered(recommend_daily, interval=an_interval(scheduled)[0]):
        assert re.match(r"python3\.11 -m jobs\.[a-z_]+( --|$)", text)


def test_an_interpreter_with_a_space_in_its_path_is_quoted(read_dags_with):
    bag = read_dags_with({"MARQUEE_PYTHON": "/opt/our python/bin/python"})
    task = bag.dags["recommend_daily"].get_task("load_events")
    assert shlex.split(task.bash_command) == ["/opt/our python/bin/python", "-m", "jobs.load_events"]
    assert task.cwd == str(Path(__file__).resolve().parents[2])


def test_the_run_of_a_day_starts_two_hours_after_its_end(scheduled):
    (info,) = scheduled.iter_dagrun_infos_between(at("2026-01-31"), at("2026-01-31T23:59"))
    assert info.run_after == at("2026-02-01T02:00")
    assert info.data_interval.start == at("2026-01-31T02:00")


def test_a_back_fill_runs_each_day_of_its_range(recommend_daily, scheduled):
    intervals = an_interval(scheduled, "2026-01-30", "2026-02-01T23:59")
    days = [command(rendered(recommend_daily, interval=each), "train_als")[-10:] for each in intervals]
    assert days == ["2026-01-30", "2026-01-31", "2026-02-01"]


@pytest.mark.parametrize(
    ("triggered_at", "day"),
    [("2026-02-01T15:00", "2026-01-31"), ("2026-02-01T02:00", "2026-01-31"), ("2026-02-01T01:00", "2026-01-30")],
)
def test_a_run_by_hand_takes_the_last_day_that_is_complete(recommend_daily, scheduled, triggered_at, day):
    interval = scheduled.timetable.infer_manual_data_interval(run_after=at(triggered_at))
    commands = rendered(recommend_daily, interval=interval, run_type="manual")
    assert command(commands, "extract_events").endswith(f"--day {day}")


def test_a_run_without_a_logical_date_takes_the_day_before_it_was_started(recommend_daily):
    commands = rendered(recommend_daily, run_type="manual", run_after=at("2026-02-01T09:00"))
    assert command(commands, "extract_events").endswith("--day 2026-01-31")


def test_a_mapped_task_runs_one_shard(recommend_daily, scheduled):
    commands = rendered(recommend_daily, interval=an_interval(scheduled)[0], shard="3/4")
    assert command(commands, "score_users").endswith("--day 2026-01-31 --shard 3/4")
    assert command(commands, "write_lists").endswith("--day 2026-01-31 --shard 3/4")
    assert recommend_daily.get_task("score_users").partial_kwargs["map_index_template"] == "shard {{ task.shard }}"


@pytest.mark.parametrize(
    "form",
    [
        {"day": "yesterday"},
        {"day": "2026-02-30"},
        {"day": "2026-01-05; rm -rf /"},
        {"truth_days": 0},
        {"truth_days": 29},
        {"truth_days": "1"},
        {"shard_count": 0},
        {"shard_count": 1025},
        {"factors": 3},
        {"factors": 65},
        {"iterations": 0},
        {"iterations": 51},
        {"epochs": 0},
        {"promote": "yes"},
        {"publish": None},
        {"allow_older": 1},
    ],
)
def test_the_form_refuses_what_is_out_of_bounds(recommend_daily, form):
    with pytest.raises(ParamValidationError):
        scheduler_form(recommend_daily).deep_merge(form).validate()


def test_every_field_of_the_form_is_described(recommend_daily):
    for name in recommend_daily.params:
        assert recommend_daily.params.get_param(name).description, name


def test_the_manual_says_what_a_person_on_call_asks(recommend_daily):
    for heading in ("What it does", "Which day", "does not protect from", "When a task fails", "by hand", "Back-fill"):
        assert heading in recommend_daily.doc_md


def test_runs_do_not_overlap_and_missed_days_are_not_made_up_for(recommend_daily):
    assert recommend_daily.max_active_runs == 1
    assert not recommend_daily.catchup


def test_every_task_has_a_limit_of_time_and_two_more_tries(recommend_daily):
    for task in recommend_daily.tasks:
        assert timedelta() < task.execution_timeout <= timedelta(hours=4)
        assert task.retries == 2
        assert task.retry_exponential_backoff
        assert task.owner == "recommendations"
