"""Runs with a checkpoint: what is done stays done, in the next run too."""

import sqlite3
import time

import pytest

import mpipool
from mpipool import Pool


def run(folder, *, stop_at=None, retries=0, version="", config=None, count=12):
    """Square numbers, each with an output; log what is run. Negative ones fail."""
    from pathlib import Path

    def work(x):
        with open(Path(folder, "log"), "a") as log:
            log.write(f"{x}\n")
        if x == stop_at:
            raise ValueError(f"stopped at {x}")
        with mpipool.output(Path(folder, f"{x}.txt")) as part:
            part.write_text(str(x * x))
        mpipool.record(square=x * x, name=f"n{x}")
        return x * x

    numbers = []
    with Pool(checkpoint=Path(folder, "run.db"), config=config) as pool:
        results = pool.map(
            work,
            range(count),
            stage="square",
            key=lambda x: {"x": x},
            version=version,
            retries=retries,
            errors="return",
            progress=lambda *n: numbers.append(n),
        )
        summary = pool.last_map
    assert numbers[-1] == (count - summary.failed, summary.failed, count)
    shown = [value if isinstance(value, int) else repr(value) for value in results]
    return shown, summary.reused, summary.done, summary.failed


def ran(folder):
    """Which items were run since the last call."""
    log = folder / "log"
    items = sorted(map(int, log.read_text().split())) if log.exists() else []
    log.unlink(missing_ok=True)
    return items


SQUARES = [x * x for x in range(12)]


def session(new_world, folder, **arguments):
    world = new_world()
    result = world(lambda path: run(path, **arguments), str(folder))
    assert world.close() == 0
    return result


def test_what_is_done_is_not_run_again(new_world, tmp_path):
    assert session(new_world, tmp_path) == (SQUARES, 0, 12, 0)
    assert ran(tmp_path) == list(range(12))
    assert session(new_world, tmp_path) == (SQUARES, 12, 0, 0)
    assert ran(tmp_path) == []


def test_a_deleted_output_is_made_again(new_world, tmp_path):
    session(new_world, tmp_path)
    ran(tmp_path)
    (tmp_path / "7.txt").unlink()
    assert session(new_world, tmp_path) == (SQUARES, 11, 1, 0)
    assert ran(tmp_path) == [7]
    assert (tmp_path / "7.txt").read_text() == "49"
    assert session(new_world, tmp_path) == (SQUARES, 12, 0, 0)


def test_what_failed_is_run_again(new_world, tmp_path):
    results, *numbers = session(new_world, tmp_path, stop_at=4)
    assert results[4] == "ValueError('stopped at 4')"
    assert numbers == [0, 11, 1]
    (failed,) = mpipool.read_records(tmp_path / "run.db", state="failed")
    assert (failed.stage, failed.data_id, failed.error) == ("square", {"x": 4}, "ValueError")
    assert "stopped at 4" in failed.traceback
    ran(tmp_path)
    assert session(new_world, tmp_path) == (SQUARES, 11, 1, 0)
    assert ran(tmp_path) == [4]
    attempts = {r.data_id["x"]: r.attempt for r in mpipool.read_records(tmp_path / "run.db")}
    assert attempts == {x: 2 if x == 4 else 1 for x in range(12)}


def test_costs_are_those_of_all_items_also_when_some_are_done(new_world, tmp_path):
    def begun(folder, stop):
        """Let one rank run four tasks, of which the last is the costliest; log their order."""
        from pathlib import Path

        def work(x):
            with open(Path(folder, "log"), "a") as log:
                log.write(f"{x}\n")
            if x >= stop:
                raise ValueError

        with Pool(checkpoint=Path(folder, "run.db")) as pool:
            cost, key = [1.0, 3.0, 2.0, 4.0], lambda x: {"x": x}
            pool.map(work, range(4), stage="s", key=key, cost=cost, errors="return")
        return Path(folder, "log").read_text().split()

    logs = []
    for stop in (1, 9):
        world = new_world(1)
        logs.append(world(begun, str(tmp_path), stop))
        assert world.close() == 0
    assert logs[1] == ["3", "1", "2", "0", "3", "1", "2"]


