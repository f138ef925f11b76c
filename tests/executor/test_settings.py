"""Settings which are mappings of names: what of a change is noticed, and put back."""

import pytest

from mpipool.executor.settings import _Names


@pytest.fixture
def live():
    return {"json": object(), "os": object(), "sys": object()}


def replace(live):
    live["os"] = object()


def remove(live):
    del live["sys"]


def rename(live):
    live["copy"] = live.pop("sys")


def swap(live):
    live["os"], live["sys"] = live["sys"], live["os"]


@pytest.mark.parametrize("change", [replace, remove, rename, swap])
def test_an_entry_that_was_there_is_put_back_and_new_ones_may_stay(live, change):
    names, was = _Names(live), dict(live)
    before = names.read()
    live["new"] = object()
    change(live)
    assert names.read() != before
    names.write(before)
    assert names.read() == before
    assert was.items() <= live.items()
    assert "new" in live


def test_new_entries_and_another_order_are_no_change(live):
    names = _Names(live)
    before = names.read()
    live["new"] = object()
    live["json"] = live.pop("json")
    assert names.read() == before
