"""Reading beside a run, after it, and without the right to write."""

import contextlib
import os
import shutil
import tempfile

import pytest

from checkpoint.run_builders import (
    BIG,
    child,
    contents,
    failure,
    holding,
    key,
    opened,
    query,
    record,
    scatter,
)
from mpipool.checkpoint import reading
from mpipool.checkpoint.reading import StageCount
from mpipool.checkpoint.utilisation import RankUse, utilisation
from mpipool.errors import CheckpointError


@pytest.fixture
def two_sessions(path):
    """CCD 0 done at once, 1 failed and then done, 2 failed twice; two items without a key."""
    held = opened(path)
    held.add_ranks([(0, "node1", 11), (1, "node2", 12)])
    held.open_scatter(scatter(BIG, stage="frame", opened=1000.0))
    held.append([
        record(0, scatter=BIG, digest=key(0), data_id='{"ccd":0}', metrics='{"seeing":0.5}'),
        failure(1, scatter=BIG, digest=key(1), data_id='{"ccd":1}'),
        failure(2, scatter=BIG, digest=key(2), data_id='{"ccd":2}', stderr="oops"),
    ])  # fmt: skip
    held.close_scatter(BIG, 1010.0)
    held.close("failed")
    held = opened(path)
    held.open_scatter(scatter(4, stage="frame", tasks=5, opened=2000.0))
    held.open_scatter(scatter(5, stage="", tasks=2, opened=2001.0, parent=4))
    held.append([
        record(0, scatter=4, digest=key(1), attempt=2, outputs='["one.fits"]'),
        failure(1, scatter=4, digest=key(2), attempt=2, data_id='{"ccd":2}', stderr="oops"),
        record(2, scatter=4, digest=key(3), state="lost"),
        failure(0, scatter=5, attempt=1),
        record(0, scatter=5, attempt=2),
        record(1, scatter=5),
    ])  # fmt: skip
    yield path
    held.disconnect()


def short(records):
    return [(r.session, r.stage, r.task, r.attempt, r.state) for r in records]


def test_the_latest_attempt_stands_for_its_key_and_the_others_can_be_had(two_sessions):
    assert short(reading.read_records(two_sessions)) == [
        (1, "frame", 0, 1, "done"),
        (2, "frame", 0, 2, "done"),
        (2, "frame", 1, 2, "failed"),
        (2, "frame", 2, 1, "lost"),
        (2, "", 0, 2, "done"),
        (2, "", 1, 1, "done"),
    ]
    every = list(reading.read_records(two_sessions, attempts="all"))
    assert len(every) == 9
    assert short(reading.read_records(two_sessions, state="failed", attempts="all")) == [
        (1, "frame", 1, 1, "failed"),
        (1, "frame", 2, 1, "failed"),
        (2, "frame", 1, 2, "failed"),
        (2, "", 0, 1, "failed"),
    ]


def test_records_are_chosen_by_stage_and_state(two_sessions):
    assert len(list(reading.read_records(two_sessions, stage="frame"))) == 4
    assert len(list(reading.read_records(two_sessions, stage=""))) == 2
    assert len(list(reading.read_records(two_sessions, stage="frame", state="done"))) == 2


def test_a_stored_record_holds_its_facts_as_values(two_sessions):
    first = next(iter(reading.read_records(two_sessions)))
    assert (first.scatter, first.rank, first.host) == (BIG, 1, "node2")
    assert (first.data_id, first.metrics, first.outputs) == ({"ccd": 0}, {"seeing": 0.5}, [])
    assert (first.started, first.finished, first.cpu) == (1000.0, 1002.0, 1.5)
    [last] = reading.read_records(two_sessions, state="failed")
    assert (last.error, last.message, last.stderr) == ("ValueError", "no stars", "oops")
    assert last.traceback.startswith("Traceback")
    assert last.peak_memory == 2048
    assert (last.metrics, last.host) == ({}, "")


