"""What the monthly audit would run, whom it asks, and what becomes of every answer."""

import shlex
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, ParamValidationError
from airflow.sdk.execution_time import macros
from scheduled_dag import as_scheduled, at

TOLD = {"audit_id": "000007-challenger", "verdict": "PASS", "report": "/srv/audits/000007.html"}


@pytest.fixture(scope="session")
def audit_monthly(dags):
    return dags.dags["audit_monthly"]


@pytest.fixture(scope="session")
def scheduled(audit_monthly):
    return as_scheduled(audit_monthly)


def answer(option, *, name=None, note=None, account="admin"):
    return {
        "chosen_options": [option],
        "params_input": {"name": name, "note": note},
        "responded_by_user": account and {"id": "1", "name": account},
    }


def rendered(audit_monthly, task_id, *, answered=None, form=None, interval=None, run_after=None, run_type="manual"):
    """The command of a task, rendered as Airflow would in a run that heard this answer."""
    known = as_scheduled(audit_monthly)
    context = {
        "params": known.params.deep_merge(form or {}).validate(),
        "dag_run": SimpleNamespace(run_after=run_after, data_interval_end=interval and interval.end, run_type=run_type),
        "macros": macros,
        "ti": SimpleNamespace(xcom_pull={"audit_month": TOLD, "ask_a_person": answered}.get),
    }
    task = audit_monthly.get_task(task_id)
    return task.render_template(task.bash_command, context, audit_monthly.get_template_env())


def test_on_the_first_of_a_month_the_thirty_days_before_are_audited(audit_monthly, scheduled):
    (info,) = scheduled.iter_dagrun_infos_between(at("2026-02-01"), at("2026-02-28T23:59"))
    assert info.run_after == at("2026-03-01T07:00")
    command = rendered(audit_monthly, "audit_month", interval=info.data_interval, run_type="scheduled")
    assert command == "python3.11 -m jobs.audit_month --day 2026-02-28 --days 30"


def test_by_hand_the_form_says_which_days(audit_monthly):
    form = {"day": "2026-02-10", "days": 7}
    command = rendered(audit_monthly, "audit_month", form=form, run_after=at("2026-02-20T09:00"))
    assert command.endswith("--day 2026-02-10 --days 7 --on-demand")
    command = rendered(audit_monthly, "audit_month", run_after=at("2026-02-20T09:00"))
    assert command.endswith("--day 2026-02-19 --days 30 --on-demand")


@pytest.mark.parametrize("form", [{"day": "2026-02-30"}, {"day": "x; ls"}, {"days": 0}, {"days": 93}, {"days": "30"}])
def test_the_form_refuses_what_is_no_span_of_days(audit_monthly, form):
    with pytest.raises(ParamValidationError):
        rendered(audit_monthly, "audit_month", form=form, run_after=at("2026-02-20T09:00"))


@pytest.mark.parametrize(
    ("answered", "arguments"),
    [
        (
            answer("Approve", name="Ada Lovelace", note="looked at it; it's fine"),
            [
                "--answer",
                "approve",
                "--name",
                "Ada Lovelace",
                "--account",
                "admin",
                "--note",
                "looked at it; it's fine",
            ],
        ),
        (answer("Reject"), ["--answer", "reject", "--name", "", "--account", "admin", "--note", ""]),
        (answer("Reject", account=None), ["--answer", "reject", "--name", "", "--account", "", "--note", ""]),
        (
            answer("Approve", name="$(reboot) '; reboot"),
            ["--answer", "approve", "--name", "$(reboot) '; reboot", "--account", "admin", "--note", ""],
        ),
    ],
    ids=["approved by name", "rejected by an account", "nobody answered", "a name that is a command"],
)
def test_an_answer_goes_into_the_record_whichever_it_is_and_nothing_of_it_is_a_command(
    audit_monthly, answered, arguments
):
    command = rendered(audit_monthly, "approve_audit", answered=answered, run_after=at("2026-02-20T09:00"))
    start = ["python3.11", "-m", "jobs.approve_audit", "--audit-id", "000007-challenger"]
    assert shlex.split(command) == start + arguments


def test_silence_is_a_rejection_after_seven_days_and_no_process_waits(audit_monthly):
    ask = audit_monthly.get_task("ask_a_person")
    assert ask.defaults == ["Reject"]
    assert ask.response_timeout == timedelta(days=7)
    assert ask.execution_timeout is None, "the limit of a process would end the waiting for a person"
    assert ask.options == ["Approve", "Reject"]


def test_a_rejection_is_recorded_as_an_approval_is(audit_monthly):
    downstream = {task.task_id: sorted(task.downstream_task_ids) for task in audit_monthly.tasks}
    assert downstream == {"audit_month": ["ask_a_person"], "ask_a_person": ["approve_audit"], "approve_audit": []}
    assert {task.trigger_rule for task in audit_monthly.tasks} == {"all_success"}
    # An ApprovalOperator skips what follows a rejection, and hands on nothing.
    assert type(audit_monthly.get_task("ask_a_person")).__name__ == "HITLOperator"


def test_the_question_says_what_is_asked_and_where_to_read(audit_monthly):
    ask = audit_monthly.get_task("ask_a_person")
    context = {"ti": SimpleNamespace(xcom_pull={"audit_month": TOLD}.get)}
    assert ask.render_template(ask.subject, context) == "Audit 000007-challenger: PASS"
    assert TOLD["report"] in ask.render_template(ask.body, context)


def test_the_job_hands_on_names_only(audit_monthly):
    told = audit_monthly.get_task("audit_month").output_processor
    line = '{"job": "audit_month", "audit_id": "000007-monthly", "verdict": "FAIL", "report": "/a/b.html", "users": 7}'
    assert told(line) == {"audit_id": "000007-monthly", "verdict": "FAIL", "report": "/a/b.html"}


@pytest.mark.parametrize("line", ["", "done", "[]", "{}", '{"audit_id": "x y; ls", "verdict": "PASS", "report": "r"}'])
def test_a_last_line_without_an_audit_is_never_tried_again(audit_monthly, line):
    with pytest.raises(AirflowFailException, match="names no audit"):
        audit_monthly.get_task("audit_month").output_processor(line)


def test_jobs_run_in_the_repository_and_are_tried_again(audit_monthly):
    for name in ("audit_month", "approve_audit"):
        task = audit_monthly.get_task(name)
        assert (task.cwd, task.retries) == ("/srv/marquee", 2)
        assert timedelta() < task.execution_timeout <= timedelta(hours=4)


def test_every_field_of_both_forms_is_described(audit_monthly):
    for params in (audit_monthly.params, audit_monthly.get_task("ask_a_person").params):
        for name in params:
            assert params.get_param(name).description, name


def test_the_manual_says_what_a_person_who_is_asked_needs(audit_monthly):
    for heading in ("What it does", "Who answers", "When nobody answers", "Which days", "does not protect from"):
        assert heading in audit_monthly.doc_md
