"""What is measured on simulated frames is what was simulated."""

from types import SimpleNamespace

import numpy as np
import pytest

from drivers.configuration import SingleFrameConfig
from drivers.exposure_io import read_exposure
from drivers.header_scan import scan_file
from drivers.reduction import reduce_ccd
from drivers.simulator.focal_plane import detectors
from drivers.simulator.light import fluxes, near
from drivers.simulator.optics import header_wcs
from drivers.simulator.point_spread import WEIGHTS, covariances
from drivers.simulator.sources import stars
from drivers.simulator.survey import EFFECTS, PIXEL_SCALE, Survey
from drivers.simulator.visits import visits
from drivers.simulator.writing import make_survey
from drivers.sky_position import make_wcs, pixel_scale, sky_corners


def measure(frame):
    """Process a frame as far as it goes without a reference catalogue."""
    exposure = read_exposure(frame, overscan_order=1)
    reduced = reduce_ccd(exposure, {}, frame.exptime, SingleFrameConfig())
    return SimpleNamespace(
        exposure=exposure,
        sky=reduced.sky,
        sources=reduced.measured.sources,
        seeing=reduced.measured.seeing,
        wcs=make_wcs(exposure.wcs),
    )


@pytest.fixture(scope="module", params=[0, 1, 2, 3])
def ccd(request, tmp_path_factory):
    """One CCD of each of four visits, with many stars; what was measured, and the truth."""
    # What single frames are corrected for by calibration frames is left out.
    kept = {"noise", "saturation", "proper_motion"}
    survey = Survey(
        visits=4, ccds=1, height=900, width=700, stars=150, seed=11, calibs=0,
        without=frozenset(EFFECTS) - kept,
    )  # fmt: skip
    paths = make_survey(survey, tmp_path_factory.mktemp("dense"))
    frame = scan_file(str(paths[request.param])).frames[0]
    return survey, visits(survey)[request.param], measure(frame)


def enclosed(survey, visit, radius):
    """Return the part of a star's flux within a radius [px]."""
    middle = np.zeros(1)
    moments = covariances(survey, visit, detectors(survey)[0], middle, middle)[0]
    return float(1 - WEIGHTS @ np.exp(-(radius**2) / (2 * moments[:, 0])))


def matched(ccd, faintest):
    """Return indices of isolated true stars and of the sources which are nearest to them."""
    survey, visit, measured = ccd
    detector = detectors(survey)[0]
    table, x, y = near(survey, visit, detector, stars(survey))
    flux = fluxes(survey, visit, detector, table, x, y)
    inside = (x > 15) & (x < survey.width - 16) & (y > 15) & (y < survey.height - 16)
    distances = np.hypot(x[:, None] - x, y[:, None] - y)
    np.fill_diagonal(distances, np.inf)
    crowding = np.where(distances < 25, flux[None, :], 0).sum(axis=1)
    bright = (flux > faintest) & (flux < 1e6)
    chosen = np.flatnonzero(inside & bright & (crowding < 0.02 * flux))
    sources = measured.sources
    separation = np.hypot(x[chosen, None] - sources["x"], y[chosen, None] - sources["y"])
    return chosen, separation.argmin(axis=1), separation.min(axis=1), flux


def test_the_seeing_is_the_width_of_the_true_profile(ccd):
    _, visit, measured = ccd
    assert measured.seeing.fwhm * PIXEL_SCALE == pytest.approx(visit.seeing, rel=0.05)
    assert measured.seeing.n_stars >= 10
    assert measured.seeing.scatter < 0.1 * measured.seeing.fwhm


def test_bright_stars_are_found_where_they_are(ccd):
    chosen, _, separation, _ = matched(ccd, faintest=12_000)
    assert len(chosen) >= 5
    assert (separation < 1.0).mean() >= 0.95
    assert np.median(separation) < 0.1


def test_fluxes_in_a_wide_aperture_are_unbiased(ccd):
    survey, visit, measured = ccd
    chosen, nearest, _, flux = matched(ccd, faintest=20_000)
    expected = flux[chosen] * enclosed(survey, visit, 12)
    ratios = measured.sources["flux"][nearest, 3] / expected
    assert len(ratios) >= 3
    assert np.median(ratios) == pytest.approx(1, abs=0.03)


def test_flux_errors_describe_the_scatter(ccd):
    survey, visit, measured = ccd
    chosen, nearest, separation, flux = matched(ccd, faintest=5_000)
    found = separation < 1
    chosen, nearest = chosen[found], nearest[found]
    expected = flux[chosen] * enclosed(survey, visit, 3)
    measured_flux = measured.sources["flux"][nearest, 0]
    pulls = (measured_flux - expected) / measured.sources["flux_err"][nearest, 0]
    assert 0.3 < np.median(np.abs(pulls)) / 0.6745 < 3


def test_the_sky_and_its_noise_are_those_of_the_simulation(ccd):
    _, visit, measured = ccd
    assert measured.sky.level == pytest.approx(visit.sky, rel=0.01)
    assert measured.sky.noise == pytest.approx(np.sqrt(visit.sky + 36), rel=0.04)
    assert abs(np.median(measured.exposure.image)) < 0.2 * measured.sky.noise


def test_the_variance_of_the_empty_sky_is_the_square_of_its_noise(ccd):
    _, _, measured = ccd
    empty = measured.exposure.mask == 0
    variance = np.median(measured.exposure.variance[empty])
    assert variance == pytest.approx(measured.sky.noise**2, rel=0.1)


def test_corners_and_scale_are_those_of_the_coordinates(ccd):
    survey, visit, measured = ccd
    shape = measured.exposure.image.shape
    assert shape == (survey.height, survey.width)
    wide, high = survey.width, survey.height
    edges = [(-0.5, -0.5), (wide - 0.5, -0.5), (wide - 0.5, high - 0.5), (-0.5, high - 0.5)]
    expected = make_wcs(header_wcs(survey, visit, detectors(survey)[0])).wcs_pix2world(edges, 0)
    np.testing.assert_allclose(sky_corners(measured.wcs, shape), expected, atol=1e-9)
    assert pixel_scale(measured.wcs, shape) == pytest.approx(PIXEL_SCALE, rel=1e-4)
