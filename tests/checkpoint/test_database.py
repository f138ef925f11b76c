"""What is appended, and what is found again."""

import os
import sqlite3
import stat
import time
from contextlib import closing

import pytest

from checkpoint.run_builders import BIG, child, failure, key, opened, query, record, scatter
from mpipool.checkpoint.database import Found
from mpipool.checkpoint.reading import read_records
from mpipool.checkpoint.rows import COLUMNS
from mpipool.errors import CheckpointError


def rows(path):
    return query(path, "SELECT id, session, task, attempt, state FROM attempt ORDER BY id")


def test_a_new_database_is_for_its_user_alone(path):
    before = os.umask(0)
    try:
        opened(path).close("done")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(path).st_mode) == 0o600


def test_every_field_of_a_record_stands_in_its_column(path):
    given = record(
        3, scatter=BIG, attempt=2, digest=key(3), data_id='{"ccd":3}', rank=5, started=1.5,
        finished=2.5, cpu=0.25, peak_memory=77, error="e", message="m", traceback="t", stderr="s",
        metrics='{"seeing":0.6}', outputs='["a.fits"]', result=b"\x00r", result_file="n:1:h",
    )  # fmt: skip
    held = opened(path)
    held.append([given])
    held.close("done")
    assert query(path, f"SELECT session, {', '.join(given._fields)} FROM attempt") == [(1, *given)]


def test_what_was_appended_is_found_in_the_same_and_in_the_next_session(path):
    held = opened(path)
    held.append([record(0, digest=key(0), result=b"zero"), record(1, result=b"unkeyed")])
    held.append([record(2, digest=key(2), result_file="n:1:h", outputs='["a", "b"]')])
    expected = [
        Found(1, "done", None, "n:1:h", ["a", "b"], None, 2048, 2.0),
        None,
        Found(1, "done", b"zero", None, [], None, 2048, 2.0),
    ]
    wanted = [key(2), key(1), key(0)]
    assert held.find(wanted) == expected
    held.close("done")
    again = opened(path)
    assert again.find(wanted) == expected
    again.close("done")


def test_attempts_count_on_and_the_last_one_is_found(path):
    for number, state in enumerate(["failed", "lost", "done"], start=1):
        held = opened(path)
        assert held.token == number
        held.append([record(0, digest=key(0), attempt=number, state=state, result=b"%d" % number)])
        assert held.find([key(0)]) == [
            Found(number, state, b"%d" % number, None, [], None, 2048, 2.0)
        ]
        held.close("done")
    assert rows(path) == [(1, 1, 0, 1, "failed"), (2, 2, 0, 2, "lost"), (3, 3, 0, 3, "done")]


def test_an_attempt_that_comes_late_does_not_make_a_number_free(path):
    held = opened(path)
    held.append([failure(0, digest=key(0), attempt=2), failure(0, digest=key(0), attempt=1)])
    assert held.find([key(0)])[0].attempts == 2
    held.close("done")


def test_nothing_is_recorded_of_a_key_that_is_done(path, caplog):
    caplog.set_level("INFO", "mpipool.checkpoint")
    held = opened(path)
    first = record(0, digest=key(0), result=b"first", data_id='{"ccd":0}')
    late = first._replace(attempt=2, result=b"second")
    held.append([first, late])  # in one batch
    held.append([late])  # in the same session
    held.append([failure(0, digest=key(0), attempt=3)])
    held.close("done")
    again = opened(path)
    again.append([late, record(1, digest=key(1))])  # in the next, and the others are not dropped
    assert [found.result for found in again.find([key(0)])] == [b"first"]
    again.close("done")
    assert rows(path) == [(1, 1, 0, 1, "done"), (2, 2, 1, 1, "done")]
    assert sum("done already" in message for message in caplog.messages) == 4


def test_tasks_without_key_are_recorded_as_often_as_they_come(path):
    held = opened(path)
    held.append([record(0), record(0)])
    held.close("done")
    assert len(rows(path)) == 2


def test_a_reopened_key_is_done_once_more_and_the_newest_is_found(path):
    held = opened(path)
    held.append([record(0, digest=key(0), result=b"old"), record(1, digest=key(1))])
    held.reopen([key(0)])
    new = record(0, digest=key(0), attempt=2, result=b"new")
    held.append([new, new._replace(attempt=3, result=b"newest")])
    held.append([new._replace(attempt=4)])
    held.append([record(1, digest=key(1), attempt=2)])  # that one was not reopened
    assert held.find([key(0)]) == [Found(2, "done", b"new", None, [], None, 2048, 2.0)]
    held.close("done")
    assert [row[2:] for row in rows(path)] == [(0, 1, "done"), (1, 1, "done"), (0, 2, "done")]


