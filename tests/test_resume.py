"""What a keyed map learns of its items from earlier attempts."""

from types import SimpleNamespace

import pytest

from mpipool.executor.caller import Attachment
from mpipool.resume import resume

DONE = {
    "attempts": 1, "state": "done", "result_file": None, "outputs": [], "error": None,
    "peak_memory": 0, "seconds": 4.0,
}  # fmt: skip


def resumed(*known):
    """Resume a map of which the checkpoint says this of each item."""
    results = [b"\x80\x04N." for found in known if found]  # None, pickled
    caller = SimpleNamespace(
        attachment=Attachment(recorded=True, results="/a"), ask=lambda *_, **__: (known, results)
    )
    digests = [bytes([index]) * 16 for index in range(len(known))]
    return resume(caller, digests, [f"{index}" for index in range(len(known))])


def test_how_long_tasks_took_is_the_mean_of_those_which_are_done():
    found = resumed(DONE, DONE | {"seconds": 8.0}, DONE | {"state": "failed"}, None)
    assert (found.mean, found.waiting, found.seconds) == (6.0, [2, 3], [-1.0, -1.0])


def test_nothing_is_known_while_none_is_done():
    found = resumed(None, DONE | {"state": "failed"})
    assert (found.mean, found.seconds) == (0.0, [-1.0, -1.0])


@pytest.mark.parametrize(("lasted", "least"), [(3.0, -1.0), (5.0, 5.0)])
def test_what_was_interrupted_takes_at_least_as_long_as_it_had_lasted(lasted, least):
    found = resumed(DONE, DONE | {"state": "interrupted", "seconds": lasted})
    assert found.seconds == [least]


def test_what_is_done_and_must_be_made_again_takes_as_long_again():
    found = resumed(DONE | {"seconds": 8.0, "outputs": ["gone"]}, DONE)
    assert (found.waiting, found.seconds) == ([0], [8.0])
