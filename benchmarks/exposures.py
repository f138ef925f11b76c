"""Exposures with scatter, gather, a step of the leader, scatter: how much of the time is used.

Each exposure scatters 112 sleeps (lognormal, median 20 ms, sigma 0.6), gathers, sleeps once itself,
and scatters 112 shorter ones. Utilisation is the sum of all sleeps over workers times makespan. The
peer runs exposure by exposure, as a pool without groups must if there is a gather in the middle,
and once with everything thrown in at once, which no survey can do. All draw the same sleeps.

Usage: ``python benchmarks/exposures.py [--rounds 3] [--workers 16] [--exposures 12]``.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections.abc import Callable

from throughput import output_of

from mpipool.mpiexec import find_mpiexec

WORK = """
import random, time

def sleeps(exposure):
    chance = random.Random(exposure)
    first = [chance.lognormvariate(0, 0.6) * 0.020 for _ in range(112)]
    second = [chance.lognormvariate(0, 0.6) * 0.004 for _ in range(112)]
    return first, 0.020, second

def used(workers, exposures, seconds):
    total = 0.0
    for exposure in range(exposures):
        first, step, second = sleeps(exposure)
        total += sum(first) + step + sum(second)
    print("result", total / (workers * seconds), seconds)
"""
MPIPOOL = (
    WORK
    + """
from mpipool import Pool

def expose(exposure):
    first, step, second = sleeps(exposure)
    pool = Pool()
    pool.scatterGather(time.sleep, first)
    time.sleep(step)
    pool.scatterGather(time.sleep, second)

if __name__ == "__main__":
    with Pool({pool}) as pool:
        pool.map(time.sleep, [0.01] * 2 * {workers})
        start = time.perf_counter()
        pool.map(expose, range({exposures}))
        used({workers}, {exposures}, time.perf_counter() - start)
"""
)
BY_EXPOSURE = (
    WORK
    + """
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        list(pool.map(time.sleep, [0.01] * 2 * {workers}))
        start = time.perf_counter()
        for exposure in range({exposures}):
            first, step, second = sleeps(exposure)
            list(pool.map(time.sleep, first))
            pool.submit(time.sleep, step).result()
            list(pool.map(time.sleep, second))
        used({workers}, {exposures}, time.perf_counter() - start)
"""
)
AT_ONCE = (
    WORK
    + """
from mpi4py.futures import MPIPoolExecutor

if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        list(pool.map(time.sleep, [0.01] * 2 * {workers}))
        start = time.perf_counter()
        every = [s for e in range({exposures}) for p in sleeps(e)
                 for s in (p if isinstance(p, list) else [p])]
        list(pool.map(time.sleep, every, unordered=True))
        used({workers}, {exposures}, time.perf_counter() - start)
"""
)


def rows(workers: int, exposures: int) -> dict[str, Callable[[], list[float]]]:
    """Return what is measured, by name."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise SystemExit("no mpiexec beside this Python")
    ranks = [mpiexec, "-n", str(workers), sys.executable]
    one_more = [mpiexec, "-n", str(workers + 1), sys.executable, "-m", "mpi4py.futures"]
    sizes = {"workers": workers, "exposures": exposures}
    local = f"workers={workers}"
    return {
        f"mpipool, {workers} ranks": lambda: output_of(ranks, MPIPOOL.format(pool="", **sizes)),
        f"mpipool without MPI, {workers} workers": lambda: output_of(
            [sys.executable], MPIPOOL.format(pool=local, **sizes)
        ),
        "mpi4py.futures, exposure by exposure": lambda: output_of(
            one_more, BY_EXPOSURE.format(**sizes)
        ),
        "mpi4py.futures, all at once without any gather": lambda: output_of(
            one_more, AT_ONCE.format(**sizes)
        ),
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--exposures", type=int, default=12)
    options = parser.parse_args()
    measured: dict[str, list[list[float]]] = {}
    todo = rows(options.workers, options.exposures)
    for _ in range(options.rounds):
        for name, measure in todo.items():
            measured.setdefault(name, []).append(measure())
    print("| | utilisation | makespan, s |")
    print("| --- | --- | --- |")
    for name, results in measured.items():
        used = statistics.median(result[0] for result in results)
        seconds = statistics.median(result[1] for result in results)
        print(f"| {name} | {100 * used:.0f} % | {seconds:.2f} |")


if __name__ == "__main__":
    main()
