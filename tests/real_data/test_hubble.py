"""Frames of another telescope, described by a user: Hubble's ACS, from a package's own tests."""

from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from drivers.exposure import bit
from drivers.exposure_io import read_exposure
from drivers.header_scan import scan_file
from drivers.instruments import Cameras
from drivers.instruments.written import read_instrument


@pytest.fixture(scope="module")
def frames():
    package = find_spec("spherical_geometry")
    folder = Path(package.origin).parent / "tests" / "data" if package else Path("none")
    if not (folder / "j8bt06nyq_flt.fits").is_file():
        pytest.skip("no frames of ACS: the package spherical-geometry is not installed")
    return folder


@pytest.fixture(scope="module")
def acs():
    return Cameras([read_instrument(Path(__file__).with_name("acs.toml"))])


def test_a_frame_is_read_with_its_error_and_its_quality(frames, acs):
    path = frames / "j8bt06nyq_flt.fits"
    scan = scan_file(str(path), acs)
    assert scan.problems == ()
    (frame,) = scan.frames
    assert (frame.visit, frame.ccd, frame.filter) == (int("j8bt06nyq", 36), 1, "F606W")
    assert (frame.exptime, frame.mjd) == (60.0, pytest.approx(52377.861373))
    exposure = read_exposure(frame, acs.named("ACS"), overscan_order=0)
    assert (exposure.unit, exposure.gain, exposure.notes) == ("electron", 1.0, [])
    with fits.open(path) as units:
        quality, error = units["DQ"].data, units["ERR"].data
        good = exposure.mask == 0
        assert good.mean() > 0.9
        np.testing.assert_allclose(exposure.variance[good], error[good] ** 2, rtol=1e-6)
        assert (exposure.mask[quality & 4096 != 0] & bit("CR") != 0).all()
        assert (exposure.mask[quality & 16 != 0] & bit("BAD") != 0).all()


def test_both_detectors_of_a_file_are_frames_each_with_its_own_planes(frames, acs):
    for name in ("2chipA.fits.gz", "2chipB.fits.gz"):
        scan = scan_file(str(frames / name), acs)
        assert [(frame.ccd, frame.hdu) for frame in scan.frames] == [(2, 1), (1, 4)]
        for frame in scan.frames:
            exposure = read_exposure(frame, acs.named("ACS"), overscan_order=0)
            with fits.open(frames / name) as units:
                error = units[frame.hdu + 1].data
            good = exposure.mask == 0
            np.testing.assert_allclose(exposure.variance[good], error[good] ** 2, rtol=1e-6)
