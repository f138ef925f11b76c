"""Ends a run at its first write, its second, and so on, and resumes it each time.

The run is the real one from the task's call to the disk, in one process: attempts, publication of
outputs, records, recorder, checkpoint, and what a resumed map asks. A process is forked for each
point, so that a point takes milliseconds. The environment of this script has the library of
`disk`.
"""

import errno
import itertools
import json
import logging
import os
import pickle
import shutil
import signal
import sys
import tempfile
import threading
import traceback
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace

from checkpoint import power
from checkpoint.disk import FAIL, KILL, NOTHING, TEAR, arm, calls, note_down
from checkpoint.run_builders import query, scatter
from mpipool import keys
from mpipool.checkpoint import connection
from mpipool.checkpoint.reading import read_records
from mpipool.checkpoint.recorder import Recorder, Timing
from mpipool.errors import CheckpointError
from mpipool.executor.attempt import Attempts
from mpipool.executor.caller import Attachment
from mpipool.executor.function import Function
from mpipool.executor.running import output, publish
from mpipool.messages import RunTasks
from mpipool.outcomes import Outcomes, pack
from mpipool.questions import QUESTIONS
from mpipool.recording import RecordBuffer, unpack
from mpipool.resume import identify, resume
from mpipool.task import ENTRY, Entry, Outcome

ITEMS = 30
REFUSED, REACHED = 3, 4
"""How a run ends on whose disk calls fail: with a sentence, or, as it could help itself, well."""
TOGETHER = 4
"""Items whose outcomes are one report."""


def work(folder, number):
    """Every third item has an output, every fifth a result that is too large for a record."""
    if number % 3 == 0:
        with output(Path(folder, "out", f"{number}.txt")) as part:
            part.write_text(f"item {number}\n" * 100)
    return bytes([number]) * 70_000 if number % 5 == 0 else number


class Run:
    """One start of the run."""

    def __init__(self, folder):
        self.folder, self.woken = folder, threading.Event()
        self.recorder = Recorder.open(
            f"{folder}/run.db", self.woken.set, self._opened, timing=Timing(0.0, 0.0, 3),
            config={"a": 1}, command="run", ranks=1,
        )  # fmt: skip
        self.attachment = None
        self._until(lambda: self.attachment)

    def _opened(self, checkpoint):
        if isinstance(checkpoint, Exception):
            raise checkpoint
        self.token = checkpoint.token
        self.attachment = Attachment(checkpoint.token, checkpoint.folder, recorded=True)

    def _until(self, true):
        while not true():
            assert self.woken.wait(30)
            self.woken.clear()
            self.recorder.deliver()

    def ask(self, question, **facts):
        """What a resumed map asks the broker."""
        answers = []
        self.recorder.ask(lambda held: QUESTIONS[question](held, facts), answers.append)
        self._until(lambda: answers)
        if isinstance(answers[0], Exception):
            raise answers[0]
        return answers[0]

    def map(self, acknowledge):
        """Run what is not done, tell when that is on disk, and return all results."""
        items = list(range(ITEMS))
        identities = identify("work", lambda item: {"item": item}, items)
        digests = [keys.digest("work", "", None, identity) for identity in identities]
        known = resume(self, digests, identities)
        self.recorder.open_scatter(scatter(7, stage="work", tasks=len(known.waiting)))
        values = []
        for first in range(0, len(known.waiting), TOGETHER):
            some = range(first, min(first + TOGETHER, len(known.waiting)))
            values += self._report(known, some)
            self.ask("sync")
            acknowledge([known.waiting[index] for index in some])
        self.recorder.close_scatter(7, 2000.0)
        return known.merged_with(values)

    def _report(self, known, some):
        """Make the outcomes of some tasks, and take them in as their leader does."""
        shared = {"keyed": True, "token": self.token, "results": self.attachment.results,
                  "sys_path": []}  # fmt: skip
        function = Function(json.dumps(shared).encode(), b"")
        values = []

        def call(number):
            values.append(None)
            values[-1] = work(self.folder, number)
            return values[-1]

        function._loaded = (call, (), {})
        attempts, made = Attempts(lambda *told: None, lambda text: None), []
        chunk = RunTasks(
            lease=1, chunk=1, scatter=7, path=(7,), digest=b"d" * 16, first=some[0],
            count=len(some), attempt=1, scope=7, executor=0, lineage=b"", cores=(), cpus="",
            parts=(),
        )  # fmt: skip
        for index in some:
            item = known.prefixes[index] + pickle.dumps(known.waiting[index])
            made.append(_outcome(attempts.make(chunk, index, function, memoryview(item))))
        outcomes = Outcomes(some[0], pack(made)).published(publish)
        buffer, led = (
            RecordBuffer(),
            SimpleNamespace(opening=SimpleNamespace(keyed=True), scatter=7, path=(7,), owner=0),
        )
        buffer.add(led, 1, 1, outcomes)
        for _, told in buffer.take():
            self.recorder.append(unpack(told, self.folder))
        return values


