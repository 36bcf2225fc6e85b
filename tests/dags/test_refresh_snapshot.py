"""What keeps the catalogue of answers as new as the warehouse's."""

import pytest


@pytest.fixture(scope="session")
def refresh_snapshot(dags):
    return dags.dags["refresh_snapshot"]


def test_one_command_every_five_minutes_never_two_at_once_and_no_catching_up(refresh_snapshot):
    (task,) = refresh_snapshot.tasks
    assert task.bash_command == "python3.11 -m jobs.refresh_snapshot"
    assert refresh_snapshot.schedule == "*/5 * * * *"
    assert refresh_snapshot.max_active_runs == 1
    assert not refresh_snapshot.catchup
    assert task.retries == 0, "the next run is the retry"


def test_the_manual_says_what_a_person_on_call_asks(refresh_snapshot):
    for heading in ("What it does", "What it promises", "does not protect from", "When it fails", "By hand"):
        assert heading in refresh_snapshot.doc_md