def test_each_attempt_is_recorded(new_world, tmp_path):
    session(new_world, tmp_path, stop_at=4, retries=2)
    assert ran(tmp_path).count(4) == 3
    records = mpipool.read_records(tmp_path / "run.db", attempts="all")
    assert sorted(r.attempt for r in records if r.state == "failed") == [1, 2, 3]


def test_another_version_is_another_task(new_world, tmp_path):
    session(new_world, tmp_path)
    ran(tmp_path)
    assert session(new_world, tmp_path, version="2") == (SQUARES, 0, 12, 0)
    assert ran(tmp_path) == list(range(12))


def test_metrics_and_outputs_stand_in_the_record(new_world, tmp_path):
    session(new_world, tmp_path)
    for record in mpipool.read_records(tmp_path / "run.db"):
        x = record.data_id["x"]
        assert record.metrics == {"square": x * x, "name": f"n{x}"}
        assert record.outputs == [str(tmp_path / f"{x}.txt")]
        assert record.state == "done"


def test_a_crash_is_recorded_with_its_data_id_signal_and_last_words(new_world, tmp_path):
    def script(folder):
        import os
        import signal
        import sys

        def work(x):
            print("last words of", x, file=sys.stderr)
            if x == 1:
                os.kill(os.getpid(), signal.SIGSEGV)

        with Pool(checkpoint=f"{folder}/run.db") as pool:
            pool.map(work, range(3), stage="s", key=lambda x: [x], errors="return")

    new_world()(script, str(tmp_path))
    (failed,) = mpipool.read_records(tmp_path / "run.db", state="failed")
    assert failed.data_id == [1]
    assert "SIGSEGV" in failed.message
    assert "last words of 1" in failed.stderr


def test_large_results_come_back_from_the_checkpoint(new_world, tmp_path):
    def script(folder):
        def work(x):
            with open(f"{folder}/log", "a") as log:
                log.write(f"{x}\n")
            return bytes([x]) * (300_000 + x)

        with Pool(checkpoint=f"{folder}/run.db") as pool:
            results = pool.map(work, range(5), stage="large", key=lambda x: x)
        assert results == [bytes([x]) * (300_000 + x) for x in range(5)]

    for expected in (list(range(5)), []):
        world = new_world()
        world(script, str(tmp_path))
        assert world.close() == 0
        assert ran(tmp_path) == expected


def test_nested_scatters_are_recorded_and_resumed_with_their_task(new_world, tmp_path):
    def script(folder):
        def lead(x):
            return sum(Pool().scatterGather(abs, range(x)))

        with Pool(checkpoint=f"{folder}/run.db") as pool:
            return pool.map(lead, range(5), stage="lead", key=lambda x: x)

    for _ in range(2):
        world = new_world()
        assert world(script, str(tmp_path)) == [0, 0, 1, 3, 6]
        assert world.close() == 0
    with sqlite3.connect(tmp_path / "run.db") as connection:
        rows = "SELECT session, count(*) FROM attempt GROUP BY session"
        assert connection.execute(rows).fetchall() == [(1, 5 + 10)]


def test_the_same_data_id_twice_is_an_error_and_nothing_is_run(new_world, tmp_path):
    def script(folder):
        with Pool(checkpoint=f"{folder}/run.db") as pool:
            try:
                pool.map(abs, [1, 2, 1], stage="s", key=lambda x: {"x": x})
            except mpipool.UsageError as error:
                return str(error)

    message = new_world()(script, str(tmp_path))
    assert message == 'items 0 and 2 of s have the same data ID {"x":1}'
    assert not list(mpipool.read_records(tmp_path / "run.db"))


