"""How long the full audit takes, and how much memory: 200,000 users x 200 titles a list, 1,000 resamples.

    make bench-audit                                   200,000 users, 8,000 titles, lists of 200, a champion beside them
    python tests/benchmarks/audit.py --users 20000     seconds

Users, lists and groups are made from a seed; the policy is the production policy with all its tests and controls.
`seconds` is the audit from subjects to result, `cpu_seconds` of all threads; `peak_mb` is of the whole process,
subjects included. The result must be the same when the audit is repeated (`--twice`). The last line is one JSON object.
"""

import argparse
import json
import resource
import sys
import time
from dataclasses import asdict
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "worlds"))
from audit_subjects import audit_subjects
from machine import machine, versions

from feature_defs.audit_policy import POLICY
from pipelines.audit.auditing import audit


def main() -> None:
    """Measure and say."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--users", type=int, default=200_000)
    parser.add_argument("--titles", type=int, default=8_000)
    parser.add_argument("--places", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--twice", action="store_true")
    given = parser.parse_args()
    subjects = audit_subjects(given.users, given.titles, given.places, seed=given.seed)
    made_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{given.users:,} users with lists of {given.places} and a champion beside them", flush=True)
    cpu, started = time.process_time(), time.perf_counter()
    result = audit(subjects, POLICY, seed=given.seed)
    seconds, cpu_seconds = time.perf_counter() - started, time.process_time() - cpu
    for reason in result.reasons:
        print(f"  {reason}")
    told = {
        "seconds": round(seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "subjects_mb": round(made_mb),
        "users": given.users,
        "items": given.places,
        "titles": given.titles,
        "resamples": POLICY.resamples,
        "permutations": POLICY.permutations,
        "tests": sum(one.p_value is not None for one in result.findings),
        "findings": len(result.findings),
        "verdict": str(result.verdict),
        "controls": asdict(result.controls),
        "machine": machine(),
        "versions": versions("numpy", "scipy"),
    }
    if given.twice:
        told["same_again"] = audit(subjects, POLICY, seed=given.seed).to_record() == result.to_record()
    print(json.dumps(told))


if __name__ == "__main__":
    main()
