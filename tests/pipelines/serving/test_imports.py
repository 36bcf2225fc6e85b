import json
import subprocess
import sys

HEAVY = {
    *("numba", "pyspark", "torch", "faiss", "mlflow", "great_expectations", "scipy"),
    *("pandas", "polars", "duckdb", "pyarrow", "deltalake", "pydantic", "tyro"),
}


def test_the_endpoint_loads_nothing_heavy_and_loads_fast():
    source = (
        "import json, sys, time\n"
        "import numpy\n"
        "for_numpy = time.process_time()\n"
        "import pipelines.serving.app\n"
        "status = dict(line.split(':', 1) for line in open('/proc/self/status'))\n"
        "megabytes = int(status['VmHWM'].split()[0]) / 1024\n"
        "print(json.dumps([for_numpy, time.process_time(), megabytes, sorted(sys.modules)]))\n"
    )
    for_numpy, for_all, megabytes, modules = json.loads(
        subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    )
    assert not set(modules) & HEAVY
    # Half a second of the processor; where that is slow or shared, numpy says how slow: all the rest costs no more.
    assert for_all < max(0.5, 3 * for_numpy)
    assert megabytes < 120


def test_no_lookup_loads_anything_heavy():
    lookups = ("open", "embedded", "redis", "cassandra", "pair")
    source = "import json, sys\n" + "".join(f"import pipelines.stores.{name}_lookup\n" for name in lookups)
    source += "print(json.dumps(sorted(sys.modules)))\n"
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    assert not set(json.loads(said)) & HEAVY


def test_the_choice_of_a_lookup_loads_no_library_of_a_store():
    source = "import json, sys\nimport pipelines.stores.open_lookup\nprint(json.dumps(sorted(sys.modules)))\n"
    said = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, check=True).stdout
    assert not set(json.loads(said)) & {"cassandra", "redis", "hiredis", "lmdb"}
