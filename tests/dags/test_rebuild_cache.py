"""What filling the cache again would run."""

import pytest
from airflow.sdk.exceptions import ParamValidationError


@pytest.fixture(scope="session")
def rebuild_cache(dags):
    return dags.dags["rebuild_cache"]


def test_everybody_or_the_part_of_the_form_is_copied(rebuild_cache, command_of):
    assert command_of(rebuild_cache, {}) == "python3.11 -m jobs.rebuild_cache --shard 0/1 --surface home"
    assert command_of(rebuild_cache, {"shard": "3/4"}).endswith("--shard 3/4 --surface home")


@pytest.mark.parametrize("form", [{"shard": "0"}, {"shard": "0/0"}, {"shard": "0/1; ls"}, {"surface": "attic"}])
def test_the_form_refuses_what_is_no_part(rebuild_cache, command_of, form):
    with pytest.raises(ParamValidationError):
        command_of(rebuild_cache, form)


def test_it_runs_on_request_only_and_tries_again_what_may_pass(rebuild_cache):
    assert rebuild_cache.schedule is None
    assert not rebuild_cache.catchup
    (task,) = rebuild_cache.tasks
    assert task.task_id == "rebuild_cache"
    assert task.retries == 2


def test_every_field_of_the_form_is_described(rebuild_cache):
    for name in rebuild_cache.params:
        assert rebuild_cache.params.get_param(name).description, name


def test_the_manual_says_what_a_person_on_call_asks(rebuild_cache):
    for heading in ("What it does", "When it is needed", "How to start it", "does not protect from", "When it fails"):
        assert heading in rebuild_cache.doc_md