def test_outputs_below_the_database_are_where_it_is_now(path, tmp_path):
    held = opened(path)
    held.append([record(0, outputs='["exposure/1-2.fits", "/elsewhere/b.fits"]'), record(1)])
    held.close("done")
    moved = tmp_path / "moved"
    moved.mkdir()
    shutil.move(path, moved / "run.db")
    outputs = [r.outputs for r in reading.read_records(moved / "run.db")]
    assert outputs == [[f"{moved}/exposure/1-2.fits", "/elsewhere/b.fits"], []]
    with contextlib.chdir(moved):
        assert [r.outputs for r in reading.read_records("run.db")] == outputs


def test_records_can_be_had_in_the_order_of_their_data_ids(path):
    held = opened(path)
    held.open_scatter(scatter(7, stage="frame", opened=1000.0))
    held.open_scatter(scatter(8, stage="coadd", opened=1001.0))
    given = [
        (8, '{"patch":"10,2","tract":0}'), (7, None), (7, '{"ccd":10,"visit":9}'),
        (8, '{"patch":"9,2","tract":0}'), (7, '{"ccd":9,"visit":100}'), (9, None),
        (7, '{"ccd":9,"visit":20.5}'), (7, "3"), (7, '"a"'), (8, "[10]"), (8, "[9]"),
        (7, f'"{"9" * 5000}"'), (7, "null"), (7, "0"),
    ]  # fmt: skip
    held.append(
        [
            record(task, scatter=number, digest=key(task), data_id=data_id)
            for task, (number, data_id) in enumerate(given)
        ]
    )
    held.close("done")
    found = [(r.stage, r.data_id) for r in reading.read_records(path, order="data_id")]
    assert found == [
        ("frame", None),
        ("frame", 0),
        ("frame", 3),
        ("frame", "9" * 5000),
        ("frame", "a"),
        ("frame", {"ccd": 9, "visit": 20.5}),
        ("frame", {"ccd": 9, "visit": 100}),
        ("frame", {"ccd": 10, "visit": 9}),
        ("frame", None),
        ("coadd", [9]),
        ("coadd", [10]),
        ("coadd", {"patch": "9,2", "tract": 0}),
        ("coadd", {"patch": "10,2", "tract": 0}),
        ("", None),
    ]


def test_pages_of_records_keep_the_order_of_data_ids(path):
    held = opened(path)
    numbers = list(reversed(range(1234)))
    held.append([record(n, digest=key(n), data_id=f'{{"ccd":{n}}}') for n in numbers])
    held.close("done")
    found = reading.read_records(path, order="data_id")
    assert [r.data_id["ccd"] for r in found] == sorted(numbers)


def test_more_records_than_one_page_come_in_order(path):
    held = opened(path)
    held.append([record(number) for number in range(1234)])
    held.close("done")
    assert [r.task for r in reading.read_records(path)] == list(range(1234))


def test_tasks_are_counted_once_by_their_latest_attempt(two_sessions):
    # Of the open scatter's five, two have finished; the lost one is still to be done.
    assert reading.counts(two_sessions) == [
        StageCount(stage="frame", done=2, failed=1, unfinished=3),
        StageCount(stage="", done=2, failed=0, unfinished=0),
    ]
    assert reading.counts(two_sessions)[0].total == 6


def test_scatters_of_earlier_sessions_are_not_waited_for(two_sessions):
    query(two_sessions, "UPDATE scatter SET closed = NULL, tasks = 50 WHERE session = 1")
    assert reading.counts(two_sessions)[0].unfinished == 3


def test_what_an_abandoned_scatter_left_is_not_done(path):
    held = opened(path)
    held.open_scatter(scatter(7, tasks=100))
    held.append([record(number) for number in range(36)])
    held.close_scatter(7, 1100.0)
    held.close("exit 130")
    [stage] = reading.counts(path)
    assert (stage.done, stage.unfinished, stage.total) == (36, 64, 100)


@pytest.mark.parametrize(("outer", "unfinished"), [(1, 4), (2, 0)], ids=["open", "ended"])
def test_what_a_tasks_own_scatter_left_counts_while_its_scatter_is_not_through(
    path, outer, unfinished
):
    held = opened(path)
    held.open_scatter(scatter(7, stage="tract", tasks=2))
    held.open_scatter(scatter(8, stage="warp", tasks=5, parent=7))
    held.append([record(0, scatter=8), *[record(number) for number in range(outer)]])
    held.close_scatter(8, 1100.0)
    assert reading.counts(path)[1] == StageCount(
        stage="warp", done=1, failed=0, unfinished=unfinished
    )
    held.close("done")