def test_a_reopened_key_which_fails_is_no_longer_done(path):
    held = opened(path)
    held.append([record(0, digest=key(0))])
    held.reopen([key(0)])
    held.append([failure(0, digest=key(0), attempt=2)])
    held.close("done")
    again = opened(path)
    assert again.find([key(0)])[0].state == "failed"
    again.append([record(0, digest=key(0), attempt=3)])
    assert again.find([key(0)]) == [Found(3, "done", None, None, [], None, 2048, 2.0)]
    again.close("done")


def test_a_transaction_that_failed_leaves_nothing_and_can_be_made_again(path):
    held = opened(path)
    held.append([record(9)])
    batch = [record(0, digest=key(0)), record(1, digest=key(1))]
    with pytest.raises(sqlite3.Error):
        held.append([*batch, record(2, state="nonsense")])
    assert held.find([key(0)]) == [None]
    assert len(rows(path)) == 1
    held.append(batch)
    assert all(held.find([key(0), key(1)]))
    held.close("done")
    assert [row[0] for row in rows(path)] == [1, 2, 3]


def test_a_reopened_key_stays_so_when_the_commit_failed(path):
    held = opened(path)
    held.append([record(0, digest=key(0))])
    held.reopen([key(0)])
    again = record(0, digest=key(0), attempt=2)
    with pytest.raises(sqlite3.Error):
        held.append([again, record(1, state="nonsense")])
    held.append([again])
    assert held.find([key(0)])[0].attempts == 2
    held.close("done")


def test_nested_transactions_are_one(path):
    held = opened(path)
    with pytest.raises(sqlite3.IntegrityError), held.transaction():  # noqa: PT012 - all of it
        held.open_scatter(scatter())
        held.append([record(0, digest=key(0))])
        held.append([record(1, state="nonsense")])
    assert held.find([key(0)]) == [None]
    assert rows(path) == query(path, "SELECT * FROM scatter") == []
    held.close("done")


def test_scatters_ranks_and_heartbeats_are_recorded(path):
    held = opened(path)
    held.open_scatter(scatter(BIG, parent=BIG - 1, tasks=3))
    held.open_scatter(scatter(BIG, parent=BIG - 1, tasks=9))  # more items have come in
    held.open_scatter(scatter(8))
    held.close_scatter(BIG, 1234.5)
    held.add_ranks([(0, "node1", 11), (1, "node2", 12)])
    held.heartbeat(4321.0)
    assert query(path, "SELECT heartbeat FROM lock") == [(4321.0,)]
    held.close("drained")
    assert query(path, "SELECT * FROM scatter ORDER BY id DESC") == [
        (1, BIG, BIG - 1, "frame", 9, 0, 1000.0, 1234.5),
        (1, 8, None, "frame", 3, 0, 1000.0, None),
    ]
    assert query(path, "SELECT * FROM rank") == [(1, 0, "node1", 11), (1, 1, "node2", 12)]
    assert query(path, "SELECT count(*) FROM lock") == [(0,)]
    [(state, ended)] = query(path, "SELECT state, ended FROM session")
    assert state == "drained"
    assert ended


@pytest.mark.parametrize(("shared", "mode", "level"), [(True, "wal", 3), (False, "delete", 3)])
def test_the_journal_suits_the_file_system(path, monkeypatch, shared, mode, level):
    monkeypatch.setattr("mpipool.checkpoint.connection.shared_memory_works", lambda path: shared)
    opened(path).close("done")
    held = opened(path)
    held.append([record(0, digest=key(0))])
    assert held._connection.execute("PRAGMA journal_mode").fetchone() == (mode,)
    assert held._connection.execute("PRAGMA synchronous").fetchone() == (level,)
    held.close("done")
    assert len(rows(path)) == 1


def test_a_log_that_came_along_from_a_local_folder_is_ended(path, monkeypatch):
    child("opened(sys.argv[1]).append([record(0)])\nos.kill(os.getpid(), 9)", path).wait()
    assert os.path.exists(f"{path}-wal")
    monkeypatch.setattr("mpipool.checkpoint.connection.shared_memory_works", lambda path: False)
    held = opened(path)
    assert held._connection.execute("PRAGMA journal_mode").fetchone() == ("delete",)
    assert not os.path.exists(f"{path}-wal")
    held.close("done")
    assert len(rows(path)) == 1


