"""Databases of older versions: read as they are, and rewritten, with a copy, when a run begins."""

import json
import os
import sqlite3
import stat
from contextlib import closing
from pathlib import Path

import pytest

from checkpoint.run_builders import CONFIG, contents, key, opened, query, record
from mpipool.checkpoint import configuration
from mpipool.checkpoint.database import Found
from mpipool.checkpoint.reading import counts, read_records
from mpipool.cli import main
from mpipool.errors import CheckpointError

FIRST = Path(__file__).with_name("schema-1.sql")
ROWS = 300


def row(number):
    """A row as the first version wrote it: its columns are those of a record, in their order."""
    made = record(
        number, digest=key(number), data_id=json.dumps({"ccd": number}), result=b"r" * number,
        outputs='["a.fits"]' if number == 3 else None,
    )  # fmt: skip
    return (number + 1, 1, *made)


@pytest.fixture(params=["closed", "killed with a log"])
def old(path, request):
    """A database of schema 1, as its mpipool left it."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.executescript(FIRST.read_text())
        connection.execute("PRAGMA application_id = 0x6D706970")
        meta = {
            "schema_version": "1", "created": "1.0", "config": configuration.canonical(CONFIG),
        }  # fmt: skip
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute(
            "INSERT INTO session VALUES (1, 1.0, 2.0, 'node1', 11, 2, 'run', 'exit 1')"
        )
        connection.execute("INSERT INTO rank VALUES (1, 1, 'node1', 12)")
        connection.execute(
            "INSERT INTO scatter VALUES (1, 7, NULL, 'frame', ?, 0, 1.0, 2.0)", (ROWS,)
        )
        if request.param != "closed":
            connection.execute("PRAGMA journal_mode = WAL")
        marks = ", ".join("?" * len(row(0)))
        connection.executemany(f"INSERT INTO attempt VALUES ({marks})", map(row, range(ROWS)))
        if request.param != "closed":
            with open(path, "rb") as file, open(f"{path}-wal", "rb") as log:
                kept = {path: file.read(), f"{path}-wal": log.read()}
    if request.param != "closed":
        for name, content in kept.items():
            Path(name).write_bytes(content)
    os.chmod(path, 0o600)
    return path


def dump(path, *tables):
    return {table: query(path, f"SELECT * FROM {table}") for table in tables}


KEPT = ("session", "rank", "scatter")


def test_an_older_database_is_read_as_it_is(old, capsys):
    before = contents(old)
    records = list(read_records(old))
    assert [one.data_id for one in records] == [{"ccd": number} for number in range(ROWS)]
    assert records[3].outputs == [os.path.join(os.path.dirname(old), "a.fits")]
    assert [(count.stage, count.done) for count in counts(old)] == [("frame", ROWS)]
    assert main(["status", old]) == main(["failed", old]) == 0
    assert contents(old) == before


def test_an_older_database_is_rewritten_with_all_that_is_in_it_and_a_copy_is_kept(old):
    with closing(sqlite3.connect(f"file:{old}?mode=ro", uri=True)) as connection:
        before = {table: connection.execute(f"SELECT * FROM {table}").fetchall() for table in KEPT}
    held = opened(old)
    found = held.find([key(number) for number in range(ROWS)])
    assert found[2] == Found(1, "done", b"rr", None, [], None, 2048, 2.0)
    assert found[3] == Found(1, "done", b"rrr", None, ["a.fits"], None, 2048, 2.0)
    assert all(found)
    held.append([record(0, digest=key(ROWS)), record(1, state="interrupted")])
    held.close("done")
    assert query(old, "SELECT value FROM meta WHERE key = 'schema_version'") == [("3",)]
    columns = "id, session, task, digest, data_id, result, outputs, row_check"
    [first, *_, checked, _] = query(old, f"SELECT {columns} FROM attempt ORDER BY id")
    assert first == (1, 1, 0, key(0), '{"ccd": 0}', b"", None, None)
    assert checked[-1] is not None
    assert query(old, "SELECT * FROM session WHERE token = 1") == before["session"]
    assert dump(old, "rank", "scatter") == {name: before[name] for name in ("rank", "scatter")}
    assert query(old, "PRAGMA integrity_check") == [("ok",)]
    assert not query(old, "SELECT name FROM sqlite_master WHERE name LIKE 'old%'")
    assert query(old, "SELECT * FROM note") == []
    copy = f"{old}.schema-1"
    assert stat.S_IMODE(os.stat(copy).st_mode) == 0o600
    assert query(copy, "SELECT count(*) FROM attempt") == [(ROWS,)]
    assert dump(copy, *KEPT) == before
    opened(old).close("done")  # once is enough
    assert sorted(os.listdir(os.path.dirname(old))) == ["run.db", "run.db.schema-1"]


def test_an_older_database_stays_as_it_is_if_no_copy_can_be_kept(old):
    os.mkdir(f"{old}.schema-1")
    before = query(old, "SELECT * FROM attempt")
    with pytest.raises(CheckpointError, match=r"no copy can be kept as .*run.db.schema-1"):
        opened(old)
    assert query(old, "SELECT * FROM attempt") == before
    assert query(old, "SELECT value FROM meta WHERE key = 'schema_version'") == [("1",)]
    assert not os.path.exists(f"{old}.schema-1.tmp")


def test_a_migration_that_fails_leaves_the_older_database(old, monkeypatch):
    def full(*arguments):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("mpipool.checkpoint.migration._move", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        opened(old)
    monkeypatch.undo()
    assert len(list(read_records(old))) == ROWS
    held = opened(old)
    assert all(held.find([key(number) for number in range(ROWS)]))
    held.close("done")


def test_a_database_of_another_configuration_is_not_rewritten(old):
    before = contents(old)
    with pytest.raises(CheckpointError, match="another configuration"):
        opened(old, config={"other": 1})
    assert contents(old) == before