def test_sessions_and_the_holder_are_read(two_sessions):
    first, second = reading.sessions(two_sessions)
    assert (first.token, first.state, first.ranks) == (1, "failed", 2)
    assert (second.token, second.state, second.ended) == (2, "running", None)
    assert second.command == "singleFrameDriver REPO"
    holder = reading.holder(two_sessions)
    assert (holder.token, holder.pid, holder.liveness()) == (2, os.getpid(), "live")


def test_a_killed_runs_records_are_read_and_its_holder_is_dead(path):
    first = holding(path)
    assert reading.holder(path).liveness() == "live"
    first.kill()
    first.wait()
    assert reading.holder(path).liveness() == "dead"
    opened(path).close("done")
    assert reading.holder(path) is None


def test_a_rank_is_busy_while_a_task_of_it_works_and_does_not_wait(path):
    held = opened(path, ranks=4)
    held.add_ranks([(1, "node1", 11)])
    held.open_scatter(scatter(1, leader=0, opened=0.0))  # the script's: no task waits for it
    # The task on rank 1 waits from 2 to 8 for a scatter of its own, of which one item ran there
    # (3 to 5) and two on rank 2, at the same time.
    held.open_scatter(scatter(2, parent=1, leader=1, opened=2.0))
    held.close_scatter(2, 8.0)
    held.append([
        record(1, scatter=1, rank=0, started=1.0, finished=5.0, cpu=4.0),
        record(0, scatter=1, rank=1, started=0.0, finished=10.0, cpu=3.0),
        record(0, scatter=2, rank=1, started=3.0, finished=5.0, cpu=1.0),
        record(1, scatter=2, rank=2, started=2.0, finished=4.0, cpu=1.0),
        record(2, scatter=2, rank=2, started=3.0, finished=8.0, cpu=1.0),
    ])  # fmt: skip
    held.close_scatter(1, 10.0)
    held.close("done")
    expected = [
        RankUse(rank=0, host="", tasks=1, busy=4.0, cpu=4.0),
        RankUse(rank=1, host="node1", tasks=2, busy=6.0, cpu=4.0),
        RankUse(rank=2, host="", tasks=2, busy=6.0, cpu=2.0),
        RankUse(rank=3, host="", tasks=0, busy=0.0, cpu=0.0),
    ]
    assert utilisation(path) == expected
    opened(path, ranks=1).close("done")
    assert utilisation(path, session=1) == expected
    assert utilisation(path) == [RankUse(rank=0, host="", tasks=0, busy=0.0, cpu=0.0)]


def test_a_rank_is_busy_only_in_the_period_that_is_asked_for(path):
    held = opened(path, ranks=1)
    held.append([record(0, rank=0, started=0.0, finished=10.0)])
    held.append([record(1, rank=0, started=20.0, finished=30.0)])
    held.close("done")
    for period, busy in [((0.0, 30.0), 20.0), ((5.0, 22.0), 7.0), ((40.0, 50.0), 0.0)]:
        assert utilisation(path, period=period)[0].busy == busy


WRITE = """
import time
import mpipool.checkpoint.connection as connection
connection.shared_memory_works = lambda path: sys.argv[2] == "log"
held, number = opened(sys.argv[1]), 0
held.open_scatter(scatter(7, tasks=10**6))
while True:
    held.append([record(number, digest=key(number)), failure(number + 1)])
    number += 2
    time.sleep(0.01)
    if number == 20:
        print("written", flush=True)
"""


@pytest.mark.parametrize("journal", ["log", "rollback"])
def test_a_reader_sees_whole_commits_while_a_writer_goes_on(path, journal):
    writer = child(WRITE, path, journal)
    writer.stdout.readline()
    seen = 0
    for _ in range(5):
        [stage] = reading.counts(path)
        assert stage.done == stage.failed >= max(seen, 10)
        seen = stage.done
        assert len(list(reading.read_records(path, state="done"))) >= seen
    # A reader who stops to think does not hold the writer up.
    thinking = reading.read_records(path, attempts="all")
    next(thinking)
    while reading.counts(path)[0].done == seen:
        pass
    thinking.close()
    assert writer.poll() is None
    writer.kill()
    writer.wait()


