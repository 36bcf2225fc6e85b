"""### What was served in a month, audited, and a person's word on it

**What it does.** On the first of a month it audits the month that has ended: what was in fact shown to every group of
users, after filters, caps and fallbacks, and what the champion would show them. It writes a page with plots for people,
appends the findings to the signed record, and asks a person. The answer goes into the record too. An audit that passed
and was approved is in force for 35 days; without one in force no model set is promoted, and the champion goes on
making fresh lists every night.

**Who answers, and how.** Whoever may answer *Required Actions* in Airflow: open the task `ask_a_person`, read the page
it names, give your name, and press *Approve* or *Reject*. Name and note are recorded. `docs/runbooks/audit.md`
says what to look for. The page and its figures hold no user's id.

**When nobody answers** in seven days, that is a rejection, and recorded as one. So is an approval that names nobody. An
approval does not put an audit in force that did not pass: what failed is mended by a better model set or a changed
policy, not by a signature.

**Which days.** The days up to D, the last complete day before the run; D and how many days are in the form. Audits can
be run at any time: *Trigger* it; such an audit is recorded as one on demand. In a night of another configuration than
the champion's it looks at that night's challenger instead: so a new architecture is put in force.

**What it does not protect from.** It judges what it is told: groups that nobody states, and attributes that are not
held, are named in the page as unknown. A month in which nothing was served cannot be audited and ends with a sentence.

**When a task fails.** Open its log. The line that begins with `marquee:` says in one sentence what is wrong; what
trying again cannot mend is not tried again (exit codes 2, 64, 65, 77). When the cause is mended, *clear* the task. The
audit that was in force before stays so until its day.

**One task again, by hand.** Copy the command from the task's *Rendered Templates* and paste it into a shell in the
repository's folder: it does the same there. `python -m jobs.verify_audit` verifies the record.
"""

import json
import re
from datetime import timedelta

from airflow.providers.standard.operators.hitl import HITLOperator
from airflow.sdk import DAG, CronDataIntervalTimetable, Param, chain
from airflow.sdk.exceptions import AirflowFailException
from job import LAST_DAY, RUNS, TRAINING, day_form, job

DAYS = LAST_DAY + " --days {{ params.days | quote }}"
ON_DEMAND = "{{ ' --on-demand' if dag_run.run_type == 'manual' }}"
ANSWER_WITHIN = timedelta(days=7)


def audit_of(last_line):
    """What a person needs to know of the audit that the job names in its last line of output, a JSON object."""
    try:
        said = json.loads(last_line)
        told = {name: str(said[name]) for name in ("audit_id", "verdict", "report")}
    except (ValueError, KeyError, TypeError):
        told = {}
    if not re.fullmatch(r"[0-9A-Za-z_.-]{1,80}", told.get("audit_id", "")):
        raise AirflowFailException(f"the job's last line names no audit: {last_line[:200]!r}")
    return told


with DAG(
    "audit_monthly",
    description="What was served in a month, audited, and a person's word on it",
    doc_md=__doc__,
    # After the night of the month's last day, which brings what was answered and heard on it.
    schedule=CronDataIntervalTimetable("0 7 1 * *", timezone="UTC"),
    **RUNS,
    tags=["audit", "monthly"],
    params={
        **day_form("The last day to audit (2026-01-31). Empty: the last complete day."),
        "days": Param(30, type="integer", minimum=1, maximum=92, description="How many days, that one included."),
    },
) as dag:
    # The days as served, and the champion: findings into the record, a page for people.
    audit_month = job("audit_month", DAYS + ON_DEMAND, output_processor=audit_of, execution_timeout=TRAINING)

    # A person reads the page and answers; silence is a rejection. Not an ApprovalOperator: rejected, that one skips
    # what follows and hands on no answer (Airflow 3.3), and who rejected is to be recorded.
    ask_a_person = HITLOperator(
        task_id="ask_a_person",
        subject="Audit {{ ti.xcom_pull('audit_month').audit_id }}: {{ ti.xcom_pull('audit_month').verdict }}",
        body=(
            "Read the page **{{ ti.xcom_pull('audit_month').report }}**, then answer. "
            "Approved, an audit that passed is in force for 35 days; an approval changes nothing for one that did not. "
            "Rejected, or unanswered for seven days, no model set is promoted once the audit before it has expired."
        ),
        options=["Approve", "Reject"],
        defaults="Reject",
        response_timeout=ANSWER_WITHIN,
        # It waits for a person outside any process: no limit of a process's time.
        execution_timeout=None,
        params={
            "name": Param(
                None, type=["null", "string"], maxLength=200, title="Your name", description="Who answers; recorded."
            ),
            "note": Param(
                None, type=["null", "string"], maxLength=2000, title="Note", description="What you found; recorded."
            ),
        },
    )

    # The answer into the record, whichever it was.
    approve_audit = job(
        "approve_audit",
        "--audit-id {{ ti.xcom_pull('audit_month').audit_id | quote }}",
        "--answer {{ ti.xcom_pull('ask_a_person').chosen_options[0] | lower | quote }}",
        "--name {{ ((ti.xcom_pull('ask_a_person').params_input or {}).get('name') or '') | quote }}",
        "--account {{ ((ti.xcom_pull('ask_a_person').responded_by_user or {}).get('name') or '') | quote }}",
        "--note {{ ((ti.xcom_pull('ask_a_person').params_input or {}).get('note') or '') | quote }}",
    )

    chain(audit_month, ask_a_person, approve_audit)
