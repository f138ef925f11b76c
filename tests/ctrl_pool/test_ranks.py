"""Scripts as the predecessor's users have them, on real ranks: `mpiexec -n N python script.py`."""

from __future__ import annotations

import pytest

from mpi.jobs import run

pytestmark = pytest.mark.mpi

TOUR = """
import math, sys
from mpipool.ctrl_pool.pool import NODE, Comm, Debugger, Pool, startPool

def remember(cache, x, *args, **kwargs):
    cache.root, cache.said = math.sqrt(x), (args, kwargs)
    return hasattr(cache, "p")

def compare(cache, x, *args, **kwargs):
    assert cache.root == math.sqrt(x) and cache.said == (args, kwargs)
    assert 0 <= cache.comm.rank < cache.comm.size
    return cache.comm.size

startPool()
data = [float(i) for i in range(int(sys.argv[1]))]
one = Pool("one")
one.storeSet(p=1)
assert one.map(remember, data, "a", b=1) == [True] * len(data)

other = Pool("other")  # without a p
assert other.mapNoBalance(remember, data, "c") == [False] * len(data)
assert one.mapToPrevious(compare, data, "a", b=1) == other.mapToPrevious(compare, data, "c")
sizes = one.mapToPrevious(compare, data, "a", b=1)

one.storeDel("p")
one.cacheClear()
assert one.map(remember, data) == [False] * len(data)
one.cacheList()
one.storeList()
Pool().exit()
print("done on", *set(sizes))
"""


@pytest.mark.parametrize("items", [1, 3, 10])
@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_a_tour_of_the_pool(mpi, script, ranks, items):
    done = run(mpi.command(ranks, script(TOUR), items), mpi.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"done on {ranks}\n"
    assert "Store on" in done.stderr
    assert f"{items - 1}: Cache(root={(items - 1) ** 0.5}" in done.stderr


NESTED = """
import operator
from mpipool.ctrl_pool.pool import Pool, startPool

def detect(cache, ccd):
    cache.found = cache.visit * 100 + ccd

def calibrate(cache, ccd, offset):
    return cache.found + offset

def exposure(cache, visit):
    ccds = Pool("ccds")
    ccds.storeSet(visit=visit)
    ccds.map(detect, range(5))
    return ccds.reduceToPrevious(operator.add, calibrate, range(5), cache.offset)

startPool()
pool = Pool("exposures")
pool.storeSet(offset=1000)
assert pool.map(exposure, range(6)) == [5010 + 500 * visit for visit in range(6)]
print("done")
"""


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_exposures_are_mapped_and_map_their_ccds(mpi, script, ranks):
    done = run(mpi.command(ranks, script(NESTED)), mpi.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "done\n"


GO_ON = """
from mpipool.ctrl_pool.pool import Comm, Pool, startPool
{before}
pool = startPool(killSlaves=False)
if pool.isMaster():
    assert pool.map(None, abs, [-1, 2]) == [1, 2]
    pool.exit()
print(f"rank {{pool.rank}} of {{pool.size}} goes on{{'' if pool.isMaster() else ' as well'}}")
{after}
"""


def test_other_ranks_go_on_when_the_pool_lets_them(mpi, script):
    text = GO_ON.format(before="", after="")
    done = run(mpi.command(3, script(text)), mpi.environment)
    assert done.returncode == 0, done.stderr
    assert sorted(done.stdout.splitlines()) == [
        "rank 0 of 3 goes on",
        "rank 1 of 3 goes on as well",
        "rank 2 of 3 goes on as well",
    ]


def test_a_program_with_mpi_of_its_own_has_it_again_after_the_pool(mpi, script):
    text = GO_ON.format(
        before="comm = Comm(recvSleep=0.01)\ncomm.Barrier()",
        after="assert (comm.allreduce(comm.rank), comm.broadcast(comm.rank, 1)) == (3, 1)",
    )
    done = run(mpi.command(3, script(text)), mpi.environment)
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("goes on") == 3


def test_a_used_up_pool_says_so(mpi, script):
    text = GO_ON.format(before="", after="if pool.isMaster(): pool.map(None, abs, [1])")
    done = run(mpi.command(2, script(text)), mpi.environment)
    assert done.returncode != 0
    assert "map after exit(): the other ranks have been let go" in done.stderr


def test_messages_between_ranks_without_a_pool(mpi, script):
    text = """
from mpipool.ctrl_pool.pool import Comm
comm = Comm(recvSleep=0.01, barrierSleep=0.01)
if comm.rank == 0:
    for rank in range(1, comm.size):
        comm.send({"to": rank}, rank)
else:
    assert comm.recv() == {"to": comm.rank}
assert comm.scatter([10, 11, 12]) == 10 + comm.rank
comm.Barrier()
comm.Free()
"""
    done = run(mpi.command(3, script(text)), mpi.environment)
    assert done.returncode == 0, done.stderr


def test_an_unhandled_error_of_the_script_ends_the_job(mpi, script):
    text = """
from mpipool.ctrl_pool.pool import Pool, abortOnError, startPool
startPool()

@abortOnError
def main():
    Pool(None).map(lambda x: 1 // x, [1, 0, 1])

main()
"""
    done = run(mpi.command(2, script(text)), mpi.environment)
    assert done.returncode != 0
    assert "ZeroDivisionError on" in done.stderr
    assert "in main:" in done.stderr
