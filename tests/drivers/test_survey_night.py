"""`surveyDriver --follow`: frames are processed as they come, the rest when the last one is in."""

import os
import shutil
import subprocess
import sys
import threading
import time

import pytest

import mpipool

pytestmark = pytest.mark.long


def test_frames_are_processed_while_others_are_still_to_come(tmp_path, frames):
    repo, night = tmp_path / "repo", tmp_path / "night"
    night.mkdir()
    first, *others = frames
    shutil.copy(first, night)
    ingest = [sys.executable, "-m", "drivers.ingest", repo, night / first.name]
    subprocess.run(ingest, check=True, capture_output=True, timeout=60)
    database = repo / "rerun" / "n" / "run.db"

    def deliver():
        # The others come when the first one is done.
        while not done(database):
            time.sleep(0.1)
        for frame in others:
            part = shutil.copy(frame, tmp_path / "part")
            os.rename(part, night / frame.name)

    courier = threading.Thread(target=deliver, daemon=True)
    courier.start()
    command = [sys.executable, "-m", "drivers.survey", repo, "--rerun", "n", "--follow", night]
    command += ["--until", "25s", "--cores", "2", "--stages", "..exposure"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=150)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not courier.is_alive()
    assert len(done(database)) == len(frames)
    visits = {record.data_id["visit"] for record in done(database)}
    solved = list(mpipool.read_records(database, stage="exposure", state="done"))
    assert {record.data_id["visit"] for record in solved} == visits


def done(database):
    if not database.exists():
        return []
    try:
        return list(mpipool.read_records(database, stage="singleFrame", state="done"))
    except mpipool.CheckpointError:  # it is just being made
        return []
