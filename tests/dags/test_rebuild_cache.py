"""What filling the cache again would run."""

import pytest
from airflow.sdk.exceptions import ParamValidationError
from airflow.serialization.serialized_objects import DagSerialization


@pytest.fixture(scope="session")
def rebuild_cache(dags):
    return dags.dags["rebuild_cache"]


@pytest.fixture(scope="session")
def asked(rebuild_cache):
    """The DAG as the scheduler knows it, from its serialized form alone."""
    return DagSerialization.from_dict(DagSerialization.to_dict(rebuild_cache))


def rendered(dag, asked, form):
    (task,) = dag.tasks
    params = asked.params.deep_merge(form).validate()
    return task.render_template(task.bash_command, {"params": params, "task": task}, dag.get_template_env())


def test_everybody_or_the_part_of_the_form_is_copied(rebuild_cache, asked):
    assert rendered(rebuild_cache, asked, {}) == "python3.11 -m jobs.rebuild_cache --shard 0/1 --surface home"
    assert rendered(rebuild_cache, asked, {"shard": "3/4"}).endswith("--shard 3/4 --surface home")


@pytest.mark.parametrize("form", [{"shard": "0"}, {"shard": "0/0"}, {"shard": "0/1; ls"}, {"surface": "attic"}])
def test_the_form_refuses_what_is_no_part(asked, form):
    with pytest.raises(ParamValidationError):
        asked.params.deep_merge(form).validate()


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
