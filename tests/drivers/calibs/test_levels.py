"""How bright each flat exposure was is solved together with how sensitive each CCD is."""

import numpy as np
import pytest

from drivers.calibs.levels import solve_levels
from drivers.frame_error import FrameError


@pytest.fixture
def truth():
    random = np.random.default_rng(2)
    bright = {visit: float(random.uniform(1e4, 4e4)) for visit in range(30, 37)}
    sensitive = dict(enumerate(random.normal(1, 0.03, 9)))
    mean = np.mean(list(sensitive.values()))
    return bright, {ccd: float(one / mean) for ccd, one in sensitive.items()}


def levels(truth, scatter=0.0, without=()):
    bright, sensitive = truth
    random = np.random.default_rng(3)
    return {
        (visit, ccd): bright[visit] * sensitive[ccd] * float(1 + random.normal(0, scatter))
        for visit in bright
        for ccd in sensitive
        if (visit, ccd) not in without
    }


def test_the_scales_are_found_exactly_with_pairs_missing(truth):
    found = solve_levels(levels(truth, without={(30, 0), (31, 0), (30, 5), (36, 8)}), clip=5)
    assert found.visits == pytest.approx(truth[0], rel=1e-6)
    assert found.ccds == pytest.approx(truth[1], rel=1e-6)
    assert not found.rejected
    assert np.mean(list(found.ccds.values())) == pytest.approx(1)


def test_a_level_which_fits_nothing_is_rejected(truth):
    some = levels(truth, scatter=0.0005)
    some[33, 4] *= 0.5
    found = solve_levels(some, clip=5)
    assert found.rejected == ((33, 4),)
    assert found.visits[33] == pytest.approx(truth[0][33], rel=1e-3)
    assert found.ccds[4] == pytest.approx(truth[1][4], rel=1e-3)
    assert found.scatter == pytest.approx(0.0005, rel=0.3)


def test_a_ccd_of_another_sensitivity_is_no_outlier(truth):
    truth[1][2] *= 0.3
    assert not solve_levels(levels(truth, scatter=0.0005), clip=5).rejected


def test_groups_of_exposures_without_a_common_ccd_are_refused(truth):
    apart = {(visit, ccd) for visit, ccd in levels(truth) if (visit < 33) != (ccd < 4)}
    with pytest.raises(FrameError, match="2 groups which have no CCD in common"):
        solve_levels(levels(truth, without=apart), clip=5)


def test_without_levels_there_is_no_solution():
    with pytest.raises(FrameError, match="no flat exposure"):
        solve_levels({}, clip=5)
