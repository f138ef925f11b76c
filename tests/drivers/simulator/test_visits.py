"""Visits take the filters and the fields in turns, and are dithered and turned."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest

from drivers.simulator.focal_plane import field_radius
from drivers.simulator.sky_places import basis
from drivers.simulator.survey import PIXEL_SCALE, Survey
from drivers.simulator.visits import pointing, visit_numbered, visits


def separation(first, second):
    """Between two places on the sky [arcsec]."""
    return np.linalg.norm(basis(*first)[0] - basis(*second)[0]) * 180 / np.pi * 3600


def test_each_field_is_seen_in_each_filter():
    survey = Survey(visits=12, bands=("g", "r"), pointings=3)
    seen = Counter()
    for visit in visits(survey):
        away = [separation((visit.ra, visit.dec), pointing(survey, field)) for field in range(3)]
        seen[visit.filter, int(np.argmin(away))] += 1
        reach = survey.dither * field_radius(survey) * PIXEL_SCALE
        assert 0 < min(away) < np.sqrt(2) * reach
    assert set(seen.values()) == {2}
    assert len(seen) == 6


@pytest.mark.parametrize(("ra", "dec"), [(150.0, 2.2), (0.0, 60.0), (10.0, 90.0)])
def test_neighbouring_fields_overlap_by_a_quarter(ra, dec):
    survey = Survey(pointings=4, ra=ra, dec=dec)
    places = [pointing(survey, field) for field in range(4)]
    steps = [separation(*pair) for pair in pairwise(places)]
    diameter = 2 * field_radius(survey) * PIXEL_SCALE
    assert np.array(steps) / diameter == pytest.approx(0.75, abs=0.01)


def test_visits_differ_in_seeing_sky_rotation_and_time():
    survey = Survey(visits=8, bands=("r",))
    made = visits(survey)
    assert [visit.number for visit in made] == list(range(100, 108))
    assert all(visit_numbered(survey, visit.number) is visit for visit in made)
    for name in ("seeing", "sky", "angle", "mjd", "extinction", "warp", "focus"):
        assert len({getattr(visit, name) for visit in made}) == 8
    turned = {round(visit.angle / 180) for visit in made}
    assert turned == {0, 1}
    assert all(0.6 <= visit.seeing <= 1.0 for visit in made)


def test_a_visit_does_not_depend_on_how_many_there_are():
    assert visits(Survey(visits=2))[1] == visits(Survey(visits=7))[1]
