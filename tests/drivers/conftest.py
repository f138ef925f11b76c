"""A small simulated survey, and a serial stand-in for the pool."""

from __future__ import annotations

import os
import warnings
from types import SimpleNamespace

import pytest

import mpipool
from drivers import process_ccd as process_ccd_module
from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey

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

    databases: dict[str, dict] = {}  # noqa: RUF012 - reset by the fixture
    calls: list = []  # noqa: RUF012
    opened: list = []  # noqa: RUF012

    def __init__(self, checkpoint=None, config=None, take_over=False, group=""):
        self.opened.append((take_over, group))
        self.path = str(checkpoint) if checkpoint else None
        stored = self.databases.setdefault(self.path, {"config": config, "records": {}})
        if stored["config"] != config:
            raise mpipool.CheckpointMismatch(self.path, "it was made with another configuration")
        if checkpoint:
            checkpoint.touch()

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def map(self, function, items, *, progress, key=None, errors, **options):
        assert errors == "return"
        records = self.databases[self.path]["records"]
        self.last_map = SimpleNamespace(reused=0, wall=1.0, utilisation=0.5)
        results = []
        for item in items:
            data_id = tuple(key(item).items()) if key else None
            known = records.get(data_id)
            if known and known.state == "done" and all(map(os.path.exists, known.outputs)):
                self.last_map.reused += 1
                results.append(records[data_id].result)
                continue
            results.append(self._call(function, item, dict(data_id or ()), records))
        failed = sum(isinstance(result, Exception) for result in results)
        progress(len(results) - failed, failed, len(results))
        return results

    def _call(self, function, item, key_of, records):
        self.calls.append(item)
        metrics = {}
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(process_ccd_module, "record", lambda **row: metrics.update(row))
            try:
                result, state = function(item), "done"
            except Exception as error:
                result, state = error, "failed"
        if key_of:
            data_id = tuple(key_of.items())
            # The newest is the last.
            records.pop(data_id, None)
            outputs = [os.path.join(item.root, name) for name in (item.image, item.catalog)]
            records[data_id] = SimpleNamespace(
                state=state, metrics=metrics, result=result, data_id=key_of, outputs=outputs
            )
        return result

    @classmethod
    def read_records(cls, path, stage):
        return list(cls.databases.get(str(path), {"records": {}})["records"].values())


@pytest.fixture
def pool(monkeypatch):
    monkeypatch.setattr(SerialPool, "databases", {})
    monkeypatch.setattr(SerialPool, "calls", [])
    monkeypatch.setattr(SerialPool, "opened", [])
    monkeypatch.setattr(mpipool, "Pool", SerialPool)
    monkeypatch.setattr(mpipool, "read_records", SerialPool.read_records)
    return SerialPool


@pytest.fixture
def repo(tmp_path, frames, pool):
    """A repository in which the survey is ingested."""
    from drivers.ingest import main

    assert main([str(tmp_path / "repo"), *map(str, frames)]) == 0
    return tmp_path / "repo"
