"""What going back to an earlier run would run."""

import pytest
from airflow.sdk.exceptions import ParamValidationError

RUN = "20260131-0123456789ab"


@pytest.fixture(scope="session")
def rollback_lists(dags):
    return dags.dags["rollback_lists"]


@pytest.mark.parametrize(
    ("form", "arguments"),
    [
        ({"run_id": RUN}, f"--run-id {RUN}"),
        ({"day": "2026-01-31"}, "--day 2026-01-31"),
        ({"run_id": RUN, "day": "2026-01-31"}, f"--run-id {RUN} --day 2026-01-31"),
    ],
)
def test_the_run_or_the_day_of_the_form_is_served_again(rollback_lists, command_of, form, arguments):
    form |= {"by": "Ada", "reason": "lists of a broken night; all of them"}
    told = "--by Ada --reason 'lists of a broken night; all of them'"
    assert command_of(rollback_lists, form) == f"python3.11 -m jobs.rollback_lists {arguments} --surface home {told}"


@pytest.mark.parametrize(
    "form",
    [
        {"run_id": "yesterday"},
        {"run_id": f"{RUN}; rm -rf /"},
        {"day": "2026-02-30"},
        {"surface": "attic"},
        {"by": ""},
        {"reason": ""},
    ],
)
def test_the_form_refuses_what_names_no_run(rollback_lists, command_of, form):
    with pytest.raises(ParamValidationError):
        command_of(rollback_lists, form)


def test_it_runs_on_request_only_and_tries_again_what_may_pass(rollback_lists):
    assert rollback_lists.schedule is None
    assert not rollback_lists.catchup
    (task,) = rollback_lists.tasks
    assert task.task_id == "rollback_lists"
    assert task.retries == 2


def test_every_field_of_the_form_is_described(rollback_lists):
    for name in rollback_lists.params:
        assert rollback_lists.params.get_param(name).description, name


def test_the_manual_says_what_a_person_on_call_asks(rollback_lists):
    for heading in ("What it does", "How to start it", "does not protect from", "When it fails", "By hand"):
        assert heading in rollback_lists.doc_md
