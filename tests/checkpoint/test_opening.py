"""What is refused, in which words, and that a refusal changes nothing."""

import os
import sqlite3

import pytest

from checkpoint.run_builders import (
    CONFIG,
    child,
    contents,
    failure,
    key,
    opened,
    query,
    record,
)
from mpipool.checkpoint import configuration
from mpipool.checkpoint.results import publish_result, read_result, result_name
from mpipool.errors import CheckpointError, CheckpointMismatch, UsageError

KILLED = """
held = opened(sys.argv[1])
held.append([record(0, digest=key(0))])
os.kill(os.getpid(), 9)
"""


@pytest.fixture
def made(path):
    held = opened(path)
    held.append([record(number, digest=key(number), result=b"r" * 300) for number in range(500)])
    held.close("done")
    return path


def refusal(path, expected=CheckpointError, **changes):
    """Return the sentence with which opening is refused, having seen that nothing changed."""
    before = contents(path)
    with pytest.raises(expected) as caught:
        opened(path, **changes)
    assert contents(path) == before
    assert type(caught.value) is expected
    return str(caught.value)


OTHER = {"detection": {"threshold": 3.5, "grow": 2}}


def test_another_configuration_is_refused_and_each_difference_named(made):
    said = refusal(made, CheckpointMismatch, config=OTHER)
    assert said.startswith(f"{made}: it was made with another configuration")
    assert said.splitlines()[1:] == [
        "  detection.grow: (absent) → 2",
        "  detection.threshold: 5.0 → 3.5",
        '  rerun: "first" → (absent)',
    ]


def test_another_configuration_changes_nothing_after_a_kill_either(path):
    child(KILLED, path).wait()
    assert os.path.getsize(f"{path}-wal") > 0, "there is a log which closing would write back"
    refusal(path, CheckpointMismatch, config=OTHER)
    held = opened(path)
    assert held.find([key(0)])[0].state == "done"
    held.close("done")


def test_the_order_of_keys_is_no_difference(made):
    opened(made, config=dict(reversed(CONFIG.items()))).close("done")


def test_a_run_without_configuration_takes_the_database_as_it_is(made):
    opened(made, config=None).close("done")
    refusal(made, CheckpointMismatch, config=OTHER)


def test_a_database_without_configuration_is_not_one_of_a_run_that_has_one(path):
    opened(path, config=None).close("done")
    assert "a: (absent) → 1" in refusal(path, CheckpointMismatch, config={"a": 1})


def test_differences_reach_down_and_tell_absent_from_null():
    old, new = {"a": {"b": None, "c": {}}, "d": [1, 2]}, {"a": {"c": {"e": 1}}, "d": [1, 2]}
    assert configuration.differences(
        configuration.canonical(old), configuration.canonical(new)
    ) == ["a.b: null → (absent)", "a.c: {} → (absent)", "a.c.e: (absent) → 1"]


@pytest.mark.parametrize("bad", [{"a": float("nan")}, {"a": object()}])
def test_a_configuration_that_is_not_json_is_the_callers_fault(path, bad):
    with pytest.raises(UsageError, match="configuration"):
        opened(path, config=bad)
    assert not os.path.exists(path)


def test_what_is_not_a_database_is_refused(path):
    with open(path, "w") as file:
        file.write("SIMPLE  =                    T" * 200)
    os.chmod(path, 0o600)
    assert "not a run database" in refusal(path)


def test_a_database_of_something_else_is_refused(path):
    query(path, "CREATE TABLE raw (visit INTEGER)")
    assert "but not one of a run" in refusal(path)


def test_a_newer_schema_is_refused(made):
    query(made, "UPDATE meta SET value = '4' WHERE key = 'schema_version'")
    assert "newer mpipool (schema 4, this one knows 3)" in refusal(made)


