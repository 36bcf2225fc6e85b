"""What the erasure of a person would run."""

import pytest
from airflow.sdk.exceptions import ParamValidationError


@pytest.fixture(scope="session")
def forget_user(dags):
    return dags.dags["forget_user"]


def test_the_user_of_the_form_is_suppressed_and_removed(forget_user, command_of):
    command = command_of(forget_user, {"user_id": 7})
    assert command == "python3.11 -m jobs.forget_user --user-id 7 --keep-hours 0"


def test_removal_can_be_left_for_later(forget_user, command_of):
    command = command_of(forget_user, {"user_id": 7, "remove": False, "keep_hours": 24})
    assert command == "python3.11 -m jobs.forget_user --user-id 7 --no-remove --keep-hours 24"


@pytest.mark.parametrize(
    "form",
    [{}, {"user_id": None}, {"user_id": 0}, {"user_id": -7}, {"user_id": "7"}, {"user_id": 7.5}, {"user_id": 2**63}],
)
def test_the_form_refuses_what_can_be_no_user(forget_user, command_of, form):
    with pytest.raises(ParamValidationError):
        command_of(forget_user, form)


def test_it_runs_on_request_only_and_tries_again_what_may_pass(forget_user):
    assert forget_user.schedule is None
    assert not forget_user.catchup
    (task,) = forget_user.tasks
    assert task.task_id == "forget_user"
    assert task.retries == 2
