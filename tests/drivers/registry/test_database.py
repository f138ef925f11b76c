"""The registry opens what is its own, and nothing else."""

import os
import sqlite3
from contextlib import closing

import pytest

from drivers.registry import (
    RegistryError,
    columns_of,
    count_unplaced,
    distinct_values,
    find_frames,
    open_registry,
    overlapping_calexps,
)
from drivers.sky_polygon import polygon

VERSION_1 = """
CREATE TABLE raw (
    visit INTEGER NOT NULL, ccd INTEGER NOT NULL, filter TEXT NOT NULL, instrument TEXT NOT NULL,
    exptime REAL, mjd REAL, object TEXT NOT NULL, width INTEGER NOT NULL, height INTEGER NOT NULL,
    path TEXT NOT NULL, hdu INTEGER NOT NULL, size INTEGER NOT NULL, mtime REAL NOT NULL,
    PRIMARY KEY (visit, ccd), UNIQUE (path, hdu)
);
CREATE TABLE calexp (
    rerun TEXT NOT NULL, visit INTEGER NOT NULL, ccd INTEGER NOT NULL, filter TEXT NOT NULL,
    instrument TEXT NOT NULL, image TEXT NOT NULL, catalog TEXT NOT NULL,
    width INTEGER NOT NULL, height INTEGER NOT NULL, wcs TEXT NOT NULL,
    ra0 REAL, dec0 REAL, ra1 REAL, dec1 REAL, ra2 REAL, dec2 REAL, ra3 REAL, dec3 REAL,
    pixel_scale REAL, sky_level REAL, sky_noise REAL, seeing REAL, seeing_pixels REAL,
    n_seeing_stars INTEGER NOT NULL, n_sources INTEGER NOT NULL, good_fraction REAL NOT NULL,
    notes TEXT NOT NULL,
    PRIMARY KEY (rerun, visit, ccd)
);
INSERT INTO raw VALUES (7, 3, 'g', 'SimCam', 30.0, 60000.5, 'field', 332,
    400, '/a.fits', 0, 5, 1.5);
INSERT INTO calexp VALUES ('first', 7, 3, 'g', 'SimCam', 'i.fits', 'c.fits', 300, 400, '{}',
    359.9, -0.1, 0.1, -0.1, 0.1, 0.1, 359.9, 0.1, 0.2, 100, 10, 0.7, 3.5, 9, 80, 0.99, 'a note');
PRAGMA user_version = 1;
"""


def version_1(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(VERSION_1)


def content(path):
    with closing(sqlite3.connect(path)) as connection:
        return list(connection.iterdump())


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


def test_a_registry_of_version_1_is_brought_up_and_a_copy_is_kept(tmp_path):
    path = tmp_path / "registry.sqlite"
    version_1(path)
    before = content(path)
    with open_registry(path) as connection:
        frame = find_frames(connection, "visit = 7", [])[0]
        assert (frame.ccd, frame.mjd, frame.path, frame.role) == (3, 60000.5, "/a.fits", "science")
        assert frame.corners is None
        assert count_unplaced(connection) == 1
        region = polygon([[359.95, 0.05, 0.05], [-0.01, -0.01, 0.05]])
        assert overlapping_calexps(connection, ["first"], region) == {(7, 3): "first"}
        row = connection.execute("SELECT seeing, n_sources, zero_point, notes FROM calexp")
        assert row.fetchall() == [(0.7, 80, None, "a note")]
    assert content(tmp_path / "registry.sqlite.v1") == before


def test_a_registry_brought_up_has_the_tables_of_a_new_one(tmp_path):
    old, new = tmp_path / "old.sqlite", tmp_path / "new.sqlite"
    version_1(old)
    schemas = []
    for path in (old, new):
        with open_registry(path, create=True) as connection:
            rows = connection.execute("SELECT type, name, sql FROM sqlite_schema WHERE sql != ''")
            schemas.append(sorted(rows.fetchall()))
    assert schemas[0] == schemas[1]


def test_an_upgrade_which_fails_leaves_the_registry_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / "registry.sqlite"
    version_1(path)
    before = content(path)
    with closing(sqlite3.connect(path)) as blocker:
        blocker.execute("CREATE TABLE old_calexp (x)")
    blocked = content(path)
    with pytest.raises(RegistryError, match="can't be brought up to this one"), open_registry(path):
        pass
    assert content(path) == blocked != before


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everything")
def test_an_old_registry_which_can_not_be_written_is_a_sentence(tmp_path):
    path = tmp_path / "registry.sqlite"
    version_1(path)
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(RegistryError, match="older version"), open_registry(path):
            pass
    finally:
        tmp_path.chmod(0o700)


def test_the_schema_is_the_list_of_columns():
    assert columns_of("calib")["valid_from"] == "REAL"
    assert columns_of("nothing") == {}
