"""Gangs on real ranks: communicators, scatters inside, failures, and what they leave behind."""

import json
import sqlite3

import pytest

from mpi.jobs import Job, run

# Prints what the gang's code saw, as JSON.
HEAD = """
import json, os, random, signal, sys, threading, time
from mpipool import Pool, UsageError, output, record

def show(value):
    print(json.dumps(value), flush=True)
"""


def shown(done):
    """Return what the script has printed as JSON, one value per line."""
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return [json.loads(line) for line in done.stdout.splitlines() if line[:1] in '[{"0123456789tfn']


BUFFERS = (
    HEAD
    + """
import numpy as np

def solve(item):
    comm = Pool().comm
    mine, total = np.full(1000, item + comm.rank, dtype=float), np.empty(1000)
    comm.Allreduce(mine, total)
    return comm.size, total[-1], comm.bcast(comm.rank)

if __name__ == "__main__":
    pool = Pool()
    assert pool.comm is None
    show(pool.map(solve, range(5), ranks=3))
    show(pool.map(lambda item: Pool().comm is None, range(2)))
"""
)


def test_members_have_a_communicator_of_their_own_for_numpy_buffers(mpi, script):
    done = run(mpi.command(4, script(BUFFERS)), mpi.environment)
    gangs, ordinary = shown(done)
    assert gangs == [[3, 3 * item + 3.0, 0] for item in range(5)]
    assert ordinary == [True, True]


MANY = (
    HEAD
    + """
def count(item):
    return Pool().comm.allreduce(item)

if __name__ == "__main__":
    began = time.time()
    results = Pool().map(count, range(int(sys.argv[1])), ranks=2)
    print(f"{(time.time() - began) / len(results) * 1e3:.2f} ms each", file=sys.stderr)
    assert results == [2 * item for item in range(len(results))]
"""
)


@pytest.mark.parametrize("gangs", [2500])
def test_communicators_are_freed_or_mpich_would_have_no_more_after_2046(mpi, script, gangs):
    done = run(mpi.command(3, script(MANY), gangs), mpi.environment)
    assert done.returncode == 0, done.stderr


MIXED = (
    HEAD
    + """
def gang(item):
    comm = Pool().comm
    assert comm.size == item[1], (comm.size, item)
    for _ in range(3):
        time.sleep(0.001 * (comm.rank + 1))
        assert comm.allreduce(item[0]) == item[0] * comm.size
    return item

def plain(item):
    time.sleep(0.002)
    return Pool().scatterGather(abs, [item, -item])[1]

def lead(seed):
    chance, pool = random.Random(seed), Pool()
    for _ in range(3):
        width = chance.randint(1, 4)
        items = [[chance.random(), width] for _ in range(4)]
        assert pool.map(gang, items, ranks=width) == items
        assert pool.map(plain, range(5)) == list(range(5))
    return seed

if __name__ == "__main__":
    show(Pool().map(lead, range(6)))
"""
)


def test_gangs_of_many_widths_beside_elastic_groups(mpi, script):
    done = run(mpi.command(5, script(MIXED)), mpi.environment)
    assert shown(done) == [list(range(6))]


MOLDABLE = (
    HEAD
    + """
def width(item):
    time.sleep(0.05)
    return Pool().comm.size

if __name__ == "__main__":
    Pool().map(width, [0], ranks=4)  # so many have joined
    show([Pool().map(width, range(n), ranks=(2, 3)) for n in (1, 4)])
"""
)


def test_the_broker_chooses_the_width_of_a_moldable_gang(mpi, script):
    ((alone, several),) = shown(run(mpi.command(5, script(MOLDABLE)), mpi.environment))
    assert alone == [3]
    assert set(several) <= {2, 3}
    assert len(several) == 4


ONE = (
    HEAD
    + """
def alone(item):
    comm = Pool().comm
    return [comm.size, comm.allreduce(item)]

if __name__ == "__main__":
    show(Pool().map(alone, range(3), ranks=1))
"""
)


@pytest.mark.parametrize("ranks", [1, 3])
def test_a_gang_of_one(mpi, script, ranks):
    done = run(mpi.command(ranks, script(ONE)), mpi.environment)
    assert shown(done) == [[[1, item] for item in range(3)]]


