"""No-op tasks per second and the round trip of one, against peers on as many workers.

Each row is the median of interleaved rounds; the peers run at their best settings and at their
defaults. Usage: ``python benchmarks/throughput.py [--rounds 3] [--workers 4]``.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

from mpipool.mpiexec import find_mpiexec

TASKS = 200_000
FEW = 10_000

MPIPOOL = """
import statistics, time
from mpipool import Pool
if __name__ == "__main__":
    with Pool({pool}) as pool:
        pool.map(abs, range(1000))
        start = time.perf_counter()
        pool.map(abs, range({tasks}))
        rate = {tasks} / (time.perf_counter() - start)
        trips = []
        for _ in range(200):
            start = time.perf_counter()
            pool.map(abs, [1])
            trips.append(time.perf_counter() - start)
        print("result", rate, 1e3 * statistics.median(trips))
"""
FUTURES = """
import statistics, time
from mpi4py.futures import MPIPoolExecutor
if __name__ == "__main__":
    with MPIPoolExecutor() as pool:
        list(pool.map(abs, range(1000)))
        start = time.perf_counter()
        list(pool.map(abs, range({tasks}), chunksize={chunk}, unordered={unordered}))
        rate = {tasks} / (time.perf_counter() - start)
        trips = []
        for _ in range(200):
            start = time.perf_counter()
            pool.submit(abs, 1).result()
            trips.append(time.perf_counter() - start)
        print("result", rate, 1e3 * statistics.median(trips))
"""
PROCESSES = """
import statistics, time
from multiprocessing import Pool
if __name__ == "__main__":
    with Pool({workers}) as pool:
        pool.map(abs, range(1000))
        start = time.perf_counter()
        list(pool.imap_unordered(abs, range({tasks}), chunksize={chunk}))
        rate = {tasks} / (time.perf_counter() - start)
        trips = []
        for _ in range(200):
            start = time.perf_counter()
            pool.apply(abs, (1,))
            trips.append(time.perf_counter() - start)
        print("result", rate, 1e3 * statistics.median(trips))
"""


def output_of(command: list[str], code: str) -> list[float]:
    """Run a script by a command, and return the numbers that it prints as its result."""
    root_flags = {
        "OMPI_ALLOW_RUN_AS_ROOT": "1",
        "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
        "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
    }
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text(code)
        done = subprocess.run(
            [*command, str(script)],
            env=os.environ | root_flags,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
    for line in done.stdout.splitlines():
        if line.startswith("result"):
            return [float(number) for number in line.split()[1:]]
    raise SystemExit(f"{command} failed:\n{done.stdout}{done.stderr}")


def rows(workers: int) -> dict[str, Callable[[], list[float]]]:
    """Return what is measured, by name."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise SystemExit("no mpiexec beside this Python")
    ranks = [mpiexec, "-n", str(workers), sys.executable]
    one_more = [mpiexec, "-n", str(workers + 1), sys.executable, "-m", "mpi4py.futures"]

    def futures(tasks: int, chunk: int, unordered: bool) -> Callable[[], list[float]]:
        code = FUTURES.format(tasks=tasks, chunk=chunk, unordered=unordered)
        return lambda: output_of(one_more, code)

    def processes(tasks: int, chunk: int) -> Callable[[], list[float]]:
        code = PROCESSES.format(workers=workers, tasks=tasks, chunk=chunk)
        return lambda: output_of([sys.executable], code)

    return {
        f"mpipool, {workers} ranks": lambda: output_of(ranks, MPIPOOL.format(pool="", tasks=TASKS)),
        f"mpipool without MPI, {workers} workers": lambda: output_of(
            [sys.executable], MPIPOOL.format(pool=f"workers={workers}", tasks=TASKS)
        ),
        "mpi4py.futures, chunksize=1000, unordered": futures(TASKS, 1000, True),
        "mpi4py.futures, chunksize=1": futures(FEW, 1, False),
        "multiprocessing, chunksize=1000": processes(TASKS, 1000),
        "multiprocessing, chunksize=1": processes(FEW, 1),
    }


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    measured: dict[str, list[list[float]]] = {}
    todo = rows(options.workers)
    for _ in range(options.rounds):
        for name, measure in todo.items():
            measured.setdefault(name, []).append(measure())
    print("| | no-op tasks per second | round trip, ms |")
    print("| --- | --- | --- |")
    for name, results in measured.items():
        rate = statistics.median(result[0] for result in results)
        trip = statistics.median(result[1] for result in results)
        print(f"| {name} | {rate:,.0f} | {trip:.2f} |")


if __name__ == "__main__":
    main()
