"""Claims: time, compilation, memory and power of each, in a process of its own on one core.

Run as `python -m benchmarks.report [--seeds 0 1 ...] [CLAIM ...]`; all claims by default. Target:
the processor seconds of all claims together, over the cores, below four minutes. "Catches" is the
least relative error of the theory that one of the claim's comparisons catches. Exit status 1 if a
claim does not hold at one of the seeds.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from typing import Any

from benchmarks.harness import compile_seconds, show, write

Row = dict[str, Any]


def processor_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measured(name: str, seed: int) -> Row:
    """One claim in this process."""
    if hasattr(os, "sched_setaffinity"):  # before JAX makes its threads
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:1])
    from learning_dynamics.report.claims import load_claims, run_claim

    claim = load_claims()[name]
    imported, wall = processor_seconds(), time.perf_counter()
    outcome = run_claim(claim, seed=seed)
    evidence = outcome.evidence
    return {
        "claim": name,
        "seed": seed,
        "holds": outcome.holds,
        "wall_seconds": time.perf_counter() - wall,
        "processor_seconds": processor_seconds() - imported,
        "recorded": claim.seconds,
        "compile_seconds": compile_seconds(),
        "memory_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6,
        "catches": min(c.catches for c in evidence.comparisons) if evidence else None,
    }


def elsewhere(name: str, seed: int) -> Row:
    """One claim in a new process."""
    command = [sys.executable, "-m", "benchmarks.report", "--here", "--seeds", str(seed), name]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        print(done.stderr, file=sys.stderr)
        return {"claim": name, "seed": seed, "holds": False}
    return dict(json.loads(done.stdout.splitlines()[-1]))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("claims", nargs="*")
    parser.add_argument("--seeds", nargs="*", type=int, default=[0])
    parser.add_argument("--here", action="store_true", help="one claim, in this process, as JSON")
    options = parser.parse_args()
    if options.here:
        print(json.dumps(measured(options.claims[0], options.seeds[0])))
        return 0
    from learning_dynamics.report.page import select_claims

    names = [claim.id for claim in select_claims(options.claims)]
    rows = [elsewhere(name, seed) for seed in options.seeds for name in names]
    show("claims at quick size, one core", rows)
    write("report", rows)
    return 0 if all(row["holds"] for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