def test_reading_changes_nothing(path):
    held = opened(path)
    held.append([record(0)])
    held.close("done")
    before = contents(path)
    list(reading.read_records(path))
    assert contents(path) == before


@pytest.fixture
def readonly():
    """A folder into which the reader may not write; and how to become that reader."""
    folder = tempfile.mkdtemp()
    os.chmod(folder, 0o755)
    yield folder
    os.chmod(folder, 0o755)
    shutil.rmtree(folder)


NOBODY = 65534


def read_as_another(folder, path):
    """Read as somebody who may read the file, and not write to its folder; say what came of it."""
    os.chmod(folder, 0o555)
    receiver, sender = os.pipe()
    child = os.fork()  # not a new process: it might not be allowed to read the interpreter
    if not child:
        if os.geteuid() == 0:
            for name in os.listdir(folder):
                os.chown(os.path.join(folder, name), NOBODY, -1)
            os.setuid(NOBODY)
        try:
            said = str(len(list(reading.read_records(path))))
        except Exception as error:
            said = f"{type(error).__name__}: {error}"
        os.write(sender, said.encode())
        os._exit(0)
    os.waitpid(child, 0)
    os.close(sender)
    with open(receiver) as file:
        return file.read()


def test_a_database_is_read_in_a_folder_that_is_not_writable(readonly):
    path = f"{readonly}/run.db"
    held = opened(path)
    held.append([record(0), record(1)])
    held.close("done")
    assert read_as_another(readonly, path) == "2"
    os.chmod(readonly, 0o755)
    query(path, "PRAGMA journal_mode = WAL")  # no log is there, and none can be made
    assert not os.path.exists(f"{path}-wal")
    assert read_as_another(readonly, path) == "2"


KILLED = """
held = opened(sys.argv[1])
held.append([record(0), record(1), record(2)])
os.kill(os.getpid(), 9)
"""


def test_a_killed_runs_log_is_read_in_a_folder_that_is_not_writable(readonly):
    path = f"{readonly}/run.db"
    child(KILLED, path).wait()
    assert os.path.getsize(f"{path}-wal")
    assert read_as_another(readonly, path) == "3"


HALF = """
import mpipool.checkpoint.connection as connection
connection.shared_memory_works = lambda path: False
held = opened(sys.argv[1])
held.append([record(number, result=b"r" * 3000) for number in range(100)])
held._connection.execute("PRAGMA cache_size = 2")
held._connection.execute("BEGIN IMMEDIATE")
held._connection.execute("UPDATE attempt SET result = zeroblob(4000), rank = 99")
os.kill(os.getpid(), 9)
"""


def test_a_commit_that_was_killed_half_way_is_not_read(path):
    child(HALF, path).wait()
    assert os.path.getsize(f"{path}-journal")
    assert {r.rank for r in reading.read_records(path)} == {1}


def test_a_commit_that_was_killed_half_way_is_a_sentence_to_who_may_not_undo_it(readonly):
    path = f"{readonly}/run.db"
    child(HALF, path).wait()
    os.chmod(readonly, 0o755)
    assert read_as_another(readonly, path).startswith("CheckpointError: ")


def test_what_can_not_be_read_is_a_sentence(tmp_path, path):
    for bad, said in [
        (path, "no such file"),
        (tmp_path, "not a file"),
    ]:
        with pytest.raises(CheckpointError, match=said):
            list(reading.read_records(bad))
    with open(path, "w") as file:
        file.write("text " * 1000)
    with pytest.raises(CheckpointError, match="not a run database"):
        reading.counts(path)
    os.truncate(path, 0)
    with pytest.raises(CheckpointError, match="nothing was recorded"):
        reading.counts(path)


def test_a_newer_database_is_not_guessed_at(path):
    opened(path).close("done")
    query(path, "UPDATE meta SET value = '4' WHERE key = 'schema_version'")
    with pytest.raises(CheckpointError, match="newer mpipool"):
        reading.sessions(path)
