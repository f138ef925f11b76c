"""The astrometry of a CCD is found in spite of what its header says."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest

from drivers.astrometry.solving import Limits, Measured, solve
from drivers.astrometry.tan_sip import tan_sip_cards
from drivers.sky_position import make_wcs

LIMITS = Limits(
    farthest=60, match_radius=1, scale_tolerance=0.02, mirror=True, order=3, floor=5, clip=4
)
SHAPE = (1024, 512)
SCALE = 0.2


def header(centre, *, angle=30.0, scale=1.0, mirror=False, crpix=(256.5, 512.5)):
    """Return the cards of a tangent plane; east is to the left."""
    turn = np.radians(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    matrix = scale * SCALE / 3600 * rotation @ np.diag([1.0 if mirror else -1.0, 1.0])
    cards = {
        "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": centre[0], "CRVAL2": centre[1],
        "CRPIX1": crpix[0], "CRPIX2": crpix[1],
    }  # fmt: skip
    for i, k in np.ndindex(2, 2):
        cards[f"CD{i + 1}_{k + 1}"] = matrix[i, k]
    return cards


def sky(count=60, *, centre=(359.999, 80.0), seed=1, distortion=1e-10, strangers=60):
    """Return a CCD with distortion, its stars as measured, and the reference around it."""
    random = np.random.default_rng(seed)
    cards = header(centre, crpix=(3000.0, -2000.0)) | {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 3, "B_ORDER": 3,
        "A_3_0": distortion, "A_1_2": distortion, "B_0_3": distortion, "B_2_1": distortion,
    }  # fmt: skip
    wcs = make_wcs(cards)
    x, y = random.uniform(0, SHAPE[1], count), random.uniform(0, SHAPE[0], count)
    mag = random.uniform(15, 21, count)
    known, seen = random.random(count) < 0.85, random.random(count) < 0.9
    more = random.uniform(-300, 300 + np.array(SHAPE)[::-1], (strangers, 2))
    reference = np.concatenate([np.stack([x, y], axis=-1)[known], more])
    reference_mag = mag[known] + random.normal(0, 0.4, known.sum())
    order = np.argsort(np.append(reference_mag, random.uniform(15, 21, strangers)))
    ra, dec = wcs.all_pix2world(*reference[order].T, 0)
    bright = np.flatnonzero(seen)[np.argsort(mag[seen])]
    noise = random.normal(0, 0.02, (2, len(bright)))
    stars = Measured(x[bright] + noise[0], y[bright] + noise[1], np.full(len(bright), 0.02))
    middle = [float(value[0]) for value in wcs.all_pix2world([255.5], [511.5], 0)]
    return SimpleNamespace(wcs=wcs, stars=stars, ra=ra % 360, dec=dec, middle=middle)


def off(cards, wcs):
    """Return how far the solution is from the truth over the CCD [mas per axis, rms]."""
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 511, 9), np.linspace(0, 1023, 9)))
    ra, dec = make_wcs(cards).all_pix2world(x, y, 0)
    true_ra, true_dec = wcs.all_pix2world(x, y, 0)
    east = ((ra - true_ra + 180) % 360 - 180) * np.cos(np.radians(true_dec))
    return float(np.sqrt(np.mean([east**2, (dec - true_dec) ** 2])) * 3.6e6)


def solved(field, guess, **limits):
    found = solve(
        make_wcs(guess), SHAPE, field.stars, field.ra, field.dec, replace(LIMITS, **limits)
    )
    assert not isinstance(found, str), found
    return found


@pytest.mark.parametrize(
    "error",
    [
        {"east": 7, "north": -7},
        {"angle": 30.3, "scale": 1.01},
        {"angle": 29.7, "scale": 0.99, "east": 5},
        {"east": 40, "north": 20},
        {"mirror": True, "east": 3},
        {"angle": 210.0},
    ],
    ids=str,
)
def test_the_header_may_be_off(error):
    field = sky()
    error = dict(error)
    east, north = error.pop("east", 0) / 3600, error.pop("north", 0) / 3600
    centre = field.middle[0] + east / np.cos(np.radians(80)), field.middle[1] + north
    found = solved(field, header(centre, **error))
    assert len(found.stars) >= 40
    assert off(found.cards, field.wcs) < 10
    assert found.scatter < 10


@pytest.mark.parametrize("centre", [(359.999, 80.0), (0.001, -10.0), (150.0, 89.99), (10.0, 0.0)])
def test_no_place_on_the_sky_is_special(centre):
    field = sky(centre=centre, seed=2)
    assert off(solved(field, header(field.middle, angle=field_angle(field))).cards, field.wcs) < 10


def field_angle(field):
    """Return the angle that a header at the CCD's middle has."""
    step = field.wcs.all_pix2world([255.5, 255.5], [511.5, 512.5], 0)
    east = ((step[0][1] - step[0][0] + 180) % 360 - 180) * np.cos(np.radians(field.middle[1]))
    return float(np.degrees(np.arctan2(-east, step[1][1] - step[1][0])))


@pytest.mark.parametrize(("count", "order"), [(8, 1), (12, 1), (25, 2), (60, 3)])
def test_few_matches_allow_few_terms_and_the_corners_stay_put(count, order):
    field = sky(count, seed=3)
    found = solved(field, header(field.middle))
    assert found.order <= order
    corners = off(found.cards, field.wcs)
    assert corners < 150


def test_a_header_that_knows_the_distortion_keeps_it_with_few_stars():
    field = sky(12, seed=3, distortion=1e-9)
    knowing = dict(field.wcs.to_header(relax=True)) | {"CRVAL2": 80.0 + 3 / 3600}
    knowing = {key: value for key, value in knowing.items() if not key.startswith("MJD")}
    assert off(solved(field, knowing).cards, field.wcs) < 25
    assert off(solved(field, header(field.middle)).cards, field.wcs) > 50


def test_too_few_stars_or_a_wrong_field_are_said_in_words():
    field = sky(3, strangers=2)
    said = solve(make_wcs(header(field.middle)), SHAPE, field.stars, field.ra, field.dec, LIMITS)
    assert "too few to match" in said
    here, elsewhere = sky(60, seed=4), sky(60, seed=5)
    guess = make_wcs(header(here.middle))
    said = solve(guess, SHAPE, here.stars, elsewhere.ra, elsewhere.dec, LIMITS)
    assert "fit no part of the reference" in said


def test_a_mirror_image_is_refused_where_the_header_is_to_be_believed():
    field = sky()
    said = solve(
        make_wcs(header(field.middle, mirror=True)),
        SHAPE,
        field.stars,
        field.ra,
        field.dec,
        replace(LIMITS, mirror=False),
    )
    assert isinstance(said, str)


def test_the_cards_describe_the_mapping_in_both_directions():
    field = sky(distortion=1e-9)
    cards = tan_sip_cards(lambda x, y: field.wcs.all_pix2world(x, y, 0), SHAPE, 3)
    assert off(cards, field.wcs) < 0.5
    wcs = make_wcs(cards)
    x, y = np.array([0.0, 511, 100, 300]), np.array([0.0, 1023, 800, 200])
    ra, dec = wcs.all_pix2world(x, y, 0)
    # AP and BP alone, as programs have it that don't iterate.
    plane = np.array(wcs.wcs_world2pix(ra, dec, 1)) - wcs.wcs.crpix[:, None]
    back = wcs.sip_foc2pix(plane.T, 1) - 1
    np.testing.assert_allclose(back, np.stack([x, y], axis=-1), atol=0.02)
