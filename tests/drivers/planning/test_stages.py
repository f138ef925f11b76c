"""Which stages a command runs, uses, and does without."""

import pytest

from drivers.command import CommandError
from drivers.planning.stages import NAMES, VITAL, Mode, modes, read_stages


def test_stages_are_named_one_by_one_or_as_a_span():
    assert read_stages("--stages", "coadd,forced") == {"coadd", "forced"}
    assert read_stages("--stages", "mosaic..detect") == {"mosaic", "coadd", "detect"}
    assert read_stages("--stages", "..exposure") == {"singleFrame", "exposure"}
    assert read_stages("--stages", "forced..") == {"forced", "forcedCcd"}
    assert read_stages("--stages", "") == set()


@pytest.mark.parametrize("text", ["warps", "coadd..warps", "detect..coadd"])
def test_a_stage_which_does_not_exist_is_told_with_those_which_do(text):
    with pytest.raises(CommandError) as refusal:
        read_stages("--stages", text)
    assert str(refusal.value).startswith("--stages ")
    assert ("singleFrame, exposure" in str(refusal.value)) or "comes before" in str(refusal.value)


def test_of_stages_which_are_not_run_what_is_done_is_used():
    found = modes({"coadd"}, set())
    assert found["coadd"] is Mode.RUN
    before, behind = NAMES[: NAMES.index("coadd")], NAMES[NAMES.index("coadd") + 1 :]
    assert {found[name] for name in before} == {Mode.RECORDED}
    assert {found[name] for name in behind} == {Mode.ABSENT}


def test_what_is_made_of_nothing_but_a_skipped_stage_is_skipped_too():
    assert modes(set(NAMES), {"exposure"})["mosaic"] is Mode.ABSENT
    assert modes(set(NAMES), {"exposure"})["coadd"] is Mode.RUN
    behind = {name for name, mode in modes(set(NAMES), {"measure"}).items() if mode is Mode.ABSENT}
    assert behind == {"measure", "mergeMeasurements", "forced", "forcedCcd"}


def test_each_stage_but_the_first_needs_one_before_it():
    assert set(VITAL) == set(NAMES[1:])
    assert all(NAMES.index(before) < NAMES.index(name) for name, before in VITAL.items())
