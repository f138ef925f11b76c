"""Files are taken as they arrive, each when it is complete: really written, on this disk."""

import gzip
import os
import shutil
import sqlite3
import threading
import time
from contextlib import closing
from datetime import datetime
from io import BytesIO
from unittest.mock import Mock

import numpy as np
import pytest
from astropy.io import fits

from drivers import following as module
from drivers.command import CommandError
from drivers.follow_options import seconds_until
from drivers.following import Following, file_system
from drivers.ingest import main as ingest

LONG = 60.0
"""Seconds after which a test gives up."""


def content(value=1.0):
    units = fits.HDUList([fits.PrimaryHDU(), fits.ImageHDU(np.full((50, 60), value))])
    stream = BytesIO()
    units.writeto(stream)
    return stream.getvalue()


@pytest.fixture(params=[False, True], ids=["told", "polled"])
def night(request, tmp_path):
    """A folder that is followed; times are short, as no test needs them longer."""
    if not request.param and file_system(tmp_path) not in module.LOCAL:
        pytest.skip(f"{tmp_path} is on {file_system(tmp_path)}, where the kernel can't tell all")
    folder = tmp_path / "night"
    folder.mkdir()
    with Following([folder], poll=request.param, every=0.2, settled=0.5) as follows:
        yield folder, follows


def all_of(follows, count):
    """Wait for so many files, in the order in which they come."""
    found, end = [], time.monotonic() + LONG
    while len(found) < count and time.monotonic() < end:
        found += [os.path.basename(path) for path in follows.arrived(1.0)]
    return found


def test_what_is_there_already_is_taken(tmp_path):
    for name in ("b.fits", "a.fits", "log.txt"):
        (tmp_path / name).write_bytes(content())
    with Following([tmp_path], settled=0) as follows:
        assert all_of(follows, 2) == ["a.fits", "b.fits"]
        assert follows.arrived(0) == []
        assert follows.unfinished() == []


def test_a_slow_writer_is_waited_for(night):
    folder, follows = night
    data = content()
    path = folder / "a.fits"
    with path.open("wb") as stream:
        for part in (data[:3000], data[3000:9000]):
            stream.write(part)
            stream.flush()
            assert follows.arrived(1.2) == []
        assert follows.unfinished()[0][0] == str(path)
        stream.write(data[9000:])
    assert all_of(follows, 1) == ["a.fits"]
    assert follows.unfinished() == []


def test_a_file_that_is_closed_before_its_end_is_waited_for(night):
    folder, follows = night
    data = gzip.compress(content())
    path = folder / "a.fits.gz"
    path.write_bytes(data[:-10])
    assert follows.arrived(1.2) == []
    assert follows.unfinished() == [(str(path), "is truncated: its gzip stream ends too early")]
    with path.open("ab") as stream:
        stream.write(data[-10:])
    assert all_of(follows, 1) == ["a.fits.gz"]


def test_a_file_renamed_into_place_is_taken_by_its_new_name(night, tmp_path):
    folder, follows = night
    for start, name in ((folder / ".a.fits.Xy1", "a.fits"), (tmp_path / "b.part", "b.fits")):
        start.write_bytes(content())
        start.rename(folder / name)
        assert all_of(follows, 1) == [name]


def test_subfolders_that_come_later_are_followed(night, tmp_path):
    folder, follows = night
    assert follows.arrived(0.3) == []
    (folder / "2026-11-24" / "deep").mkdir(parents=True)
    (folder / "2026-11-24" / "deep" / "a.fits").write_bytes(content())
    (folder / ".hidden").mkdir()
    (folder / ".hidden" / "x.fits").write_bytes(content())
    assert all_of(follows, 1) == ["a.fits"]
    moved = tmp_path / "other"
    moved.mkdir()
    (moved / "b.fits").write_bytes(content())
    moved.rename(folder / "other")
    assert all_of(follows, 1) == ["b.fits"]


def test_a_file_that_changes_later_is_taken_again(night):
    folder, follows = night
    path = folder / "a.fits"
    path.write_bytes(content())
    assert all_of(follows, 1) == ["a.fits"]
    path.write_bytes(content(2.0))
    os.utime(path, ns=(1, 1))
    assert all_of(follows, 1) == ["a.fits"]


