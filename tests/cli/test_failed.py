"""`mpipool failed`: what failed, and why."""

import json

import pytest

from checkpoint.run_builders import failure, key, opened, record, scatter
from mpipool.cli import main


@pytest.fixture
def run(path):
    held = opened(path)
    held.add_ranks([(1, "node07", 11)])
    held.open_scatter(scatter(7))
    held.open_scatter(scatter(8, stage="coadd", opened=1001.0))
    held.append([
        failure(0, digest=key(0), data_id='{"visit":1228,"ccd":3}', attempt=2, peak_memory=831488,
                message="no stars\nin it", traceback="Traceback:\n  line 3\n", stderr="warning\n"),
        failure(1, digest=key(1), data_id='{"visit":1228,"ccd":4}'),
        record(1, digest=key(1), data_id='{"visit":1228,"ccd":4}', attempt=2),
        failure(5, scatter=8, rank=0, error="SIGSEGV", message=None, traceback=None, peak_memory=0),
    ])  # fmt: skip
    held.close("done")
    return path


def printed(capsys, *arguments):
    assert main(["failed", *map(str, arguments)]) == 0
    return capsys.readouterr().out


FRAME = "frame visit=1228 ccd=3, attempt 2: ValueError: no stars [rank 1 on node07, peak 812 MiB]\n"
COADD = "coadd scatter 8 task 5, attempt 1: SIGSEGV [rank 0]\n"


def test_each_failed_task_is_one_line(run, capsys):
    assert printed(capsys, run) == FRAME + COADD


def test_failures_are_sorted_by_stage_and_data_id(path, capsys):
    held = opened(path)
    held.open_scatter(scatter(7))
    held.open_scatter(scatter(8, stage="coadd", opened=1001.0))
    held.append([failure(0, scatter=8, digest=key(99), data_id='{"tract":1}')])
    held.append([failure(n, digest=key(n), data_id=f'{{"ccd":{n}}}') for n in (10, 9, 100)])
    held.close("done")
    names = [line.split(",")[0] for line in printed(capsys, path).splitlines()]
    assert names == ["frame ccd=9", "frame ccd=10", "frame ccd=100", "coadd tract=1"]


def test_a_data_id_that_is_a_single_value_is_printed_too(path, capsys):
    held = opened(path)
    held.append([failure(5, digest=key(0), data_id="0")])
    held.close("done")
    assert printed(capsys, path).startswith("(no stage) id=0, attempt 1: ")


def test_one_stage_can_be_asked_for(run, capsys):
    assert printed(capsys, run, "--stage", "coadd") == COADD


def test_a_stage_that_is_not_there_is_code_2_and_says_which_are(run, capsys):
    assert main(["failed", run, "--stage", "warp"]) == 2
    said = capsys.readouterr().err
    assert "no stage 'warp'" in said
    assert "'frame', 'coadd'" in said


def test_the_traceback_and_the_end_of_stderr_can_be_asked_for(run, capsys):
    assert printed(capsys, run, "--traceback") == (
        FRAME
        + "    Traceback:\n      line 3\n    --- end of its standard error ---\n    warning\n"
        + COADD
    )


def test_programs_get_json(run, capsys):
    first, second = json.loads(printed(capsys, run, "--json"))
    assert first["data_id"] == {"visit": 1228, "ccd": 3}
    assert first["message"] == "no stars\nin it"
    assert first["host"] == "node07"
    assert (second["stage"], second["error"], second["data_id"]) == ("coadd", "SIGSEGV", None)


def test_without_failures_that_is_said(path, capsys):
    opened(path).close("done")
    assert printed(capsys, path) == "nothing failed\n"
    assert json.loads(printed(capsys, path, "--json")) == []


def test_what_a_task_wrote_does_not_steer_the_terminal(path, capsys):
    held = opened(path)
    held.append([
        failure(0, message="\x1b[2Jgone", stderr="\x1b]0;t\x07", data_id='{"a":"\\u001b[1m"}')
    ])  # fmt: skip
    held.close("done")
    said = printed(capsys, path, "--traceback")
    assert "gone" in said
    assert "\x1b" not in said
    assert "\x07" not in said
