"""Many queued items: tasks per second and memory at 1,000, 100,000 and 1,000,000 of them.

Then single calls through `submit`, each with a future, and a mixture of tasks of 1 ms and of 1 s,
which chunks must not slow. Memory is the proportional share (PSS) of rank 0's agent, and of the
script, when all items are in; to look at it takes milliseconds, so it is done in a map of its own.
The rate at a size is the median of as many maps as make 20,000 tasks, once all ranks work.
Usage: ``python benchmarks/queued.py [--rounds 3] [--workers 4]``.
"""

from __future__ import annotations

import argparse
import statistics
import sys

from throughput import output_of

from mpipool.mpiexec import find_mpiexec

QUEUED = """
import os, statistics, time
from mpipool import Pool

def pss(pid):
    lines = open(f"/proc/{{pid}}/smaps_rollup").read().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024

def agent_of(script):
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            parent = int(open(f"/proc/{{pid}}/stat").read().rpartition(")")[2].split()[1])
            command = open(f"/proc/{{pid}}/cmdline").read()
        except OSError:
            continue
        if parent == script and "mpipool.agent_main" in command:
            return int(pid)

if __name__ == "__main__":
    with Pool() as pool:
        for _ in range(3):
            pool.map(abs, range(10_000))
        rates = []
        for _ in range(max(1, 20_000 // {items})):
            start = time.perf_counter()
            pool.map(abs, range({items}))
            rates.append({items} / (time.perf_counter() - start))
        agent, peak = agent_of(os.getpid()), [0.0, 0.0]

        def look(done, failed, total):
            if done and not peak[0]:
                peak[:] = [pss(agent), pss(os.getpid())]

        pool.map(abs, range({items}), progress=look)
        print("result", statistics.median(rates), *peak)
"""
SUBMIT = """
import time
from concurrent.futures import wait
from mpipool import Pool

if __name__ == "__main__":
    with Pool() as pool:
        wait([pool.submit(abs, 1) for _ in range(1000)])
        start = time.perf_counter()
        wait([pool.submit(abs, 1) for _ in range(30_000)])
        print("result", 30_000 / (time.perf_counter() - start))
"""
MIXTURE = """
import random, time
from mpipool import Pool

if __name__ == "__main__":
    chance = random.Random(1)
    sleeps = [1.0 if chance.random() < 0.004 else 0.001 for _ in range(20000)]
    with Pool() as pool:
        pool.map(time.sleep, [0.01] * 40)
        start = time.perf_counter()
        pool.map(time.sleep, sleeps)
        seconds = time.perf_counter() - start
        bound = max(sum(sleeps) / {workers}, 1.0)
        print("result", pool.last_map.busy / ({workers} * seconds), seconds, bound)
"""


def main() -> None:
    """Measure, and print tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=4)
    options = parser.parse_args()
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise SystemExit("no mpiexec beside this Python")
    ranks = [mpiexec, "-n", str(options.workers), sys.executable]
    sizes = (1_000, 100_000, 1_000_000)
    queued: dict[int, list[list[float]]] = {items: [] for items in sizes}
    mixed, submitted = [], []
    for _ in range(options.rounds):
        for items in sizes:
            queued[items].append(output_of(ranks, QUEUED.format(items=items)))
        submitted.append(output_of(ranks, SUBMIT))
        mixed.append(output_of(ranks, MIXTURE.format(workers=options.workers)))
    print("| queued items | no-op tasks per second | rank 0's agent, MiB | the script, MiB |")
    print("| --- | --- | --- | --- |")
    for items, results in queued.items():
        rate, agent, script = (statistics.median(column) for column in zip(*results, strict=True))
        print(f"| {items:,} | {rate:,.0f} | {agent:.0f} | {script:.0f} |")
    rate = statistics.median(result[0] for result in submitted)
    print(f"\n{rate:,.0f} no-op calls per second through submit, with a future each")
    used, seconds, bound = (statistics.median(column) for column in zip(*mixed, strict=True))
    print("\n| 20,000 tasks of 1 ms, of which 0.4 % take 1 s | |\n| --- | --- |")
    print(f"| utilisation, {options.workers} ranks | {100 * used:.0f} % |")
    print(f"| makespan, s (bound {bound:.2f}) | {seconds:.2f} |")


if __name__ == "__main__":
    main()
