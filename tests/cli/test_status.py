"""`mpipool status`: what it prints, for people and for programs."""

import json
import os
import subprocess
import sys

import pytest

from checkpoint.run_builders import failure, holding, key, opened, query, record, scatter
from mpipool.cli import main


def half_done(path):
    held = opened(path)
    held.open_scatter(scatter(7, tasks=10))
    held.append([record(number, digest=key(number)) for number in range(4)])
    held.append([failure(4, digest=key(4))])
    return held


def printed(capsys, *arguments):
    assert main(["status", *map(str, arguments)]) == 0
    return capsys.readouterr().out


def test_a_live_run_shows_its_counts_and_its_holder(path, capsys):
    held = half_done(path)
    lines = printed(capsys, path).splitlines()
    assert lines[0] == f"{path}: running"
    assert lines[1] == "command: singleFrameDriver REPO"
    assert lines[2].startswith("session 1, started ")
    assert "with 2 ranks" in lines[2]
    assert lines[3].startswith(f"held by pid {os.getpid()} on ")
    assert "last heard of 0:00:0" in lines[3]
    assert [line.split() for line in lines[-2:]] == [
        ["stage", "done", "failed", "waiting", "or", "running", "total"],
        ["frame", "4", "1", "5", "10"],
    ]
    held.close("done")


def test_what_the_last_session_has_said_of_itself_is_there(path, capsys):
    held = half_done(path)
    held.note(900.0, "an earlier session's")
    held.close("done")
    held = half_done(path)
    for number in range(12):
        held.note(1000.0 + number, f"node n{number} is quarantined: 12 of 16 tasks failed there")
    lines = printed(capsys, path).splitlines()
    told = [line for line in lines if "quarantined" in line or "earlier" in line]
    assert len(told) == 10
    assert told[-1].startswith("1970-01-01 00:16:51")
    assert told[-1].endswith(": node n11 is quarantined: 12 of 16 tasks failed there")
    status = json.loads(printed(capsys, path, "--json"))
    assert [note["said"] for note in status["notes"]] == [1000.0 + number for number in range(12)]
    held.close("done")


def test_a_killed_run_says_so(path, capsys):
    half_done(path).close("done")
    first = holding(path)
    first.kill()
    first.wait()
    said = printed(capsys, path)
    assert f"{path}: killed: it left no end\n" in said
    assert "session 2," in said
    assert f"was held by pid {first.pid} (gone) on " in said
    assert "not done" in said
    assert "waiting" not in said


def die_at(path, started, heartbeat):
    """Make a run look as if it had begun and been heard of then, and be dead now."""
    query(path, "UPDATE session SET started = ?", started)
    query(path, "UPDATE lock SET heartbeat = ?, process = '-/-/-'", heartbeat)


def test_a_run_killed_before_its_second_heartbeat_lasted_until_its_last_task(path, capsys):
    held = half_done(path)  # rank 1 works from 1000 to 1006
    die_at(path, 998.0, 998.0)
    lines = printed(capsys, path).splitlines()
    assert "0:00:08 long" in lines[2]
    assert lines[4] == "ranks busy: 38% (from 0% to 75%)"
    held.disconnect()


def test_a_rank_is_never_busy_for_more_than_the_time_there_was(path, capsys):
    held = half_done(path)
    held.close("complete")
    query(path, "UPDATE session SET started = 1002.0, ended = 1004.0")
    assert "ranks busy: 50% (from 0% to 100%)" in printed(capsys, path)
    status = json.loads(printed(capsys, path, "--json"))
    assert [rank["share"] for rank in status["ranks"]] == [0.0, 1.0]


def test_an_interrupted_run_says_so_and_what_is_not_done(path, capsys):
    held = half_done(path)
    held.close_scatter(7, 1100.0)
    held.close("exit 130")
    lines = printed(capsys, path).splitlines()
    assert lines[0] == f"{path}: was interrupted (exit code 130)"
    assert [line.split() for line in lines[-2:]] == [
        ["stage", "done", "failed", "not", "done", "total"],
        ["frame", "4", "1", "5", "10"],
    ]


@pytest.mark.parametrize(
    ("failures", "state", "sentence"),
    [
        (1, "exit 1", "ended with exit code 1: some tasks failed"),
        (0, "exit 1", "ended with exit code 1"),
        (1, "exit 3", "ended with exit code 3"),
        (0, "exit 143", "was ended by SIGTERM (exit code 143)"),
        (0, "failed", "failed: it could not record any more"),
        (0, "complete", "complete"),
    ],
)
def test_how_a_run_ended_is_a_sentence(path, capsys, failures, state, sentence):
    held = opened(path)
    held.append([failure(number) for number in range(failures)])
    held.close(state)
    assert printed(capsys, path).splitlines()[0] == f"{path}: {sentence}"
    status = json.loads(printed(capsys, path, "--json"))
    assert (status["state"], status["sentence"]) == (state, sentence)


