"""Results in files: whole under their name, or not there; and only ours are read."""

import os
import stat
import subprocess
import sys

import pytest

from mpipool.checkpoint.results import (
    publish_result,
    read_result,
    result_name,
    results_folder,
)
from mpipool.errors import CheckpointError


@pytest.fixture
def folder(tmp_path):
    return results_folder(tmp_path / "run.db")


def test_a_result_is_read_as_it_was_written(folder, tmp_path):
    assert folder == str(tmp_path / "results")
    spec = publish_result(folder, result_name(b"\xab\xcd", 2), b"data" * 1000)
    assert spec.startswith("abcd.2:4000:")
    assert read_result(folder, spec) == b"data" * 1000
    assert os.listdir(folder) == ["abcd.2"]


def test_results_are_for_their_user_alone(folder):
    before = os.umask(0)
    try:
        publish_result(folder, "ab.1", b"data")
    finally:
        os.umask(before)
    assert stat.S_IMODE(os.stat(folder).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{folder}/ab.1").st_mode) == 0o600


def test_a_result_written_again_replaces_the_former(folder):
    publish_result(folder, "ab.1", b"longer than the next")
    spec = publish_result(folder, "ab.1", memoryview(b"next"))
    assert read_result(folder, spec) == b"next"


def test_a_result_which_can_not_be_written_leaves_nothing(folder, monkeypatch):
    def broken(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(CheckpointError, match=r"ab\.1: .* can't be put on disk \(No space"):
        publish_result(folder, "ab.1", b"data")
    assert os.listdir(folder) == []


@pytest.mark.parametrize(
    ("content", "said"), [(b"dat", "has 3 bytes"), (b"dbta", "checksum"), (None, "can't be read")]
)
def test_a_result_that_is_not_what_was_recorded_is_refused(folder, content, said):
    spec = publish_result(folder, "ab.1", b"data")
    if content is None:
        os.unlink(f"{folder}/ab.1")
    else:
        with open(f"{folder}/ab.1", "wb") as file:
            file.write(content)
    with pytest.raises(CheckpointError, match=said):
        read_result(folder, spec)


@pytest.mark.parametrize("name", ["ab.1", ""], ids=["file", "folder"])
def test_a_result_which_others_could_have_written_is_refused(folder, name):
    spec = publish_result(folder, "ab.1", b"data")
    os.chmod(os.path.join(folder, name), 0o770)
    with pytest.raises(CheckpointError, match="others may write"):
        read_result(folder, spec)


@pytest.mark.parametrize("spec", ["../ab:4:00", "/etc/passwd:4:00", "..:4:0", "ab:x:0", "ab"])
def test_a_result_is_only_looked_for_in_its_folder(folder, spec):
    with pytest.raises(CheckpointError, match="does not name a result"):
        read_result(folder, spec)


def test_executors_do_not_pay_for_sqlite():
    code = "import sys, mpipool.checkpoint.results; sys.exit('sqlite3' in sys.modules)"
    path = os.pathsep.join(sys.path)
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": path})
