"""Which names outputs may have: what data IDs bring along leads nowhere else."""

import os
import stat
from pathlib import Path

import pytest

from mpipool import UsageError, output
from mpipool.executor.product import LONGEST_NAME, final_path, make_folder, part_name


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("out/../../passwd", "'..' leads out of its folder"),
        ("..", "'..' leads out of its folder"),
        ("out/a\0b", "control character or a line break"),
        ("out/a\nb", "control character or a line break"),
        ("out/a\x1b[2Jb", "control character or a line break"),
        ("out/a\u2028b", "control character or a line break"),
        ("out/a\u2029b", "control character or a line break"),
        ("a\x85b/c", "control character or a line break"),
        ("out/" + "x" * 10_000, "it is too long"),
        ("out/" + "é" * 127, "it is too long"),
        ("x/" * 3000 + "y", "it is too long"),
        ("", "it names no file"),
        ("out/", "it names no file"),
        (".", "it names no file"),
        ("out/.", "it names no file"),
        ("out/.b.fits.1-1.part", "not published yet"),
    ],
)
def test_a_name_that_leads_elsewhere_or_can_be_no_files_is_refused_at_the_call(
    tmp_path, monkeypatch, name, said
):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError) as caught, output(name) as part:
        part.write_text("never")
    assert said in str(caught.value)
    assert len(str(caught.value)) < 500
    assert "\n" not in str(caught.value)
    assert list(tmp_path.rglob("*")) == []


@pytest.mark.parametrize(
    "name",
    ["a..b", "...", ".hidden", "b.part", ".b.part", "two words", "ünï", "a:b*[c]?", "-r", "~"],
)
def test_other_names_are_the_users_own_business(tmp_path, name):
    with output(tmp_path / "out" / name) as part:
        part.write_text("whole")
    assert os.listdir(tmp_path / "out") == [name]


def test_a_name_of_bytes_that_are_no_text_is_kept(tmp_path):
    with output(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9")) as part:
        part.write_text("whole")
    assert os.listdir(os.fsencode(tmp_path)) == [b"caf\xe9"]


def test_the_longest_name_has_room_for_the_unpublished_ones(tmp_path):
    token, attempt = 12345, 17
    longest = LONGEST_NAME - len(part_name("", token, attempt))
    final_path(tmp_path / ("x" * longest), token, attempt)
    with pytest.raises(UsageError, match=f"a name has at most {longest} bytes"):
        final_path(tmp_path / ("x" * (longest + 1)), token, attempt)


def mode(path):
    return stat.S_IMODE(os.stat(path).st_mode)


def test_products_follow_the_umask(tmp_path):
    before = os.umask(0o027)
    try:
        with output(tmp_path / "made" / "product") as part:
            part.write_text("whole")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "made"), mode(tmp_path / "made" / "product")) == (0o750, 0o640)


def test_in_a_shared_folder_the_group_may_write_to_what_is_made(tmp_path):
    tmp_path.chmod(0o2770)
    before = os.umask(0o022)
    try:
        make_folder(tmp_path / "a" / "b")
    finally:
        os.umask(before)
    assert (mode(tmp_path / "a"), mode(tmp_path / "a" / "b")) == (0o2775, 0o2775)


def test_a_file_in_the_way_of_a_folder_is_named(tmp_path):
    (tmp_path / "a").touch()
    with pytest.raises(OSError, match="/a"):
        make_folder(Path(tmp_path, "a", "b"))


def test_an_output_that_can_not_be_synced_is_named(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with (
        pytest.raises(OSError, match=r"No space left on device: .*product"),
        output(tmp_path / "product") as part,
    ):
        part.write_text("whole")
    assert os.listdir(tmp_path) == []