def test_programs_are_told_the_same_of_a_killed_run(path, capsys):
    opened(path).close("exit 130")
    held = half_done(path)
    held.close_scatter(7, 1100.0)
    die_at(path, 998.0, 999.0)
    status = json.loads(printed(capsys, path, "--json"))
    assert (status["state"], status["live"]) == ("killed", False)
    assert (status["elapsed"], status["last_heard"]) == (8.0, 1006.0)
    assert status["holder"]["liveness"] == "dead"
    assert [session["sentence"] for session in status["sessions"]] == [
        "was interrupted (exit code 130)",
        "killed: it left no end",
    ]
    assert [rank["share"] for rank in status["ranks"]] == [0.0, 0.75]
    assert status["stages"] == [
        {"stage": "frame", "done": 4, "failed": 1, "unfinished": 5, "total": 10}
    ]
    held.disconnect()


def test_a_run_on_another_host_is_not_declared_dead(path, capsys):
    held = half_done(path)
    query(path, "UPDATE lock SET host = 'elsewhere', batch_job = '981'")
    said = printed(capsys, path)
    assert f"{path}: not seen from here\n" in said
    assert "on elsewhere" in said
    assert "batch job 981" in said
    held.disconnect()


def test_a_run_that_ended_says_how_and_how_busy_its_ranks_were(path, capsys):
    held = half_done(path)
    held.close_scatter(7, 1100.0)
    held.close("drained")
    # Ten seconds, in which rank 1 worked for six (tasks of 2 s, a second apart) and rank 0 never.
    query(path, "UPDATE session SET started = 1000.0, ended = 1010.0")
    lines = printed(capsys, path).splitlines()
    assert lines[0] == f"{path}: drained"
    assert "0:00:10 long" in lines[2]
    assert lines[3] == "ranks busy: 30% (from 0% to 60%)"
    assert lines[-1].split() == ["frame", "4", "1", "5", "10"]


def test_a_run_that_has_not_begun_says_so(path, capsys):
    opened(path).close("done")
    assert printed(capsys, path).endswith("no task was started yet\n")


def test_programs_get_json(path, capsys):
    held = half_done(path)
    status = json.loads(printed(capsys, path, "--json"))
    assert status["state"] == "running"
    assert status["stages"] == [
        {"stage": "frame", "done": 4, "failed": 1, "unfinished": 5, "total": 10}
    ]
    assert status["holder"]["pid"] == os.getpid()
    assert status["holder"]["liveness"] == "live"
    assert [session["state"] for session in status["sessions"]] == ["running"]
    assert [rank["tasks"] for rank in status["ranks"]] == [0, 5]
    held.close("done")
    assert json.loads(printed(capsys, path, "--json"))["holder"] is None


@pytest.mark.parametrize("verb", ["status", "failed"])
def test_a_path_without_a_run_is_a_sentence_and_code_2(path, capsys, verb):
    assert main([verb, path]) == 2
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err == f"mpipool {verb}: {path}: there is no such file\n"
    assert not os.path.exists(path)


def test_a_verb_is_needed(capsys):
    with pytest.raises(SystemExit) as caught:
        main([])
    assert caught.value.code == 2
    assert "VERB" in capsys.readouterr().err


def test_control_characters_do_not_reach_the_terminal(path, capsys):
    held = opened(path, command="evil \x1b]0;title\x07\nsecond line")
    held.open_scatter(scatter(7, stage="st\x1b[31mage"))
    held.close("done")
    said = printed(capsys, path)
    assert "\x1b" not in said
    assert "second line" not in said
    assert "evil" in said


def command(*arguments, **options):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(
        [sys.executable, "-m", "mpipool.cli", *arguments], text=True, env=environment, **options
    )


def test_the_command_returns_its_code(path):
    process = command("status", path, stderr=subprocess.PIPE)
    _, said = process.communicate()
    assert process.returncode == 2
    assert "no such file" in said
    assert "Traceback" not in said


def test_a_reader_who_has_seen_enough_is_not_told_of_it(path):
    held = opened(path)
    held.append([failure(number) for number in range(3000)])
    held.close("done")
    process = command("failed", path, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    assert process.wait() == 1
