"""Files that a disk has altered: what is read from them is right, or they are refused."""

import contextlib
import io
import json
import os
import random
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from checkpoint.run_builders import failure, key, opened, record, scatter
from mpipool.checkpoint.reading import read_records
from mpipool.cli import main
from mpipool.errors import CheckpointError

ROUNDS = min(5, int(os.environ.get("ROUNDS", "1")))
KEYS = 60


def attempts(number):
    """The attempts at a key: every seventh failed first."""
    fields = {"digest": key(number), "data_id": json.dumps({"ccd": number})}
    if number % 7 == 0:
        yield failure(number, **fields, stderr="x" * 40 * number)
    size = 20_000 if number % 20 == 0 else 10 * number
    yield record(
        number, **fields, attempt=1 + (number % 7 == 0), result=bytes([number]) * size,
        outputs='["a.fits"]' if number % 9 == 0 else None, metrics='{"seeing":0.5}',
    )  # fmt: skip


def fill(held, numbers):
    for number in numbers:
        held.append(list(attempts(number)))


def closed(folder):
    """A run that has ended."""
    held = opened(folder / "run.db")
    held.open_scatter(scatter(7, tasks=KEYS))
    held.add_ranks([(0, "node1", 11), (1, "node2", 12)])
    fill(held, range(KEYS))
    held.close("exit 1")


def with_log(folder):
    """A run that was killed; part of it is in the log."""
    closed_half(folder)
    child = os.fork()
    if child == 0:
        fill(opened(folder / "run.db"), range(KEYS // 2, KEYS))
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    (folder / "run.db-shm").unlink()
    (folder / "run.db.claim-2").unlink()


def with_journal(folder):
    """A run that was killed in the middle of a commit to a rollback journal."""
    closed(folder)
    with closing(sqlite3.connect(folder / "run.db", isolation_level=None)) as connection:
        connection.execute("PRAGMA cache_size = 2")
        connection.execute("BEGIN IMMEDIATE")
        connection.execute("UPDATE attempt SET message = 'never committed', state = 'failed'")
        connection.execute("INSERT INTO attempt SELECT id + 1000, " + REST + " FROM attempt")

        def undo():
            connection.execute("ROLLBACK")

        copy_aside(folder, undo)


REST = (
    "session, scatter, task, attempt, digest, data_id, state, rank, started, finished, cpu, "
    "peak_memory, error, message, traceback, stderr, metrics, outputs, result_file, "
    "result_check, row_check, result"
)


def closed_half(folder):
    held = opened(folder / "run.db")
    held.open_scatter(scatter(7, tasks=KEYS))
    held.add_ranks([(0, "node1", 11), (1, "node2", 12)])
    fill(held, range(KEYS // 2))
    held.close("exit 1")


def copy_aside(folder, end):
    """Keep the files as they are now, and put them back once whoever has them open is gone."""
    kept = {name: (folder / name).read_bytes() for name in os.listdir(folder)}
    end()
    for name, content in kept.items():
        if not name.endswith("-shm"):
            (folder / name).write_bytes(content)
            (folder / name).chmod(0o600)


@pytest.fixture(params=[closed, with_log, with_journal], ids=lambda made: made.__name__)
def whole(tmp_path, request):
    """The files of a run, by name."""
    folder = tmp_path / "whole"
    folder.mkdir(mode=0o700)
    request.param(folder)
    files = {name: (folder / name).read_bytes() for name in sorted(os.listdir(folder))}
    assert (
        set(files)
        == {
            closed: {"run.db"},
            with_log: {"run.db", "run.db-wal"},
            with_journal: {"run.db", "run.db-journal"},
        }[request.param]
    )
    return files


PAGE = 4096


def damages(files, rng):
    """Yield (what was done, files): every page of every file in several ways."""
    for name, content in files.items():
        for page in range(0, len(content), PAGE):
            some = rng.randrange(page, min(page + PAGE, len(content)))
            for what, altered in (
                ("one bit", flipped(content, some, rng)),
                ("some bytes", spoilt(content, some, rng.randbytes(rng.randrange(1, 9)))),
                ("a zero page", spoilt(content, page, bytes(PAGE))),
                ("a random page", spoilt(content, page, rng.randbytes(PAGE))),
                ("another's page", spoilt(content, page, content[-page - PAGE :][:PAGE])),
                ("truncated at it", content[:page]),
                ("truncated in it", content[:some]),
            ):
                yield f"{name} page {page // PAGE}: {what}", {**files, name: altered}


def flipped(content, at, rng):
    return spoilt(content, at, bytes([content[at] ^ 1 << rng.randrange(8)]))


def spoilt(content, at, by):
    return content[:at] + by[: len(content) - at] + content[at + len(by) :]


TRUTH = {key(number): list(attempts(number)) for number in range(KEYS)}


def resumed(path):
    """Open for writing, and look up each key; return how many are known."""
    held = opened(path, config=None)
    try:
        found = held.find(list(TRUTH))
        for digest, one in zip(TRUTH, found, strict=True):
            assert one is None or any(
                (one.attempts, one.state, one.result) == (true.attempt, true.state, true.result)
                for true in TRUTH[digest]
            ), "another than what was recorded"
        held.append([record(0, digest=key(KEYS)), record(1)])
        return sum(one is not None and one.state == "done" for one in found)
    finally:
        held.close("done")


def listed(path):
    """Read all records, each of which is to be as it was written."""
    for one in read_records(path, attempts="all"):
        true = TRUTH[key(one.data_id["ccd"])][one.attempt - 1]
        assert (one.state, one.message, one.stderr) == (true.state, true.message, true.stderr)
        assert (one.started, one.finished) == (true.started, true.finished)


def verb(*arguments):
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        assert main(list(arguments)) in {0, 2}


def laid_out(folder, files):
    """Put files into an empty folder; return the path of the database."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    for name, content in files.items():
        (folder / name).write_bytes(content)
        (folder / name).chmod(0o600)
    return str(folder / "run.db")


def tried(path, files):
    """Return how many keys are known, or None if the database is refused."""
    verb("status", path)
    verb("status", "--json", path)
    verb("failed", "--traceback", path)
    with contextlib.suppress(CheckpointError):
        listed(path)
    laid_out(Path(path).parent, files)  # what a reader has rolled back is damaged again
    try:
        return resumed(path)
    except CheckpointError:
        return None


def fuzz(whole, folder, seed):
    refused = known = 0
    rng = random.Random(seed)
    for what, files in damages(whole, rng):
        path = laid_out(folder, files)
        try:
            keys = tried(path, files)
        except BaseException as error:
            raise AssertionError(f"seed {seed}, {what}: {error!r}") from error
        refused += keys is None
        known += keys == KEYS
        if keys not in {None, KEYS}:
            # All of it, or a state which it had once: a log is cut where it is damaged.
            assert "-wal" in what or keys == 0, f"seed {seed}, {what}: {keys} keys are left"
    return refused, known


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_what_is_damaged_is_refused_or_read_as_it_was(whole, tmp_path):
    path = laid_out(tmp_path / "tried", whole)
    assert tried(path, whole) == KEYS
    for round in range(ROUNDS):
        refused, known = fuzz(whole, tmp_path / "tried", seed=round)
        assert refused > 10 * len(whole)
        assert known > 0
