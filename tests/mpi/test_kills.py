"""A run of 500 items is killed at some moment, and the same command is given again at once.

Whatever was killed and when: in the end there are the files and records of an undisturbed run, byte
for byte, nothing was committed twice, and nothing is left running. The moment is an event of the
run itself: its tasks tell what they do, and the killer strikes at the n-th of these events.

``ROUNDS`` says how often, under both MPIs together. The seed of a round is in the test's name; a
round that fails says how to repeat it alone.
"""

import contextlib
import hashlib
import json
import os
import random
import select
import sqlite3
import time

import pytest

from mpi.jobs import TIMEOUT, Job, kill
from mpi.test_orphans import scripts

ROUNDS = int(os.environ.get("ROUNDS", "20"))
SEEDS = [int(os.environ["SEED"])] if "SEED" in os.environ else range((ROUNDS + 1) // 2)
ITEMS, LEADERS = 500, 50
EVENTS = 4 * ITEMS
"""About as many does a run tell."""
VICTIMS = ("executor", "guard", "worker rank", "leader", "leading rank", "rank 0", "script")
VICTIMS += ("mpiexec",)
GOES_ON = ("executor", "guard", "leader")
"""After whose death the run itself does everything."""

RUN = """
import contextlib, hashlib, os, sys, time
from pathlib import Path
import mpipool
from mpipool import Pool

FOLDER = Path(sys.argv[1])

def tell(what, x):
    with contextlib.suppress(OSError):  # nobody listens
        fifo = os.open(FOLDER / "events", os.O_WRONLY | os.O_NONBLOCK)
        os.write(fifo, f"{what} {x} {os.getpid()} {os.environ.get('MPIPOOL_RANK')}\\n".encode())
        os.close(fifo)

def piece(x):
    tell("piece", x)
    return x

def work(x):
    tell("begins", x)
    time.sleep(0.002 * (x % 7))
    if x % 10 == 3:
        tell("leads", x)
        assert Pool().scatterGather(piece, range(6)) == list(range(6))
    with mpipool.output(FOLDER / "out" / f"{x}.txt") as part:
        part.write_text(f"{x} " * 1000)
        tell("writes", x)
    mpipool.record(square=x * x)
    tell("ends", x)
    return bytes([x % 256]) * (100_000 if x % 50 == 7 else 100)

if __name__ == "__main__":
    tell("starts", 0)
    with Pool(checkpoint=FOLDER / "run.db") as pool:
        results = pool.map(
            work, range(500), stage="work", key=lambda x: {"x": x}, retries=3,
            progress=lambda done, failed, total: tell("delivered", done),
        )
        print(hashlib.sha1(b"".join(results)).hexdigest())
"""


class Events:
    """What a run tells, one line after the other."""

    def __init__(self, folder):
        os.mkfifo(folder / "events")
        # Also for writing: there is no end of file while no task has it open.
        self._fifo = os.open(folder / "events", os.O_RDWR | os.O_NONBLOCK)
        self._rest = b""
        self._lines = []

    def next(self, job, kinds):
        """Return the next event of these kinds, as words; None if the job ends before."""
        deadline = time.monotonic() + TIMEOUT
        while True:
            while self._lines:
                words = self._lines.pop(0).decode().split()
                if words[0] in kinds:
                    return words
            assert time.monotonic() < deadline, "the run tells nothing any more"
            if select.select([self._fifo], [], [], 0.1)[0]:
                *self._lines, self._rest = (self._rest + os.read(self._fifo, 65536)).split(b"\n")
            elif not job.runs:
                return None


def strike(job, events, victim, chance):
    """Kill the victim at some event; return what was done."""
    leads = victim in ("leader", "leading rank")
    kinds = ("leads",) if leads else ("starts", "begins", "piece", "leads", "writes", "ends")
    kinds += () if leads else ("delivered",)
    wanted = chance.randrange(1, LEADERS if leads else EVENTS)
    event, count = ["nothing"], 0
    while count < wanted and (following := events.next(job, kinds)):
        event, count = following, count + 1
    found = find(job, victim, event)
    for process in found:
        kill(process)
    return f"{victim} {found} at event {count}: {' '.join(event)}"


def find(job, victim, event):
    """Return the process to kill, by the event which its task has told; none if it is gone."""
    _, _, pid, rank = event if len(event) == 4 else ("", "", "0", "None")
    executors = {process.pid: process for process in job.executors()}
    rank = int(rank) if rank.isdigit() else 0
    match victim:
        case "executor" | "leader":
            return [int(pid)] if int(pid) in executors else list(executors)[:1]
        case "guard":
            known = executors.get(int(pid))
            return [known.parent] if known else [guard.pid for guard in job.guards()][-1:]
        case "worker rank" | "leading rank":
            wanted = rank or 1
            return [agent.pid for agent in job.agents() if agent.rank == wanted]
        case "rank 0":
            return [agent.pid for agent in job.agents() if agent.rank == 0]
        case "script":
            return [process.pid for process in scripts(job)]
    return [job.pid]


def contents(folder):
    """All that a run has made, leftovers too: files by their digests, and what is recorded."""
    files = {
        str(path.relative_to(folder)): hashlib.sha1(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file() and path.parent.name == "out"
    }
    left = [path.name for path in folder.rglob("*") if path.suffix in {".part", ".tmp"}]
    with contextlib.closing(sqlite3.connect(folder / "run.db")) as connection:
        rows = connection.execute(
            "SELECT data_id, metrics, result, result_file FROM attempt"
            " WHERE digest IS NOT NULL AND state = 'done' ORDER BY data_id"
        ).fetchall()
        assert connection.execute("SELECT count(*) FROM lock").fetchone() == (0,)
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    results = [
        (json.loads(data_id)["x"], metrics, result or _kept(folder, file))
        for data_id, metrics, result, file in rows
    ]
    return files, left, sorted(results)


def _kept(folder, entry):
    """Return the bytes of a result in a file of its own, as ``name:size:sha256`` says."""
    name, size, digest = entry.split(":")
    (path,) = folder.rglob(name)
    data = path.read_bytes()
    assert (len(data), hashlib.sha256(data).hexdigest()) == (int(size), digest)
    return data


def finish(command, environment):
    """Run a command to its end; return what it printed, and its job."""
    with Job(command, environment) as job:
        done = job.finish()
        assert done.returncode == 0, done.stderr
        left = job.all_gone_within(5)
        assert not left, left
    return done.stdout


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    """What a run makes which nobody disturbs: found out once, whichever MPI comes first."""
    known = []

    def find_out(mpi):
        if not known:
            folder = tmp_path_factory.mktemp("undisturbed")
            (folder / "script.py").write_text(RUN)
            printed = finish(mpi.command(4, folder / "script.py", folder), mpi.environment)
            known.append((printed, contents(folder)))
            files, left, results = known[0][1]
            assert (len(files), left, len(results)) == (ITEMS, [], ITEMS)
        return known[0]

    return find_out


@pytest.mark.timeout(300)
@pytest.mark.parametrize("seed", SEEDS)
def test_a_killed_run_is_finished_by_the_same_command(mpi, script, tmp_path, undisturbed, seed):
    expected = undisturbed(mpi)
    chance = random.Random(f"{mpi.name} {seed}")
    make = mpi.command if chance.random() < 0.5 else mpi.driver
    victim = VICTIMS[(seed + (mpi.name == "openmpi") * len(VICTIMS) // 2) % len(VICTIMS)]
    command = make(4, script(RUN), tmp_path)
    again = f"SEED={seed} .venv/bin/pytest tests/mpi/test_kills.py -k {mpi.name}"
    print("to repeat this round:", again)
    with Job(command, mpi.environment) as first:
        told = f"{make.__name__}: {strike(first, Events(tmp_path), victim, chance)}"
        print(told)
        if victim in GOES_ON and "[]" not in told and _survives(first):
            done = first.finish()
            assert done.returncode == 0, done.stderr
        printed = finish(command, mpi.environment)  # at once: the first may still be dying
        left = first.all_gone_within(5)
        assert not left, left
    assert printed == expected[0]
    files, leftovers, results = contents(tmp_path)
    assert leftovers == []
    assert [x for x, _, _ in results] == list(range(ITEMS)), "each was committed once"
    assert (files, leftovers, results) == expected[1]


def _survives(job):
    """Whether the run goes on, as it does unless it was the guard of the script."""
    time.sleep(0.2)
    return bool(scripts(job))