def test_an_event_ends_the_wait_at_once(tmp_path):
    if file_system(tmp_path) not in module.LOCAL:
        pytest.skip("the kernel can't tell all of this file system")
    with Following([tmp_path], every=10_000, settled=10_000) as follows:
        assert follows.arrived(0) == []
        writer = threading.Timer(0.3, (tmp_path / "a.fits").write_bytes, [content()])
        writer.start()
        # Neither another look nor settling could have told of it.
        assert [os.path.basename(path) for path in follows.arrived(LONG)] == ["a.fits"]
        writer.join()


def test_at_the_end_what_is_complete_is_taken_though_it_has_not_settled(tmp_path):
    with Following([tmp_path], poll=True, every=10_000, settled=10_000) as follows:
        (tmp_path / "a.fits").write_bytes(content())
        (tmp_path / "b.fits").write_bytes(content()[:9000])
        assert follows.arrived(0) == []
        assert [os.path.basename(path) for path in follows.rest()] == ["a.fits"]
        assert [path for path, _ in follows.unfinished()] == [str(tmp_path / "b.fits")]


def test_the_file_system_of_a_folder_is_known(tmp_path):
    assert file_system("/proc") == "proc"
    assert file_system(tmp_path)


def test_a_shared_file_system_is_looked_through(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "file_system", lambda folder: "nfs4")
    with Following([tmp_path]) as follows:
        assert follows.how == "looked through every 5 s"
    monkeypatch.setattr(module, "file_system", lambda folder: "ext4")
    with Following([tmp_path]) as follows:
        assert follows.how == "watched, and looked through every 60 s"


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("06:30", 8 * 3600),
        ("22:31", 60),
        ("22:30", 86400),
        ("90m", 5400),
        ("1.5h", 5400),
        ("2d", 172800),
        ("1:30:00", 5400),
        ("20", 20),
        ("0", 0),
    ],
)
def test_an_end_is_a_time_of_the_day_or_a_duration(text, seconds):
    assert seconds_until(text, datetime(2026, 11, 24, 22, 30)) == seconds


@pytest.mark.parametrize("text", ["25:00", "6:3", "soon", "", "-5", "10 h"])
def test_another_end_is_refused(text):
    with pytest.raises(CommandError, match="is neither HH:MM nor a duration"):
        seconds_until(text, datetime(2026, 11, 24))


def test_ingest_takes_what_arrives_until_it_is_time(tmp_path, frames, pool, capsys, monkeypatch):
    folder, repo = tmp_path / "night", tmp_path / "repo"
    folder.mkdir()
    shutil.copy(frames[0], folder)
    os.utime(folder / frames[0].name, (1e9, 1e9))
    (folder / "short.fits").write_bytes(frames[1].read_bytes()[:9000])
    writer = threading.Timer(0.5, shutil.copy, [frames[2], folder])
    monkeypatch.setattr("drivers.night.complain", heard := Mock())
    writer.start()
    assert ingest([str(repo), "--follow", str(folder), "--until", "3s"]) == 1
    writer.join()
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        assert connection.execute("SELECT visit, ccd FROM raw ORDER BY visit").fetchall() == [
            (100, 0), (101, 0),
        ]  # fmt: skip
    said = capsys.readouterr()
    assert "2 files: 2 images ingested" in said.out
    assert f"{folder}/short.fits: never became complete: is truncated" in said.out
    assert f"following {folder}: " in heard.call_args_list[0].args[0]
    assert [call.args[0].endswith("1 images") for call in heard.call_args_list[1:]] == [True] * 2


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--follow", "none"], "--follow none: is no folder"),
        (["--until", "06:00"], "go with --follow DIR"),
        (["--follow", ".", "--until", "soon"], "neither HH:MM nor a duration"),
    ],
)
def test_options_that_can_not_be_followed_are_refused(tmp_path, pool, capsys, words, says):
    assert ingest([str(tmp_path / "repo"), *words]) == 2
    assert says in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()
