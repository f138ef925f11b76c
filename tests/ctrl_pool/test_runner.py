"""How targets are told apart, so that a checkpoint knows them again."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import pytest

from ctrl_pool.survey import Square
from mpipool.ctrl_pool import joint
from mpipool.ctrl_pool.runner import BatchTaskRunner, identity


def reference(**data_id):
    return SimpleNamespace(dataId=data_id)


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ((reference(visit=1, ccd=2), {}), {"visit": 1, "ccd": 2}),
        ((reference(visit=1), {"band": "r"}), [{"visit": 1}, {"band": "r"}]),
        (([reference(visit=1), reference(visit=2)], {}), [{"visit": 1}, {"visit": 2}]),
        ((7, {}), 7),
    ],
)
def test_a_target_is_told_by_its_data_id(target, expected):
    assert identity(target) == expected


def runner(config=None):
    made = BatchTaskRunner(Square, SimpleNamespace(config=config))
    made.log = logging.Logger("quiet", logging.CRITICAL)
    return made


def test_without_a_checkpoint_nobody_asks_who_is_who(monkeypatch):
    monkeypatch.setattr(joint, "is_recorded", lambda: False)
    assert runner()._keyed([(object(), {})]) == {"stage": "square"}


@pytest.mark.parametrize(
    ("targets", "config"),
    [
        ([(object(), {})], None),
        ([(1, {"skymap": object()})], None),
        ([(1, {}), (1, {})], None),
        ([(1, {})], SimpleNamespace(model=object())),
    ],
)
def test_targets_that_can_not_be_told_apart_are_all_done(monkeypatch, targets, config):
    monkeypatch.setattr(joint, "is_recorded", lambda: True)
    assert runner(config)._keyed(targets) == {"stage": "square"}


def test_the_configuration_is_part_of_who_is_who(monkeypatch):
    class Config:
        def toDict(self):
            return {"threshold": 5}

    monkeypatch.setattr(joint, "is_recorded", lambda: True)
    found = runner(Config())._keyed([(1, {})])
    assert found == {"stage": "square", "key": identity, "config": {"threshold": 5}}


def test_multiprocessing_is_not_looked_at():
    assert BatchTaskRunner(Square, SimpleNamespace(processes=4)).numProcesses == 1


def test_without_data_there_is_nothing_to_do(monkeypatch):
    monkeypatch.setattr("mpipool.ctrl_pool.runner.PoolMaster", lambda: None)
    assert runner().run(SimpleNamespace(id=[])) == []
