"""What the erasure of a person would run."""

import pytest
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization


@pytest.fixture(scope="session")
def forget_user(dags):
    return dags.dags["forget_user"]


@pytest.fixture(scope="session")
def asked(forget_user):
    """The DAG as the scheduler knows it, from its serialized form alone."""
    return DagSerialization.from_dict(DagSerialization.to_dict(forget_user))


def rendered(dag, asked, form):
    (task,) = dag.tasks
    params = asked.params.deep_merge(form).validate()
    return task.render_template(task.bash_command, {"params": params, "task": task}, dag.get_template_env())


def test_the_user_of_the_form_is_suppressed_and_removed(forget_user, asked):
    command = rendered(forget_user, asked, {"user_id": 7})
    assert command == "python3.11 -m jobs.forget_user --user-id 7 --keep-hours 0"


def test_removal_can_be_left_for_later(forget_user, asked):
    command = rendered(forget_user, asked, {"user_id": 7, "remove": False, "keep_hours": 24})
    assert command == "python3.11 -m jobs.forget_user --user-id 7 --no-remove --keep-hours 24"


@pytest.mark.parametrize(
    "form",
    [{}, {"user_id": None}, {"user_id": 0}, {"user_id": -7}, {"user_id": "7"}, {"user_id": 7.5}, {"user_id": 2**63}],
)
def test_the_form_refuses_what_can_be_no_user(asked, form):
    with pytest.raises(ParamValidationError):
        asked.params.deep_merge(form).validate()


def test_it_runs_on_request_only_and_tries_again_what_may_pass(forget_user):
    assert forget_user.schedule is None
    assert not forget_user.catchup
    (task,) = forget_user.tasks
    assert task.task_id == "forget_user"
    assert task.retries == 2
