"""Runs many seeds on all cores: ``python -m simulation.soak SEEDS [FIRST]``.

For each that fails it prints the command which replays it, made as short as it can be, what is left
of the plan, and the last events.
"""

from __future__ import annotations

import os
import sys
from multiprocessing import Pool

from simulation.cases import Case
from simulation.plans import KINDS
from simulation.replay import explain
from simulation.shrinking import failure_of

CHUNK = 10


def report_of(case: Case) -> str:
    """Run a case; return what there is to say if it fails, else nothing."""
    return explain(case) if failure_of(case) else ""


def main(arguments: list[str]) -> int:
    """Run the seeds; return 1 if one fails."""
    count, first = int(arguments[0]), int(arguments[1]) if len(arguments) > 1 else 0
    seeds = range(first, first + count // len(KINDS))
    cases = (Case(kind, seed) for seed in seeds for kind in KINDS)
    failures = 0
    with Pool(os.cpu_count()) as workers:
        for report in workers.imap_unordered(report_of, cases, CHUNK):
            failures += bool(report)
            print(report, end="\n\n" if report else "", flush=True)
    print(f"{len(seeds) * len(KINDS)} simulated runs, {failures} failed")
    return failures > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
