"""A large array from one rank's function to another's, beside a plain Send between the ranks.

    python benchmarks/transfer.py [--megabytes 512] [--rounds 5]

A task on one rank leads a scatter whose other task, on the other rank, returns the array: so it
passes from executor to agent to agent to executor. The peer is `MPI_Send` of the same array,
received into a fresh one. Both in turns, four times in each run, of which the first does not count
(there both touch memory for the first time); prints a Markdown table of medians, and how the two
compare. Extra memory is the peak of resident memory above what it was before the transfer: of the
agent, and of the process with the user's function, which needed more (there the array itself does
not count).
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from mpipool.mpiexec import find_mpiexec

MPIPOOL = """
import json, os, time
import numpy as np
from mpipool import Pool

def memory(pid, name):
    with open(f"/proc/{{pid}}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

def agent():
    with open(f"/proc/{{os.getppid()}}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])

def forget_peak(pid):
    with open(f"/proc/{{pid}}/clear_refs", "w") as file:
        file.write("5")
    return memory(pid, "VmRSS")

def make(_, leader):
    time.sleep(0.3)  # so that each rank gets one
    if agent() == leader:
        return None
    array = np.ones({size} // 8)
    array[-1] = 7
    before = [forget_peak(pid) for pid in (agent(), os.getpid())]
    return agent(), os.getpid(), before, time.perf_counter(), array

def lead(_):
    measured = []
    while len(measured) < {rounds}:
        before = [forget_peak(pid) for pid in (agent(), os.getpid())]
        crossed = [each for each in Pool().scatterGather(make, [0, 1], agent()) if each]
        now = time.perf_counter()
        for other, pid, others, began, array in crossed:
            assert array[-1] == 7
            grown = [memory(other, "VmHWM") - others[0], memory(agent(), "VmHWM") - before[0]]
            users = [
                memory(pid, "VmHWM") - others[1],
                memory(os.getpid(), "VmHWM") - before[1] - array.nbytes / 2**20,
            ]
            measured.append((array.nbytes / (now - began) / 1e9, max(grown), max(users)))
            del array
        del crossed
        if len(measured) < {rounds}:
            time.sleep(0.1)
    return measured

print("result", json.dumps(Pool().map(lead, [0])[0]))
"""
PLAIN = """
import json, time
import numpy as np
from mpi4py import MPI
world = MPI.COMM_WORLD
measured = []
for _ in range({rounds}):
    if world.rank:
        array = np.ones({size} // 8)
        world.Barrier()
        world.send(time.perf_counter(), 0)
        world.Send(array, 0)
    else:
        world.Barrier()
        began = world.recv(source=1)
        array = np.empty({size} // 8)
        world.Recv(array, 1)
        measured.append((array.nbytes / (time.perf_counter() - began) / 1e9, 0.0, 0.0))
        del array
if not world.rank:
    print("result", json.dumps(measured))
"""
ROOT_FLAGS = {
    "OMPI_ALLOW_RUN_AS_ROOT": "1",
    "OMPI_ALLOW_RUN_AS_ROOT_CONFIRM": "1",
    "PRTE_MCA_rmaps_default_mapping_policy": ":oversubscribe",
}


def run(code: str) -> list[tuple[float, float, float]]:
    """Run a script on two ranks; return GB/s, and MiB of an agent and of a user's process."""
    mpiexec = find_mpiexec()
    if mpiexec is None:
        raise SystemExit("no mpiexec beside this Python")
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder, "script.py")
        script.write_text(code)
        done = subprocess.run(
            [mpiexec, "-n", "2", sys.executable, str(script)],
            env=os.environ | ROOT_FLAGS,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
    for line in done.stdout.splitlines():
        if line.startswith("result"):
            return [tuple(each) for each in json.loads(line.removeprefix("result"))[1:]]
    raise SystemExit(f"it failed:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--megabytes", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    sizes = {"size": options.megabytes * 1_000_000, "rounds": 4}
    codes = {"mpipool": MPIPOOL.format(**sizes), "plain Send": PLAIN.format(**sizes)}
    measured: dict[str, list[tuple[float, float, float]]] = {name: [] for name in codes}
    for _ in range(options.rounds):
        for name, code in codes.items():
            measured[name] += run(code)
    print(f"| {options.megabytes} MB | GB/s | an agent, MiB more | a user's process, MiB more |")
    print("| --- | --- | --- | --- |")
    rates = {}
    for name, results in measured.items():
        rates[name], agent, user = map(statistics.median, zip(*results, strict=True))
        print(f"| {name} | {rates[name]:.2f} | {agent:,.0f} | {user:,.0f} |")
    ratio = rates["mpipool"] / rates["plain Send"]
    print(f"\nmpipool has {ratio:.0%} of the bandwidth of a plain Send.")


if __name__ == "__main__":
    main()