INSIDE = (
    HEAD
    + """
def ccd(item):
    time.sleep(0.02)
    return [item, int(os.environ["MPIPOOL_RANK"])]

def below(item):
    return sum(x for x, _ in Pool().map(ccd, range(item)))

def visit(item):
    comm, pool = Pool().comm, Pool()
    matches = pool.map(ccd, range(40)) if comm.rank == 0 else None
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(0.001)
    solution = comm.bcast(matches and sum(x for x, _ in matches))
    deeper = pool.map(below, range(6)) if comm.rank == 0 else None
    every = comm.gather([x for x, _ in pool.scatterGather(ccd, range(comm.rank + 2))])
    return [solution, sorted({r for _, r in matches or []}), deeper, every]

if __name__ == "__main__":
    show(Pool().map(visit, range(2), ranks=3))
"""
)


def test_members_scatter_over_the_members_and_meet_again(mpi, script):
    (visits,) = shown(run(mpi.command(4, script(INSIDE)), mpi.environment))
    for solution, ranks, deeper, every in visits:
        assert solution == sum(range(40))
        assert len(ranks) >= 2, "the other members' cores were idle"
        assert deeper == [sum(range(item)) for item in range(6)]
        assert every == [list(range(rank + 2)) for rank in range(3)]


ALL = (
    HEAD
    + """
def ccd(item):
    time.sleep(0.05)
    return int(os.environ["MPIPOOL_RANK"])

def visit(item):
    comm = Pool().comm
    ranks = Pool().map(ccd, range(60)) if comm.rank == 0 else None
    done = comm.Ibarrier()
    while not done.Test():
        time.sleep(0.001)
    return sorted(set(ranks or []))

if __name__ == "__main__":
    show(Pool().map(visit, [0], ranks=3))
"""
)


def test_the_cores_of_all_members_work_on_what_the_first_one_scatters(mpi, script):
    (visits,) = shown(run(mpi.command(3, script(ALL)), mpi.environment))
    assert visits == [[0, 1, 2]]


LATE = (
    HEAD
    + """
def ccd(item):
    time.sleep(0.05)
    return item

def split_type(comm):
    from mpi4py.MPI import COMM_TYPE_SHARED
    return comm.Split_type(COMM_TYPE_SHARED, comm.rank)

def merge(comm):
    part = comm.Split(comm.rank > 0, comm.rank)
    return part.Create_intercomm(0, comm, 0 if comm.rank else 1).Merge(comm.rank > 0)

MADE = {
    "Dup": lambda comm: comm.Dup(),
    "Idup": lambda comm: [made := comm.Idup(), made[1].Wait()][0][0],
    "Split": lambda comm: comm.Split(0, comm.rank),
    "Split_type": split_type,
    "Create": lambda comm: comm.Create(comm.Get_group()),
    "Create_group": lambda comm: comm.Create_group(comm.Get_group()),
    "Create_cart": lambda comm: comm.Create_cart([3]),
    "Sub": lambda comm: comm.Create_cart([3, 1]).Sub([True, False]),
    "Merge": merge,
}

def visit(name):
    comm = Pool().comm
    if name in MADE:
        comm, name = MADE[name](comm), "allreduce"
    if comm.rank == 0:
        Pool().map(ccd, range(12))
    else:
        time.sleep(0.1)  # so that this rank has tasks of the scatter when it begins to wait
    return getattr(comm, name)(1)

if __name__ == "__main__":
    show(Pool().map(visit, sys.argv[1:], ranks=3))
"""
)


def test_a_member_serves_scatters_while_it_waits_in_a_reduction_of_objects(mpi, script):
    command = mpi.command(3, script(LATE), "allreduce", "reduce", "scan", "exscan")
    (sums,) = shown(run(command, mpi.environment, timeout=30))
    assert sums == [3, 3, 1, None]


def test_so_it_does_on_communicators_which_are_made_from_that_of_the_gang(mpi, script):
    made = ["Dup", "Idup", "Split", "Split_type", "Create", "Create_group"]
    made += ["Create_cart", "Sub", "Merge"]
    (sums,) = shown(run(mpi.command(3, script(LATE), *made), mpi.environment, timeout=60))
    assert sums == [3] * len(made)


BESIDE = (
    HEAD
    + """
def needs(item):
    return Pool().map(abs, [1], memory="1 MB")

def visit(item):
    pool = Pool()
    said = []
    for call in (lambda: needs(0), lambda: pool.map(needs, [0]),
                 lambda: pool.map(abs, [1, 2], previous=True)):
        try:
            said.append(call())
        except UsageError as error:
            said.append("not the first one" in str(error))
    return pool.comm.gather(said)

if __name__ == "__main__":
    show(Pool().map(visit, [0], ranks=2))
"""
)


