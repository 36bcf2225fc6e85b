"""What the weekly DAG would run, and when."""

from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import ParamValidationError
from airflow.sdk.execution_time import macros
from scheduled_dag import as_scheduled, at


@pytest.fixture(scope="session")
def scheduled(retrain_weekly):
    return as_scheduled(retrain_weekly)


def rendered(dag, scheduled, *, form=None, interval_end=None, run_after=None):
    """The command of each task, by its name."""
    params = scheduled.params.deep_merge(form or {}).validate()
    run = SimpleNamespace(run_after=run_after or interval_end, data_interval_end=interval_end)
    context = {"params": params, "dag_run": run, "macros": macros}
    return {
        task.task_id: task.render_template(task.bash_command, {**context, "task": task}, dag.get_template_env())
        for task in dag.tasks
    }


def test_what_runs_on_a_sunday_is_for_the_days_up_to_saturday(retrain_weekly, scheduled):
    (info,) = scheduled.iter_dagrun_infos_between(at("2026-01-24"), at("2026-01-30"))
    assert info.run_after == at("2026-02-01T06:00")
    commands = rendered(retrain_weekly, scheduled, interval_end=info.data_interval.end, run_after=info.run_after)
    weekly = "--day 2026-01-31 --cadence weekly"
    assert commands == {
        "open_run": f"python3.11 -m jobs.open_run {weekly} --truth-days 7 --als.factors 64 --als.iterations 10 "
        "--towers.epochs 20",
        "embed_items": f"python3.11 -m jobs.embed_items {weekly}",
        "train_als": f"python3.11 -m jobs.train_als {weekly}",
        "train_towers": f"python3.11 -m jobs.train_towers {weekly}",
        "assemble_models": f"python3.11 -m jobs.assemble_models {weekly}",
        "train_ranker": "python3.11 -m jobs.train_ranker --day 2026-01-31",
    }


def test_by_hand_it_takes_the_day_of_the_form_or_the_last_complete_one(retrain_weekly, scheduled):
    named = rendered(retrain_weekly, scheduled, form={"day": "2026-01-05"}, run_after=at("2026-02-03T09:00"))
    assert named["train_ranker"].endswith("--day 2026-01-05")
    last = rendered(retrain_weekly, scheduled, run_after=at("2026-02-03T09:00"))
    assert last["train_ranker"].endswith("--day 2026-02-02")


def test_each_task_follows_what_it_reads(retrain_weekly):
    assert {task.task_id: sorted(task.downstream_task_ids) for task in retrain_weekly.tasks} == {
        "open_run": ["embed_items", "train_als"],
        "embed_items": ["train_towers"],
        "train_als": ["assemble_models"],
        "train_towers": ["assemble_models"],
        "assemble_models": ["train_ranker"],
        "train_ranker": [],
    }


@pytest.mark.parametrize("form", [{"day": "someday"}, {"truth_days": 0}, {"epochs": "8"}, {"factors": 65}])
def test_the_form_refuses_what_is_out_of_bounds(scheduled, form):
    with pytest.raises(ParamValidationError):
        scheduled.params.deep_merge(form).validate()


def test_its_runs_do_not_overlap_and_missed_weeks_are_not_made_up_for(retrain_weekly):
    assert retrain_weekly.max_active_runs == 1
    assert not retrain_weekly.catchup
    assert {task.retries for task in retrain_weekly.tasks} == {2}
