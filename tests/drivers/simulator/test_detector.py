"""What a detector makes of light: read-out, saturation, defects, noise."""

import numpy as np
import pytest

from drivers.instrument_signature import remove_signature
from drivers.instruments.simcam import SIMCAM
from drivers.simulator.detector import (
    READ_NOISE,
    SATURATION,
    add_cosmics,
    add_noise,
    bias_structure,
    dark_rate,
    gains,
    read_out,
    response,
    saturate,
    smooth_response,
)
from drivers.simulator.focal_plane import detectors
from drivers.simulator.frames import exposures, make_frame
from drivers.simulator.survey import EFFECTS, Survey

NOTHING = frozenset(EFFECTS)


def only(*effects, **size):
    return Survey(**{"height": 64, "width": 96, "ccds": 2} | size, without=NOTHING - set(effects))


def assembled(survey, counts):
    header = make_frame(survey, exposures(survey)[0], 1)[1]
    amplifiers = SIMCAM.readout.amplifiers(header)
    return remove_signature(counts, amplifiers, saturation=SATURATION, overscan_order=1)


def test_the_drivers_get_back_the_electrons_which_were_read_out():
    survey = only("bias")
    random = np.random.default_rng(1)
    electrons = random.uniform(0, 5000, (64, 96)).astype(np.float32)
    counts = read_out(survey, random, 1, 100, electrons)
    found = assembled(survey, counts).image
    structure = bias_structure(survey, 1) * np.repeat(gains(survey, 1), 48)
    assert np.abs(found - structure - electrons).max() < 2.5  # rounding, and that of the overscan
    assert np.abs(structure).max() > 8


def test_the_read_noise_is_what_it_says():
    survey = only("noise", height=400, width=400)
    counts = read_out(survey, np.random.default_rng(1), 1, 100, np.zeros((400, 400), np.float32))
    noise = assembled(survey, counts).image.std()
    assert noise == pytest.approx(READ_NOISE, rel=0.05)


@pytest.mark.parametrize("level", [4.0, 40.0, 400.0])
def test_counted_electrons_have_the_variance_of_their_number(level):
    image = np.full((300, 300), level, np.float32)
    add_noise(only("noise"), np.random.default_rng(1), image)
    assert image.mean() == pytest.approx(level, rel=0.02)
    assert image.var() == pytest.approx(level, rel=0.05)


def test_what_a_pixel_cannot_hold_flows_along_its_column_and_none_is_lost():
    survey = only("saturation", height=200)
    image = np.full((200, 96), 100.0, np.float32)
    image[100, 10] = image[101, 10] = 1e6
    total = image.sum(dtype=float)
    saturate(survey, 1, image)
    assert image.sum(dtype=float) == pytest.approx(total, rel=1e-6)
    full = np.flatnonzero(image[:, 10] > 50_000)
    assert full[0] <= 91
    assert full[-1] >= 110
    assert np.array_equal(full, np.arange(full[0], full[-1] + 1))
    assert (np.delete(image, 10, axis=1) == 100).all()
    assert assembled(survey, read_out(survey, None, 1, 100, image)).saturated.sum() >= 18


def test_charge_which_flows_over_the_end_of_a_column_is_lost():
    survey = only("saturation")
    image = np.zeros((64, 96), np.float32)
    image[5, 50] = 2e6
    image[60, 50] = 2e7
    saturate(survey, 1, image)
    assert np.isfinite(image).all()
    assert (image[:, 50] == image[5, 50]).all()


def test_defects_are_dead_hot_and_whole_columns_and_always_the_same():
    survey = only("defects", height=512, width=512)
    detector = detectors(survey)[1]
    seen = response(survey, detector, "r")
    assert 512 // 2 <= (seen == np.float32(0.1)).sum() <= 512
    assert 5 <= (seen < 0.09).sum() <= 30
    rate = dark_rate(survey, 1)
    assert (rate[-1] >= 20).sum() == 1  # the hot column
    assert ((rate > 0) & (rate != 20)).sum() > 5
    assert np.array_equal(rate, dark_rate(survey, 1))
    assert not np.array_equal(rate, dark_rate(survey, 0))


def test_the_response_has_vignetting_and_differs_from_pixel_to_pixel_and_from_ccd_to_ccd():
    survey = only("flat", ccds=24, height=128, width=128)
    rim = max(detectors(survey), key=lambda d: np.hypot(d.x, d.y))
    middle = min(detectors(survey), key=lambda d: np.hypot(d.x, d.y))
    levels = [np.median(response(survey, d, "r")) for d in (middle, rim)]
    assert levels[1] < levels[0]
    ratio = response(survey, middle, "r") / smooth_response(survey, middle, "r")
    assert ratio.std() == pytest.approx(0.006, rel=0.05)
    assert np.median(response(survey, middle, "g")) != levels[0]


def test_cosmic_rays_are_sharper_than_stars():
    survey = only("cosmics", height=1024, width=512)
    image = np.zeros((1024, 512), np.float32)
    count = add_cosmics(survey, np.random.default_rng(1), image, 60.0)
    assert 4 < count < 30
    hit = image > 0
    assert count <= hit.sum() < 40 * count
    neighbours = np.roll(hit, 1, 0).astype(int) + np.roll(hit, -1, 0) + np.roll(hit, 1, 1)
    assert (hit & (neighbours == 3)).sum() < 0.2 * hit.sum()