def test_only_the_first_member_may_scatter_what_needs_more_than_a_core(mpi, script):
    ((first, other),) = shown(run(mpi.command(3, script(BESIDE)), mpi.environment))[0]
    assert first == [[1], [[1]], [1, 2]]
    assert other == [True, True, True]


FAILS = (
    HEAD
    + """
class Ours(Exception):
    pass

def fails(item):
    comm = Pool().comm
    record(member=comm.rank)
    if comm.rank in item:
        raise Ours(f"member {comm.rank}")
    return [item, comm.size] if comm.rank == 0 else threading.Lock()

if __name__ == "__main__":
    pool = Pool()
    results = pool.map(fails, [[], [2], [1, 2], [0, 1, 2], []], ranks=3, errors="return")
    show([str(r) if isinstance(r, Ours) else r for r in results])
    show("in fails" in str(results[1].__cause__))
"""
)


def test_the_exception_of_the_lowest_member_is_the_tasks_and_others_go_on(mpi, script):
    results, traced = shown(run(mpi.command(4, script(FAILS)), mpi.environment))
    assert results == [[[], 3], "member 2", "member 1", "member 0", [[], 3]]
    assert traced


HANGS = (
    HEAD
    + """
def hangs(item):
    comm = Pool().comm
    if item == 1 and comm.rank == 1:
        raise ValueError("one leaves")
    comm.Barrier()
    return item

if __name__ == "__main__":
    with Pool(checkpoint=sys.argv[1]) as pool:
        pool.map(hangs, range(2), ranks=3, stage="s", key=lambda item: item)
"""
)


def test_a_collective_with_a_member_that_has_left_ends_the_run_with_a_sentence(
    mpi, script, tmp_path
):
    database = tmp_path / "run.db"
    done = run(mpi.command(4, script(HANGS), database), mpi.environment)
    assert done.returncode == 1
    lines = [line for line in done.stderr.splitlines() if line.startswith("mpipool:")]
    assert "the run can't go on: a task of a gang raised ValueError on rank" in lines[-1]
    assert "ValueError: one leaves" in done.stderr
    with sqlite3.connect(database) as connection:
        states = dict(connection.execute("SELECT task, state FROM attempt"))
    assert states == {0: "done", 1: "failed"}


TRACES = (
    HEAD
    + """
def changes(item):
    comm = Pool().comm
    found = [
        os.getcwd(), os.environ.get("CHANGED"), os.umask(0), sorted(os.sched_getaffinity(0)),
        signal.getsignal(signal.SIGALRM) == signal.SIG_DFL, os.environ["OMP_NUM_THREADS"],
        [name for name in os.environ if name.startswith(("PMI", "OMPI_", "PRTE", "HYDRA"))],
        threading.current_thread() is threading.main_thread(), threading.active_count(),
    ]
    os.chdir("/")
    os.environ["CHANGED"] = "yes"
    os.umask(0o77)
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    comm.isend("nobody receives this", (comm.rank + 1) % comm.size, tag=7)
    if item == 2:
        comm.Free()
    elif item == 3:
        assert comm.iprobe(tag=7) is False or comm.rank >= 0
    return found

if __name__ == "__main__":
    for item in range(4):
        show(Pool().map(changes, [item], ranks=2)[0])
"""
)


def test_what_a_gang_changes_the_next_one_finds_as_it_was(mpi, script):
    found = shown(run(mpi.command(2, script(TRACES)), mpi.environment))
    assert found[1:] == found[:1] * 3
    assert found[0][1] is None
    assert found[0][4:] == [True, "1", [], True, 2]


OUTPUTS = (
    HEAD
    + """
def writes(item):
    comm = Pool().comm
    record(**{f"member{comm.rank}": comm.rank})
    with output(f"{sys.argv[1]}/{item}-{comm.rank}.txt") as path:
        path.write_text("whole")
    comm.Barrier()
    if item == 1 and comm.rank == 1:
        raise ValueError
    return "x" * 100_000 if comm.rank == 0 else None

if __name__ == "__main__":
    with Pool(checkpoint=f"{sys.argv[1]}/run.db") as pool:
        results = pool.map(
            writes, range(2), ranks=2, stage="s", key=lambda item: item, errors="return"
        )
        show([len(results[0]), type(results[1]).__name__, pool.last_map.reused])
"""
)


