"""Large results and items pass through agents piece by piece."""

import re

import pytest

from mpi.jobs import run

COMMON = """
import os, signal, sys, time
import numpy as np
from mpipool import Pool

SIZES = [(4 << 20) - 200, 4 << 20, (4 << 20) + 8, (5 << 20) - 128, 5 << 20, 30_000_000, 100]

def agent():
    with open(f"/proc/{os.getppid()}/stat") as stat:
        return int(stat.read().rpartition(")")[2].split()[1])

def memory(pid, name):
    with open(f"/proc/{pid}/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name)) / 1024

def pattern(size, first):
    return np.arange(first, first + size // 8)

def check(array, size, first):
    assert len(array) == size // 8 and (array == pattern(size, first)).all(), (size, first)

def kill_in_the_middle(owner, name, path):
    # End this process when it has handled some pieces of a parcel; once only.
    original, seen = getattr(owner, name), []
    def patched(self, *arguments):
        seen.append(1)
        if len(seen) == 20 and not os.path.exists(path):
            open(path, "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(self, *arguments)
    setattr(owner, name, patched)
"""


def outcome(mpi, script, tmp_path, text, ranks=3):
    done = run(mpi.command(ranks, script(COMMON + text)), mpi.environment, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout


BOTH_WAYS = """
def back(item):
    size, first, array = item
    check(array, size, first)
    array += 1  # it must be writeable
    return array, [bytes(3), array[:10]]

def lead(first):
    return [len(a) for a, _ in Pool().scatterGather(back, [
        (size, first, pattern(size, first)) for size in SIZES])]

pool = Pool()
items = [(size, 3, pattern(size, 3)) for size in SIZES * 2]
for (size, _, _), (array, (zeros, few)) in zip(items, pool.map(back, items)):
    check(array, size, 4)
    assert zeros == bytes(3) and list(few) == list(range(4, 14))
expected = [size // 8 for size in SIZES]
assert pool.map(lead, range(4)) == [expected] * 4
handles = pool.map(lambda size: pattern(size, 7), SIZES, keep=True)
assert pool.map(len, handles) == expected
assert pool.map(len, handles[::-1]) == expected[::-1]
print("done")
"""


def test_what_is_about_as_long_as_the_limits_arrives_whole_both_ways(mpi, script, tmp_path):
    assert outcome(mpi, script, tmp_path, BOTH_WAYS) == "done\n"


KEYED = """
def make(index):
    return pattern(30_000_000, index)

with Pool(checkpoint="run.db") as pool:
    for _ in range(2):  # the second time from the file
        results = pool.map(make, range(4), stage="make", key=lambda index: {"index": index})
        for index, array in enumerate(results):
            check(array, 30_000_000, index)
        print(pool.last_map.reused)
"""


def test_results_which_are_checkpointed_arrive_whole(mpi, script, tmp_path):
    assert outcome(mpi, script, tmp_path, KEYED) == "0\n4\n"


SENDER = """
from mpipool.executor.ring import Ring

def send(path):
    kill_in_the_middle(Ring, "take", path)
    return pattern(60_000_000, 1)

for array in Pool().map(send, [sys.argv[0] + ".killed"] * 4, retries=2):
    check(array, 60_000_000, 1)
assert os.path.exists(sys.argv[0] + ".killed")
print("done")
"""


def test_a_process_which_dies_while_it_sends_has_sent_nothing(mpi, script, tmp_path):
    assert outcome(mpi, script, tmp_path, SENDER) == "done\n"


RECEIVER = """
from mpipool.executor.ring import Ring

def send(first):
    return pattern(60_000_000, first)

def lead(path):
    kill_in_the_middle(Ring, "free", path)
    for first, array in enumerate(Pool().scatterGather(send, range(4))):
        check(array, 60_000_000, first)
    return "whole"

def take(item):
    check(item, 60_000_000, 5)
    return "taken"

pool = Pool()
print(pool.map(lead, [sys.argv[0] + ".killed"] * 2, retries=2))
assert os.path.exists(sys.argv[0] + ".killed")
print(set(pool.map(take, [pattern(60_000_000, 5)] * 5)))
"""


def test_a_process_which_dies_while_it_receives_holds_up_nobody(mpi, script, tmp_path):
    expected = "['whole', 'whole']\n{'taken'}\n"
    assert outcome(mpi, script, tmp_path, RECEIVER) == expected


MEMORY = """
def make(_, leader):
    time.sleep(0.3)  # so that each rank gets one
    if agent() == leader:
        return None
    array = np.ones({size} // 8)
    pid = agent()
    with open(f"/proc/{{pid}}/clear_refs", "w") as file:
        file.write("5")
    return pid, memory(pid, "VmRSS"), array

def take(array):
    time.sleep(0.3)
    return agent(), memory(agent(), "VmHWM") - memory(agent(), "VmRSS")

def lead(_):
    here = agent()
    with open(f"/proc/{{here}}/clear_refs", "w") as file:
        file.write("5")
    before = memory(here, "VmRSS")
    (crossed,) = [each for each in Pool().scatterGather(make, [0, 1], here) if each]
    there, then, array = crossed
    assert len(array) == {size} // 8
    return [memory(here, "VmHWM") - before, memory(there, "VmHWM") - then]

print(max(Pool().map(lead, [0])[0]))
"""


def test_no_agent_holds_a_result_which_passes_through_it(mpi, script, tmp_path):
    printed = outcome(mpi, script, tmp_path, MEMORY.format(size=300_000_000), ranks=2)
    assert float(printed) < 32


ITEMS = """
def take(array):
    time.sleep(0.3)  # so that each rank gets one
    return agent(), memory(agent(), "VmHWM")

pool = Pool()
before = dict(pool.map(take, [0] * 2))
after = dict(pool.map(take, [np.ones(300_000_000 // 8)] * 2))
(other,) = [pid for pid, peak in after.items() if peak < max(after.values())]
print(after[other] - before[other])
"""


def test_no_agent_holds_an_item_which_passes_through_it(mpi, script, tmp_path):
    assert float(outcome(mpi, script, tmp_path, ITEMS, ranks=2)) < 32


BUSY = """
def make(index):
    while index and not os.path.exists("go"):
        time.sleep(0.01)
    if index == 3:
        open("last", "w").close()
    return pattern(60_000_000, index)

results = Pool().imap(make, range(4))
first = next(results)
open("go", "w").close()
deadline = time.monotonic() + 40
while not os.path.exists("last"):  # here nobody reads what comes
    assert time.monotonic() < deadline, "the others wait until the script reads"
    time.sleep(0.01)
for index, array in enumerate(results, start=1):
    check(array, 60_000_000, index)
print("done")
"""


def test_a_caller_which_does_not_read_holds_up_nobody(mpi, script, tmp_path):
    assert outcome(mpi, script, tmp_path, BUSY, ranks=2) == "done\n"


DESCRIPTORS = """
def look(_):
    time.sleep(0.1)
    return {pid: len(os.listdir(f"/proc/{pid}/fd")) for pid in (agent(), os.getpid())}

def make(index):
    time.sleep(0.1)
    return pattern(20_000_000, index)

def lead(_):
    return [len(array) for array in Pool().scatterGather(make, range(4))]

pool, counts = Pool(), []
for _ in range(6):
    pool.map(lead, range(4))
    pool.map(len, [pattern(20_000_000, 0)] * 4)
    found = {}
    for each in pool.map(look, range(8)):
        found |= each
    counts.append(found | {0: len(os.listdir("/proc/self/fd"))})
print(max(counts[-1][pid] - counts[0][pid] for pid in counts[-1].keys() & counts[0].keys()))
"""


def test_parcels_leave_no_descriptors_behind(mpi, script, tmp_path):
    """Both ways need two each, and pipes and sockets three, for each process that is new."""
    assert int(outcome(mpi, script, tmp_path, DESCRIPTORS, ranks=2)) < 25  # after 100 parcels


END = """
def make(index):
    return pattern(300_000_000, index)

results = Pool().imap_unordered(make, range(6))
print(len(next(results)))
sys.stdout.flush()
sys.exit(3)
"""


@pytest.mark.parametrize("ranks", [2, 3])
def test_a_run_ends_while_parcels_are_under_way(mpi, script, tmp_path, ranks):
    done = run(mpi.command(ranks, script(COMMON + END)), mpi.environment, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (3, "37500000\n")
    assert not re.search("Traceback|terminat", done.stderr), done.stderr
