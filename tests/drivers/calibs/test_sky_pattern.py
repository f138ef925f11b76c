"""The sky frames are what the skies of all visits have in common beside what is smooth."""

import numpy as np
import pytest

from drivers.calibs.sky_pattern import sky_patterns
from drivers.configuration import SkyCorrectionConfig
from simulated_skies import focal_plane, smooth

CONFIG = SkyCorrectionConfig()


def pattern(ccd):
    random = np.random.default_rng(100 + ccd)
    return 0.005 * random.standard_normal((10, 5))


def visits(count):
    def sky(visit):
        level = 1 + 0.1 * visit

        def made(u, v, ccd):
            tilted = smooth(u, v) * (1 + 0.02 * (visit - 2) * u)
            return level * (tilted + 2000 * pattern(ccd))

        return made

    return {visit: focal_plane(sky(visit)) for visit in range(count)}


def test_the_pattern_is_found_under_skies_of_any_level_and_slope():
    found = sky_patterns(visits(5), CONFIG, least=3)
    true = np.concatenate([pattern(ccd) for ccd in range(8)])
    got = np.concatenate([found[ccd] for ccd in range(8)])
    assert np.polyfit(true.ravel(), got.ravel(), 1)[0] == pytest.approx(1, abs=0.05)
    assert (got - true).std() < 0.15 * true.std()


def test_an_object_in_one_visit_is_in_no_sky_frame():
    skies = visits(5)
    skies[2][4].mesh.residual[3:6, 1:4] += 500
    found, clean = (sky_patterns(some, CONFIG, least=3) for some in (skies, visits(5)))
    assert np.abs(found[4] - clean[4]).max() < 0.002


def test_ccds_of_too_few_visits_have_none():
    some = visits(3)
    del some[1][6]
    assert set(sky_patterns(some, CONFIG, least=3)) == {0, 1, 2, 3, 4, 5, 7}
    assert not sky_patterns(visits(2), CONFIG, least=3)


def test_a_cell_of_which_nothing_is_known_gets_none_of_the_sky():
    some = visits(4)
    for skies in some.values():
        skies[0].mesh.residual[2, 3] = np.nan
    assert sky_patterns(some, CONFIG, least=3)[0][2, 3] == 0