def test_what_members_record_and_put_out_counts_with_the_task(mpi, script, tmp_path):
    command = mpi.command(3, script(OUTPUTS.replace("sys.argv[1]", repr(str(tmp_path)))))
    assert shown(run(command, mpi.environment)) == [[100_000, "ValueError", 0]]
    texts = {path.name for path in tmp_path.rglob("*") if path.suffix in {".txt", ".part"}}
    assert texts == {"0-0.txt", "0-1.txt"}
    with sqlite3.connect(tmp_path / "run.db") as connection:
        (metrics,) = connection.execute("SELECT metrics FROM attempt WHERE state='done'").fetchone()
    assert json.loads(metrics) == {"member0": 0, "member1": 1}
    assert shown(run(command, mpi.environment)) == [[100_000, "ValueError", 1]]


LARGE = (
    HEAD
    + """
import numpy as np

def total(item, constants):
    comm = Pool().comm
    return item + comm.allreduce(float(constants.sum()))

if __name__ == "__main__":
    constants = np.ones(500_000)
    items = [np.full(200_000, n, dtype=float) for n in range(4)]
    results = Pool().map(lambda item: total(item, constants), items, ranks=3)
    show([[r[0], r[-1], r.flags.writeable] for r in results])
"""
)


def test_large_functions_items_and_results(mpi, script):
    (results,) = shown(run(mpi.command(4, script(LARGE)), mpi.environment))
    assert results == [[n + 1.5e6, n + 1.5e6, True] for n in range(4)]


ENDS = (
    HEAD
    + """
def endless(item):
    open(f"{sys.argv[1]}-{Pool().comm.rank}", "w").close()
    time.sleep(60 if item else 1)
    return Pool().comm.allreduce(1)

def wait_for_both():
    while not all(os.path.exists(f"{sys.argv[1]}-{rank}") for rank in range(2)):
        time.sleep(0.01)

if __name__ == "__main__":
    results = Pool().imap(endless, [int(sys.argv[2])], ranks=2)
    threading.Thread(target=next, args=(results,), daemon=True).start()
    wait_for_both()
    sys.exit(3)
"""
)


def test_a_script_that_ends_waits_for_a_gang_which_ends_soon(mpi, script, tmp_path):
    path = script(ENDS.replace("sys.argv[1]", repr(str(tmp_path / "in"))))
    done = run(mpi.command(3, path, "-", 0), mpi.environment)
    assert done.returncode == 3
    assert "does not end" not in done.stderr


def test_a_script_that_ends_does_not_wait_for_ever(mpi, script, tmp_path):
    path = script(ENDS.replace("sys.argv[1]", repr(str(tmp_path / "in"))))
    done = run(mpi.command(3, path, "-", 1), mpi.environment)
    assert done.returncode != 0
    assert "mpipool: a task of a gang does not end; the run ends without it" in done.stderr


IN_PLACE = """
import mpi4py.MPI
from mpipool import Pool, UsageError

def f(item):
    return Pool().comm.size

if __name__ == "__main__":
    try:
        Pool().map(f, range(3), ranks=2)
    except UsageError as error:
        print(str(error), flush=True)
"""


def test_a_script_with_mpi_of_its_own_is_told_to_make_the_pool_first(mpi, script):
    done = run(mpi.command(3, script(IN_PLACE)), mpi.environment)
    assert "make the Pool before importing mpi4py.MPI" in done.stdout, done.stderr


IDLE = (
    HEAD
    + """
if __name__ == "__main__":
    Pool().map(abs, range(100))
    show("before")
    while not os.path.exists(sys.argv[1]):
        time.sleep(0.01)
    show(Pool().map(lambda item: Pool().comm.size, range(3), ranks=3))
"""
)


def test_agents_are_small_before_their_first_gang(mpi, script, tmp_path):
    go_on = tmp_path / "go"
    with Job(mpi.command(3, script(IDLE), go_on), mpi.environment) as job:
        job.wait_until(lambda: job.executors(), "there is an executor")
        # Rank 0's, which has the broker in it, is another matter.
        bare = [agent for agent in job.agents() if not agent.has("--script-fd")]
        sizes = [proportional_size(agent.pid) for agent in bare]
        go_on.touch()
        assert shown(job.finish())[-1] == [3, 3, 3]
    assert len(sizes) == 2
    assert max(sizes) < 25 * 1024


def proportional_size(pid):
    """Return the PSS of a process in KiB."""
    with open(f"/proc/{pid}/smaps_rollup") as rollup:
        return next(int(line.split()[1]) for line in rollup if line.startswith("Pss:"))
