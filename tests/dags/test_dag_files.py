"""What holds of every DAG file."""

import ast
import statistics
import sys
import time
from pathlib import Path

import pytest

DAGS = Path(__file__).resolve().parents[2] / "dags"
FILES = sorted(DAGS.glob("*.py"))
AIRFLOW = ("airflow.sdk", "airflow.providers.standard")


def test_airflow_reads_every_file_without_an_error(dags):
    assert dags.import_errors == {}
    assert len(dags.dags) == len(FILES) - 1, "one DAG a file, and job.py"


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_file_imports_airflow_the_standard_library_and_its_neighbours_only(file):
    for node in ast.walk(ast.parse(file.read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        for name in names:
            allowed = name.startswith(AIRFLOW) or name.partition(".")[0] in sys.stdlib_module_names or name == "job"
            assert allowed, f"{file.name} imports {name}"


def test_reading_all_files_takes_less_than_a_tenth_of_a_second(read_dags_with):
    def seconds():
        start = time.process_time()
        read_dags_with({})
        return time.process_time() - start

    assert statistics.median(seconds() for _ in range(5)) < 0.1


def test_every_dag_has_a_manual_tags_and_an_owner(dags):
    for dag in dags.dags.values():
        assert len(dag.doc_md) > 500
        assert dag.tags
        assert dag.owner != "airflow"
