"""What is known of a task from elsewhere: a parent's rerun, another configuration, an old limit."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from drivers.graph.node import Call, NodeId
from drivers.planning.patches import APART
from drivers.recall import Recall, Sources
from drivers.repository import Repository

SCRIPT = """\
import json, sys
from pathlib import Path
from drivers.product import written
from mpipool import Pool, record

def made(value, path, metrics):
    record(**metrics)
    if path:
        with written(Path(path)) as part:
            Path(part).write_text(value)
    return value

if __name__ == "__main__":
    database, calls = sys.argv[1], json.loads(sys.argv[2])
    with Pool(checkpoint=database) as pool:
        for stage, key, value, path, metrics in calls:
            pool.submit(made, value, path, metrics, stage=stage, key=key).result()
"""
CCD = NodeId("singleFrame", (1, 2))
MEASURE = NodeId("measure", (9, 1, 2, "g"))


@pytest.fixture
def made(tmp_path):
    """Return what makes the records of a rerun, in a process of its own."""
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)

    def make(name, *calls):
        rerun = Repository(tmp_path).rerun(name)
        rerun.make_folder()
        words = [
            (stage, key, value, str(rerun.folder / f"{stage}.txt") if value else "", metrics)
            for stage, key, value, metrics in calls
        ]
        command = [sys.executable, script, rerun.run_db, json.dumps(words)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stderr
        return rerun

    return make


def ccd(inputs):
    return {"visit": 1, "ccd": 2, "inputs": inputs}


def call(key, run=True):
    return Call(function=abs, arguments=(), key=key, run=run)


def test_what_the_parent_has_of_the_same_inputs_is_taken(made, tmp_path):
    parent = made("parent", ("singleFrame", ccd("x"), "theirs", {}))
    recall = Recall(Repository(tmp_path).rerun("child"), Sources(parent=parent))
    done = recall(CCD, call(ccd("x")))
    assert (done.value, done.key, done.reused) == ("theirs", ccd("x"), True)
    assert recall(CCD, call(ccd("other"))) is None
    assert recall.taken == {"singleFrame": 1}
    (parent.folder / "singleFrame.txt").unlink()
    assert recall(CCD, call(ccd("x"))) is None


def test_a_task_which_writes_no_file_is_taken_too(made, tmp_path):
    parent = made("parent", ("singleFrame", ccd("x"), "", {}))
    recall = Recall(Repository(tmp_path).rerun("child"), Sources(parent=parent))
    assert recall(CCD, call(ccd("x"))).value == ""


def test_outputs_of_another_configuration_are_taken_where_that_is_asked_for(made):
    rerun = made("a", ("singleFrame", ccd("old"), "old", {}))
    assert Recall(rerun, Sources())(CCD, call(ccd("new"))) is None
    reused = Sources(reused=frozenset({"singleFrame"}))
    done = Recall(rerun, reused)(CCD, call(ccd("new")))
    # Under its own key: what is made of it is not taken for something made of the new one.
    assert (done.value, done.key) == ("old", ccd("old"))
    assert Recall(rerun, Sources(reused=frozenset({"coadd"})))(CCD, call(ccd("new"))) is None


def test_files_which_a_later_configuration_has_replaced_are_made_again(made):
    rerun = made("a", ("singleFrame", ccd("A"), "A", {}), ("singleFrame", ccd("B"), "B", {}))
    file: Path = rerun.folder / "singleFrame.txt"
    assert file.read_text() == "B"
    recall = Recall(rerun, Sources())
    assert recall(CCD, call(ccd("B"))) is None
    assert recall(CCD, call(ccd("never"))) is None
    assert recall(CCD, call(ccd("A"), run=False)) is None
    assert recall.known(CCD, call(ccd("A"))) is None
    assert file.exists()
    assert recall(CCD, call(ccd("A"))) is None
    assert not file.exists()


def test_a_file_which_is_not_as_it_was_written_is_made_again(made, capsys):
    rerun = made("a", ("singleFrame", ccd("A"), "whole", {}))
    file: Path = rerun.folder / "singleFrame.txt"
    recall = Recall(rerun, Sources())
    assert recall(CCD, call(ccd("A"))) is None
    assert file.exists()
    file.write_text("who")
    assert recall(CCD, call(ccd("A"), run=False)) is None
    assert file.exists()
    assert recall(CCD, call(ccd("A"))) is None
    assert not file.exists()
    assert f"{file} is not as it was written" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("limit", "metrics", "taken"),
    [
        (5000, {"n_skipped": 0, "max_area": 1000}, True),
        (5000, {"n_skipped": 1, "max_area": 1000}, False),
        (500, {"n_skipped": 0, "max_area": 1000}, False),
        (0, {"n_skipped": 0, "max_area": 1000}, False),
    ],
    ids=["nothing over it", "something over it", "a smaller limit", "not asked for"],
)
def test_with_a_larger_limit_only_what_was_over_it_is_measured_again(made, limit, metrics, taken):
    place = {"tract": 9, "patch": "1,2", "filter": "g"}
    old = {**place, "inputs": "old", APART: "same"}
    rerun = made("a", ("measure", old, "old", metrics))
    recall = Recall(rerun, Sources(larger_limit=limit))
    done = recall(MEASURE, call({**place, "inputs": "new", APART: "same"}))
    assert (done is not None and done.value == "old") is taken
    assert recall(MEASURE, call({**place, "inputs": "new", APART: "another coadd"})) is None