def test_damage_is_refused_and_leaves_no_lock(made):
    with open(made, "r+b") as file:
        file.seek(os.path.getsize(made) // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)
    assert "damaged" in refusal(made)
    assert query(made, "SELECT count(*) FROM lock") == [(0,)]


def test_damage_which_can_not_be_quoted_is_refused_too(made):
    """In SQLite's sentence stands what is no text, of which Python can make no error."""
    with open(made, "r+b") as file:
        file.seek(file.read().index(b"CREATE VIEW record"))
        file.write(b"CREATE \x8eIEW")
    assert 'it is damaged (malformed database schema (record) - near "\ufffdIEW"' in refusal(made)


def test_an_empty_file_is_a_new_database(path):
    os.close(os.open(path, os.O_CREAT, 0o600))
    opened(path).close("done")
    assert query(path, "SELECT state FROM session") == [("done",)]


def test_an_empty_file_beside_results_was_another_database(path, tmp_path):
    publish_result(str(tmp_path / "results"), "ab.1", b"result")
    os.close(os.open(path, os.O_CREAT, 0o600))
    assert "it is empty, though there are results beside it" in refusal(path)
    os.unlink(path)
    opened(path).close("done")


def test_killed_while_it_was_made_a_database_is_still_new(path):
    query(path, "PRAGMA journal_mode = WAL")  # which writes the header, and no table
    assert os.path.getsize(path) > 0
    opened(path).close("done")
    assert query(path, "SELECT state FROM session") == [("done",)]


def test_a_missing_folder_is_named_and_not_made(tmp_path):
    with pytest.raises(CheckpointError, match=r"folder .*/absent does not exist"):
        opened(tmp_path / "absent" / "run.db")
    assert not os.listdir(tmp_path)


def test_a_folder_is_no_database(tmp_path):
    with pytest.raises(CheckpointError, match="not a file"):
        opened(tmp_path)


def test_a_file_in_the_place_of_the_results_is_named(tmp_path, path):
    (tmp_path / "results").touch(0o600)
    assert "in the way" in refusal(path)


@pytest.mark.parametrize("mode", [0o620, 0o602])
@pytest.mark.parametrize("name", ["run.db", "run.db-wal", "run.db-journal", "results"])
def test_what_others_could_have_written_is_refused(made, tmp_path, name, mode):
    target = tmp_path / name
    if name == "results":
        target.mkdir()
    elif name != "run.db":
        target.touch()
    target.chmod(mode)
    said = refusal(made)
    assert said.startswith(f"{target}: others may write to it (mode {mode:04o})")
    assert "chmod go-w" in said


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
@pytest.mark.parametrize("name", ["run.db", "run.db-wal", "results"])
def test_what_belongs_to_somebody_else_is_refused(made, tmp_path, name):
    target = tmp_path / name
    if name == "results":
        target.mkdir(0o700)
    elif name != "run.db":
        target.touch(0o600)
    os.chown(target, 12345, -1)
    assert "belongs to user 12345, not to you" in refusal(made)


def test_a_killed_executors_leftovers_are_removed_and_results_are_kept(made, tmp_path):
    results = tmp_path / "results"
    results.mkdir(0o700)
    (results / "ab.1").touch(0o600)
    (results / "ab.2.x.tmp").touch(0o600)
    opened(made).close("done")
    assert [file.name for file in results.iterdir()] == ["ab.1"]


def test_so_is_the_result_of_a_task_that_was_lost_after_it_had_written_it(path, tmp_path):
    folder = str(tmp_path / "results")

    def publish(number, attempt):
        return publish_result(folder, result_name(key(number), attempt), b"large")

    def there():
        return {file.name for file in (tmp_path / "results").iterdir()}

    held = opened(path)
    publish(1, 1)
    held.append([record(1, digest=key(1), state="lost")])
    named = publish(1, 2)
    held.append([record(1, digest=key(1), attempt=2, result_file=named)])
    publish(1, 3)  # of a session that was killed before it could record it: written again
    publish(0, 1)  # of another run beside
    assert len(there()) == 4
    kept = there() - {result_name(key(1), 1)}
    held.close("done")
    assert there() == kept
    publish(1, 1)
    opened(path).close("done")
    assert there() == kept
    assert read_result(folder, named) == b"large"


def test_a_full_disk_while_it_is_made_is_a_sentence(path, monkeypatch):
    def full(connection):
        raise sqlite3.OperationalError("database or disk is full")

    monkeypatch.setattr("mpipool.checkpoint.opening.create_schema", full)
    with pytest.raises(CheckpointError, match="disk is full"):
        opened(path)
    assert not os.path.exists(path)
    monkeypatch.undo()
    held = opened(path)  # and the next one finds no lock
    held.append([failure(0)])
    held.close("done")


FULL = """
import resource
from mpipool.errors import CheckpointError
resource.setrlimit(resource.RLIMIT_FSIZE, (8192, 8192))
try:
    opened(sys.argv[1])
except CheckpointError as error:
    print(error, flush=True)
"""


def test_a_disk_that_is_really_full_leaves_no_empty_file(path, tmp_path):
    said, _ = child(FULL, path).communicate()
    assert said.startswith(f"{path}: its disk does not do what it should")
    assert os.listdir(tmp_path) == []


def test_an_empty_file_that_was_there_stays_when_the_disk_is_full(path, tmp_path):
    os.close(os.open(path, os.O_CREAT, 0o600))
    child(FULL, path).communicate()
    assert os.listdir(tmp_path) == ["run.db"]
    assert os.path.getsize(path) == 0


def test_what_stands_in_meta_is_what_is_read(made):
    assert query(made, "SELECT key FROM meta ORDER BY key") == [
        ("config",),
        ("created",),
        ("schema_version",),
    ]
