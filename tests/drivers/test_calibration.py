"""Calibration frames take off the detector what they show, and nothing else."""

import numpy as np
import pytest
from astropy.io import fits

from drivers.calibration import apply_response, read_calib, subtract_fringes
from drivers.exposure import Exposure, bit
from drivers.frame_error import FrameError
from drivers.registry import Calib

SHAPE = (80, 60)


def exposure_of(image, variance=25.0):
    spread = np.full(image.shape, variance, np.float32)
    mask = np.zeros(image.shape, np.int32)
    return Exposure(image.astype(np.float32), mask, spread, {}, {}, "electron", 1.0)


def frames(seed=1):
    random = np.random.default_rng(seed)
    return {
        "bias": random.normal(0, 3, SHAPE).astype(np.float32),
        "dark": random.uniform(0, 0.2, SHAPE).astype(np.float32),
        "flat": random.uniform(0.7, 1.3, SHAPE).astype(np.float32),
    }


def test_light_comes_back_as_it_was_before_the_detector():
    light = np.random.default_rng(2).uniform(500, 900, SHAPE)
    calibs = frames()
    counted = light * calibs["flat"] + calibs["dark"] * 60 + calibs["bias"]
    exposure = exposure_of(counted, variance=600.0)
    apply_response(exposure, calibs, 60.0, 0.1)
    np.testing.assert_allclose(exposure.image, light, rtol=1e-5)
    expected = (600 - calibs["bias"]) / calibs["flat"] ** 2
    np.testing.assert_allclose(exposure.variance, expected, rtol=1e-4)
    assert not exposure.mask.any()


def test_without_frames_nothing_changes():
    exposure = exposure_of(np.full(SHAPE, 7.0))
    apply_response(exposure, {}, None, 0.1)
    assert (exposure.image == 7).all()
    assert (exposure.variance == 25).all()
    assert exposure.notes == []


def test_pixels_without_response_and_defects_are_bad():
    calibs = frames()
    calibs["flat"][3, 4], calibs["flat"][5, 6] = 0.01, np.nan
    calibs["defects"] = np.zeros(SHAPE, np.float32)
    calibs["defects"][7, 8] = 1
    exposure = exposure_of(np.full(SHAPE, 100.0))
    apply_response(exposure, calibs, 60.0, 0.1)
    assert np.argwhere(exposure.mask == bit("BAD")).tolist() == [[3, 4], [5, 6], [7, 8]]
    assert np.isfinite(exposure.image).all()


def test_a_dark_needs_an_exposure_time():
    exposure = exposure_of(np.full(SHAPE, 100.0))
    apply_response(exposure, {"dark": frames()["dark"]}, None, 0.1)
    assert (exposure.image == 100).all()
    assert exposure.notes == ["the dark was not subtracted: nobody knows the exposure time"]


@pytest.mark.parametrize("strength", [0.0, 4.0, 15.0])
def test_fringes_are_scaled_to_the_frame_in_spite_of_stars(strength):
    random = np.random.default_rng(4)
    y, x = np.mgrid[0:200, 0:200]
    pattern = (1 + np.sin(x / 5 + np.sin(y / 17))).astype(np.float32)
    image = random.normal(0, 10, (200, 200)) + strength * (pattern - pattern.mean())
    covered = np.zeros(image.shape, bool)
    covered[50:80, 50:80] = True
    image[covered] += 5000
    image[10, ::7] += 300  # not covered: clipped
    exposure = exposure_of(image)
    assert subtract_fringes(exposure, pattern, covered) == pytest.approx(strength, abs=0.3)
    left = exposure.image[~covered]
    wave = pattern[~covered] - pattern[~covered].mean()
    assert abs((left * wave).sum() / (wave**2).sum()) < 0.5


def test_a_frame_is_read_and_a_wrong_one_is_named(tmp_path):
    image = np.arange(4800, dtype=np.float32).reshape(SHAPE)
    fits.PrimaryHDU(image).writeto(tmp_path / "flat.fits")
    calib = Calib("flat", "SimCam", 0, "r", 0, 1e9, "flat.fits", 0)
    read = read_calib(str(tmp_path), calib, SHAPE)
    np.testing.assert_array_equal(read, image)
    assert read.dtype.isnative
    with pytest.raises(FrameError, match=r"the flat frame .*flat\.fits has 60 x 80 pixels, but"):
        read_calib(str(tmp_path), calib, (100, 60))
    (tmp_path / "flat.fits").write_bytes((tmp_path / "flat.fits").read_bytes()[:9000])
    with pytest.raises(FrameError, match=r"flat\.fits can't be used: is truncated"):
        read_calib(str(tmp_path), calib, SHAPE)
    gone = Calib("bias", "SimCam", 0, "", 0, 1e9, "no.fits", 0)
    with pytest.raises(FrameError, match=r"the bias frame .*no\.fits can't be used"):
        read_calib(str(tmp_path), gone, SHAPE)
