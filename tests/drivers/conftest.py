"""A small simulated survey, and a serial stand-in for the pool."""

from __future__ import annotations

import os
import warnings
from concurrent import futures
from types import SimpleNamespace

import pytest

import mpipool
from drivers import recall, standing, survey_plan, survey_run
from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey
from drivers.stages import single_frame as single_frame_stage

SURVEY = Survey(
    visits=2, ccds=2, height=400, width=300, stars=150, galaxies=50, seed=3, calibs=1
)  # fmt: skip


@pytest.fixture(scope="session")
def survey_folder(tmp_path_factory):
    """Frames of `SURVEY`; tests must not change them."""
    folder = tmp_path_factory.mktemp("survey")
    make_survey(SURVEY, folder)
    return folder / "raw"


@pytest.fixture(scope="session")
def frames(survey_folder):
    return sorted(survey_folder.glob("sim-*.fits"))


@pytest.fixture(autouse=True)
def _warnings_are_errors_of_ours():
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=RuntimeWarning)
        yield


class SerialPool:
    """Does what `mpipool.Pool` does, here and now; its records live in `databases`."""

    size = 0  # so one call is out at a time
    databases: dict[str, dict] = {}  # noqa: RUF012 - reset by the fixture
    calls: list = []  # noqa: RUF012
    opened: list = []  # noqa: RUF012

    def __init__(
        self, checkpoint=None, config=None, take_over=False, group="", clobber_config=False
    ):
        self.opened.append((take_over, group))
        self.path = str(checkpoint) if checkpoint else None
        stored = self.databases.setdefault(self.path, {"config": config, "records": {}})
        if stored["config"] != config and not clobber_config:
            raise mpipool.CheckpointMismatch(self.path, "it was made with another configuration")
        stored["config"] = config
        if checkpoint:
            checkpoint.touch()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def map(self, function, items, *, progress, errors, **options):
        assert errors == "return"
        assert "key" not in options
        results = [self._call(function, item)[0] for item in items]
        failed = sum(isinstance(result, Exception) for result in results)
        progress(len(results) - failed, failed, len(results))
        return results

    def submit(self, function, job, *, stage, key, **options):
        known = self.recorded(stage=stage, key=key)
        if known is not None:
            return known
        result, metrics = self._call(function, job)
        records = self.databases[self.path]["records"]
        place = (stage, *key.items())
        # The newest is the last.
        records.pop(place, None)
        outputs = [os.path.join(job.root, name) for name in (job.image, job.catalog)]
        records[place] = SimpleNamespace(
            state="failed" if isinstance(result, Exception) else "done",
            stage=stage, metrics=metrics, result=result, data_id=key, started=0.0, finished=1.0,
            peak_memory=1, outputs=outputs,
        )  # fmt: skip
        return settled(result)

    def recorded(self, *, stage, key):
        known = self.databases[self.path]["records"].get((stage, *key.items()))
        if known and known.state == "done" and all(map(os.path.exists, known.outputs)):
            return settled(known.result, reused=True)
        return None

    def _call(self, function, item):
        self.calls.append(item)
        metrics = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(single_frame_stage, "record", lambda **row: metrics.update(row))
            try:
                return function(item), metrics
            except Exception as error:
                return error, metrics

    @classmethod
    def read_records(cls, path, stage=None, state=None):
        records = cls.databases.get(str(path), {"records": {}})["records"].values()
        return [record for record in records if state in (None, record.state)]


class SerialRun:
    """Does what `mpipool.RecordedRun` does, with the records of `SerialPool`."""

    def __init__(self, path, group=""):
        self._pool = SerialPool.__new__(SerialPool)
        self._pool.path = str(path)

    def result(self, stage, key):
        known = self._pool.recorded(stage=stage, key=key)
        if known is None:
            raise KeyError(key)
        return known.result()


class Settled(futures.Future):
    """A future which is over."""

    reused = False


def settled(result, reused=False):
    future = Settled()
    future.reused = reused
    if isinstance(result, Exception):
        future.set_exception(result)
    else:
        future.set_result(result)
    return future


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(SerialPool, "databases", {})
    monkeypatch.setattr(SerialPool, "calls", [])
    monkeypatch.setattr(SerialPool, "opened", [])
    monkeypatch.setattr(mpipool, "Pool", SerialPool)
    monkeypatch.setattr(survey_run, "Pool", SerialPool)
    monkeypatch.setattr(standing, "RecordedRun", SerialRun)
    monkeypatch.setattr(standing, "stored_configuration", stored_configuration)
    for module in (recall, survey_run, survey_plan):
        monkeypatch.setattr(module, "read_records", SerialPool.read_records)
    return SerialPool


def stored_configuration(rerun):
    return SerialPool.databases.get(str(rerun.run_db), {}).get("config")


@pytest.fixture
def repo(tmp_path, frames, pool):
    """A repository in which the survey is ingested."""
    from drivers.ingest import main

    assert main([str(tmp_path / "repo"), *map(str, frames)]) == 0
    return tmp_path / "repo"
