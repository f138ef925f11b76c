"""Table `raw`: who holds a data ID, and what adding again changes."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from drivers.registry import (
    RawFrame,
    add_frames,
    distinct_values,
    find_frames,
    open_registry,
    refusals,
)
from drivers.registry.raw import RAW_COLUMNS


@pytest.fixture
def registry(tmp_path):
    with open_registry(tmp_path / "registry.sqlite", create=True) as connection:
        yield connection


def frame(path, visit=1, ccd=0, hdu=0, **changes):
    path.touch()
    corners = dict(zip(RAW_COLUMNS[-8:], (10.0, 0.0, 9.9, 0.0, 9.9, 0.1, 10.0, 0.1), strict=True))
    one = RawFrame(
        visit, ccd, "g", "SimCam", 30.0, 6e4, "field", 300, 400, str(path), hdu, 5, 1.5, **corners
    )
    return replace(one, **changes)


def boxes(registry):
    return registry.execute("SELECT count(*) FROM raw_sky").fetchone()[0]


def test_a_frame_comes_back_as_it_was_added(registry, tmp_path):
    one = frame(tmp_path / "a", role="focus", obstype="science", wcs='{"CRPIX1": 1}')
    assert add_frames(registry, [one]).new == 1
    assert find_frames(registry, "role = ?", ["focus"]) == [one]
    assert add_frames(registry, [one]).unchanged == 1


def test_a_changed_frame_has_one_box_on_the_sky(registry, tmp_path):
    one = frame(tmp_path / "a")
    add_frames(registry, [one])
    assert add_frames(registry, [replace(one, ra0=10.1, size=6)]).changed == 1
    assert boxes(registry) == 1
    add_frames(registry, [replace(one, ra0=None)])
    assert boxes(registry) == 0


def test_two_files_of_one_data_id_are_named_before_and_while_adding(registry, tmp_path):
    one, other = frame(tmp_path / "a"), frame(tmp_path / "b")
    assert list(refusals(registry, [one, other])) == [other]
    added = add_frames(registry, [one, other])
    assert str(tmp_path / "a") in added.refused[other]
    assert refusals(registry, [one, other]) == added.refused
    (tmp_path / "a").unlink()
    assert refusals(registry, [other]) == {}


def test_a_file_whose_detectors_were_renumbered_takes_all_their_places(registry, tmp_path):
    path = tmp_path / "a"
    add_frames(registry, [frame(path, ccd=0, hdu=1), frame(path, ccd=1, hdu=2)])
    swapped = [frame(path, ccd=1, hdu=1), frame(path, ccd=0, hdu=2)]
    assert add_frames(registry, swapped).refused == {}
    found = find_frames(registry, "1", [])
    assert [(one.ccd, one.hdu) for one in found] == [(0, 2), (1, 1)]


def test_two_ingests_at_once_do_not_both_have_a_data_id(tmp_path):
    path = tmp_path / "registry.sqlite"
    one, other = frame(tmp_path / "a"), frame(tmp_path / "b")
    begun = threading.Event()

    def ingest():
        with open_registry(path, create=True) as connection:
            connection.set_trace_callback(lambda _: begun.set())
            return add_frames(connection, [other])

    with open_registry(path, create=True) as first, ThreadPoolExecutor(1) as second:
        first.execute("BEGIN IMMEDIATE")
        row = ", ".join("?" * len(RAW_COLUMNS))
        values = [getattr(one, name) for name in RAW_COLUMNS]
        first.execute(f"INSERT INTO raw ({', '.join(RAW_COLUMNS)}) VALUES ({row})", values)
        added = second.submit(ingest)
        assert begun.wait(30)
        time.sleep(0.2)  # whoever looks before it has the lock has looked by now
        first.commit()
        assert list(added.result(timeout=60).refused) == [other]
        assert find_frames(first, "1", []) == [one]


def test_values_which_are_empty_can_not_be_selected_by(registry, tmp_path):
    add_frames(registry, [frame(tmp_path / "a"), frame(tmp_path / "b", ccd=1, filter="")])
    assert distinct_values(registry, "filter") == ["g"]