def test_a_database_that_was_closed_is_one_plain_file(path, tmp_path):
    held = opened(path)
    held.append([record(0)])
    held.close("done")
    assert os.listdir(tmp_path) == ["run.db"]
    with open(path, "rb") as file:
        assert file.read(20)[18:] == b"\x01\x01"  # the header's versions: 2 would be a log


def test_closing_does_not_wait_for_a_reader(path):
    held = opened(path)
    held.append([record(0)])
    with closing(sqlite3.connect(path, isolation_level=None)) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT * FROM attempt").fetchall()
        since = time.monotonic()
        held.close("done")
        assert time.monotonic() - since < 2
    assert query(path, "SELECT state FROM session") == [("done",)]


def test_text_that_is_no_utf_8_is_recorded_as_such(path):
    """A message with the name of a file may have it; it must not end the recorder."""
    held = opened(path, command="run caf\udce9", config={"name": "caf\udce9"})
    held.open_scatter(scatter(stage="caf\udce9"))
    said = {"message": "no caf\udce9.fits", "stderr": "ünï\0\udc80", "error": "E\ud800"}
    held.append([failure(0, digest=key(0), **said)])
    assert held.find([key(0)])[0].state == "failed"
    held.close("done")
    columns = "message, stderr, error"
    assert query(path, f"SELECT {columns} FROM attempt") == [
        ("no caf\\udce9.fits", "ünï\0\\udc80", "E\\ud800")
    ]
    opened(path, config={"name": "caf\udce9"}).close("done")


@pytest.mark.parametrize(
    ("column", "value"),
    [("state", "done"), ("result", b"another"), ("outputs", None), ("finished", 7.5),
     ("digest", key(9)), ("row_check", 12345678), ("attempt", 2), ("cpu", "text")],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_a_row_that_was_altered_is_refused_when_it_is_used_and_when_a_run_begins(
    path, column, value
):
    held = opened(path)
    held.append([failure(0, digest=key(0), result=b"r", outputs='["a"]'), record(1, digest=key(1))])
    query(path, f"UPDATE attempt SET {column} = ? WHERE id = 1", value)
    with pytest.raises(CheckpointError, match=r"row 1 of table attempt is not what was written"):
        held.find([key(0)])
    assert held.find([key(1)])[0].state == "done"
    held.close("done")
    if column == "result":  # these are looked at when they are used
        held = opened(path)
        with pytest.raises(CheckpointError, match="damaged"):
            held.find([key(0)])
        held.close("done")
        return
    with pytest.raises(CheckpointError, match="damaged"):
        opened(path)
    with pytest.raises(CheckpointError, match="damaged"):
        list(read_records(path, attempts="all"))


def test_the_table_has_the_columns_which_are_written(path):
    opened(path).close("done")
    assert [row[1] for row in query(path, "PRAGMA table_info(attempt)")] == list(COLUMNS)


def test_the_folder_of_an_output_is_synced_before_it_stands_that_it_is_there(
    path, tmp_path, monkeypatch
):
    held, synced = opened(path), []
    monkeypatch.setattr("mpipool.checkpoint.database.sync_folder", synced.append)
    held._connection.set_trace_callback(
        lambda statement: synced.append(statement) if statement == "COMMIT" else None
    )
    outputs = ['["calexp/one.fits", "calexp/two.fits"]', '["/elsewhere/three.fits"]']
    held.append([record(number, outputs=output) for number, output in enumerate(outputs)])
    # The folder is new, so its name in the one above is synced too.
    assert sorted(synced[:-1]) == sorted([str(tmp_path / "calexp"), str(tmp_path), "/elsewhere"])
    assert synced[-1] == "COMMIT"
    synced.clear()
    held.append([record(2, outputs='["calexp/four.fits"]')])
    assert synced == [str(tmp_path / "calexp"), "COMMIT"]
    held._connection.set_trace_callback(None)
    held.close("done")


def test_a_folder_of_outputs_that_is_gone_is_no_error(path, tmp_path):
    held = opened(path)
    held.append([record(0, outputs='["gone/one.fits"]')])
    held.close("done")