def test_another_configuration_is_refused_and_named(new_world, tmp_path):
    def script(folder, depth):
        try:
            with Pool(checkpoint=f"{folder}/run.db", config={"depth": depth, "k": 1}) as pool:
                return pool.map(abs, [-1])
        except mpipool.CheckpointMismatch as error:
            # The pool itself is usable.
            return str(error), Pool().map(abs, [-2])

    world = new_world()
    assert world(script, str(tmp_path), 5) == [1]
    assert world.close() == 0
    before = (tmp_path / "run.db").read_bytes()
    message, after = new_world()(script, str(tmp_path), 6)
    assert "depth: 5 → 6" in message
    assert after == [2]
    assert (tmp_path / "run.db").read_bytes() == before


def test_only_the_script_attaches_a_checkpoint(world, tmp_path):
    def script(folder):
        def attach(_):
            Pool(checkpoint=f"{folder}/run.db")

        (error,) = Pool().map(attach, [0], errors="return")
        return type(error).__name__, str(error)

    name, message = world(script, str(tmp_path))
    assert name == "UsageError"
    assert "only the script" in message
    assert not (tmp_path / "run.db").exists()


@pytest.mark.long  # it waits for 10 s
def test_a_second_run_beside_a_live_one_waits_then_refuses_and_writes_nothing(new_world, tmp_path):
    def hold(folder):
        import time

        with Pool(checkpoint=f"{folder}/run.db") as pool:
            return pool.map(time.sleep, [12, 0.01], stage="s", key=lambda x: x)

    def attach(folder):
        try:
            Pool(checkpoint=f"{folder}/run.db").map(print, [1], stage="s", key=lambda x: x)
        except mpipool.CheckpointLocked as error:
            return str(error)

    import socket

    first, second = new_world(), new_world()
    first.begin(hold, str(tmp_path))
    deadline = time.monotonic() + 30
    while not _holder(tmp_path / "run.db"):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    holder = _holder(tmp_path / "run.db")
    began = time.monotonic()
    message = second(attach, str(tmp_path))
    assert time.monotonic() - began > 5, "it did not wait"
    assert f"pid {holder}" in message
    assert socket.gethostname() in message
    assert first.result() == [None, None]
    assert first.close() == 0
    with sqlite3.connect(tmp_path / "run.db") as connection:
        assert connection.execute("SELECT count(*) FROM session").fetchone() == (1,)
        states = connection.execute("SELECT state, count(*) FROM attempt GROUP BY state")
        assert states.fetchall() == [("done", 2)]


def test_a_run_that_was_killed_is_resumed_at_once(new_world, tmp_path):
    def slow(folder):
        import time
        from pathlib import Path

        def work(x):
            with open(Path(folder, "log"), "a") as log:
                log.write(f"{x}\n")
            time.sleep(0.1)
            return x

        with Pool(checkpoint=Path(folder, "run.db")) as pool:
            return pool.map(work, range(12), stage="s", key=lambda x: x), pool.last_map.reused

    world = new_world()
    world.begin(slow, str(tmp_path))
    deadline = time.monotonic() + 30
    while _done(tmp_path / "run.db") < 4:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    world.kill()
    first = ran(tmp_path)
    results, reused = new_world()(slow, str(tmp_path))
    assert results == list(range(12))
    assert 4 <= reused < 12
    again = set(first) & set(ran(tmp_path))
    assert len(again) <= 2 + 2, "more than what was in flight, or on its way to the disk"
    assert _done(tmp_path / "run.db") == 12


def _done(database):
    return _one(database, "SELECT count(*) FROM attempt WHERE state = 'done'") or 0


def _holder(database):
    return _one(database, "SELECT pid FROM lock")


def _one(database, query):
    if not database.exists():
        return None
    try:
        connection = sqlite3.connect(f"file:{database}?mode=ro", uri=True)
        row = connection.execute(query).fetchone()
        connection.close()
    except sqlite3.OperationalError:
        return None
    return row[0] if row else None
