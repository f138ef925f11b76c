"""The registry opens what is its own, and nothing else."""

import sqlite3

import pytest

from drivers.registry import RegistryError, distinct_values, open_registry


def test_reading_does_not_make_a_registry(tmp_path):
    path = tmp_path / "registry.sqlite"
    with pytest.raises(RegistryError, match="ingest frames first"), open_registry(path):
        pass
    assert not path.exists()


def test_a_registry_opened_for_reading_can_not_be_written(tmp_path):
    path = tmp_path / "registry.sqlite"
    with open_registry(path, create=True):
        pass
    with (
        pytest.raises(RegistryError, match="readonly"),
        open_registry(path) as connection,
    ):
        connection.execute("DELETE FROM raw")


def test_another_database_and_a_newer_one_are_refused(tmp_path):
    other, newer = tmp_path / "other.sqlite", tmp_path / "newer.sqlite"
    for path, statement in ((other, "CREATE TABLE t (x)"), (newer, "PRAGMA user_version = 99")):
        connection = sqlite3.connect(path)
        connection.execute(statement)
        connection.commit()
        connection.close()
    with pytest.raises(RegistryError, match="not a registry"), open_registry(other, create=True):
        pass
    with pytest.raises(RegistryError, match="newer version"), open_registry(newer):
        pass


def test_only_known_columns_are_looked_up(tmp_path):
    with (
        open_registry(tmp_path / "registry.sqlite", create=True) as connection,
        pytest.raises(RegistryError, match="no column"),
    ):
        distinct_values(connection, "path; DROP TABLE raw")