def _outcome(result):
    started, wall, cpu, peak = result.times
    entry = Entry(result.state, len(result.details), started, wall, cpu, peak, len(result.result))
    ENTRY.pack(*entry)
    return Outcome(entry, memoryview(result.details), memoryview(bytes(result.result)))


def start(folder, acknowledge):
    """Start the run."""
    run = Run(folder)
    values = run.map(acknowledge)
    if not run.recorder.close("complete", 30):
        raise run.recorder.failure
    return values


def products(folder):
    """What is on disk beside the database, by name; of results, not which attempt's."""
    files = [path for path in Path(folder).rglob("*") if path.is_file() and path.name != "run.db"]
    return {
        str((path.with_suffix("") if "results" in path.parts else path).relative_to(folder)):
        path.read_bytes()
        for path in files
    }  # fmt: skip


def check(folder, acknowledged, undisturbed):
    """Resume a run that was ended, and see that nothing is missing or there twice."""
    if acknowledged:
        recorded = [record.data_id["item"] for record in read_records(f"{folder}/run.db")]
        assert set(acknowledged) <= set(recorded), "something that was acknowledged is missing"
        assert len(set(recorded)) == len(recorded)
    assert start(folder, lambda items: None) == [work_result(n) for n in range(ITEMS)]
    rows = "SELECT count(*), count(DISTINCT digest) FROM attempt WHERE state = 'done'"
    assert query(f"{folder}/run.db", rows) == [(ITEMS, ITEMS)]
    assert query(f"{folder}/run.db", "PRAGMA integrity_check") == [("ok",)]
    made = products(folder)
    assert made == undisturbed, made.keys() ^ undisturbed.keys()


def work_result(number):
    return bytes([number]) * 70_000 if number % 5 == 0 else number


def fork(function, *arguments):
    """Run a function in a process of its own; return how that ended."""
    child = os.fork()
    if child == 0:
        status = 1
        with suppress(BaseException):
            try:
                function(*arguments)
                status = 0
            except BaseException:
                traceback.print_exc()
        os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def end_at(root, kind, at, undisturbed):
    """End the run at one call, and resume it; return whether it got so far."""
    folder = tempfile.mkdtemp(dir=root)
    read, write = os.pipe()

    def first():
        arm(folder, kind, at, errno.ENOSPC if kind == FAIL else errno.EIO)
        try:
            start(folder, lambda items: os.write(write, bytes(items)))
        except CheckpointError:  # refused, with a sentence
            os._exit(REFUSED)
        os._exit(REACHED if calls() >= at else 0)

    status = fork(first)
    os.close(write)
    with open(read, "rb") as pipe:
        acknowledged = pipe.read()
    allowed = {0, -signal.SIGKILL} if kind in {KILL, TEAR} else {0, REACHED, REFUSED}
    assert status in allowed, f"at call {at} the run ended with {status}"
    assert fork(check, folder, acknowledged, undisturbed) == 0, f"after call {at}"
    shutil.rmtree(folder)
    return status != 0


def cut_power(root, step, undisturbed):
    """Run once, and resume from what is on disk if the power fails after one call or another."""
    folder, log = f"{root}/run", f"{root}/log"
    os.mkdir(folder, 0o700)

    def first():
        arm(folder, NOTHING)
        note_down(log)
        said = os.open(log, os.O_WRONLY | os.O_APPEND)
        start(folder, lambda items: os.write(said, power.acknowledgement(items)))

    assert fork(first) == 0
    done = power.read_log(log)
    for at in range(0, len(done) + 1, step):
        for seed in (None, at):
            acknowledged = power.lay_out(done[:at], folder, seed)
            assert fork(check, folder, acknowledged, undisturbed) == 0, f"after {at}, seed {seed}"
    return len(done)


def main(root, mode, step, *kinds):
    """Go through all points of each kind, or every third, and print which was the last."""
    connection.shared_memory_works = lambda path: mode == "log"
    calm = tempfile.mkdtemp(dir=root)
    assert fork(start, calm, lambda items: None) == 0
    undisturbed = products(calm)
    assert len(undisturbed) == ITEMS // 3 + ITEMS // 5
    logging.disable()  # it is said at each point that the disk fails
    for kind in map(int, kinds):
        if kind == NOTHING:
            print(cut_power(root, int(step), undisturbed), flush=True)
            continue
        points = itertools.count(1, int(step))
        print(next(at for at in points if not end_at(root, kind, at, undisturbed)), flush=True)


if __name__ == "__main__":
    arm(sys.argv[1], NOTHING)
    main(*sys.argv[1:])
