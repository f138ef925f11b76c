"""What is measured on real frames, compared with what others measured on them."""

from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS

from drivers.configuration import SingleFrameConfig
from drivers.exposure_io import read_exposure
from drivers.header_scan import scan_file
from drivers.reduction import reduce_ccd
from drivers.sky_position import make_wcs, pixel_scale, sky_corners, sky_positions

DECAM = sorted(f"decam/case{case}" for case in (3, 6, 8))
OBS_TEST = (
    "obs_test/raw_v1_fg.fits.gz",
    "obs_test/raw_v2_fg.fits.gz",
    "obs_test/raw_v3_fr.fits.gz",
)


def frame_of(path):
    scan = scan_file(str(path))
    assert scan.problems == ()
    return scan.frames[0]


def measure(frame):
    """Process a frame as far as it goes without a reference catalogue."""
    exposure = read_exposure(frame, overscan_order=1)
    reduced = reduce_ccd(exposure, {}, frame.exptime, SingleFrameConfig())
    wcs, measured = make_wcs(exposure.wcs), reduced.measured
    sources = measured.sources
    sources["ra"], sources["dec"] = sky_positions(wcs, sources["x"], sources["y"])
    return SimpleNamespace(
        exposure=exposure,
        sky=reduced.sky,
        sources=sources,
        seeing=measured.seeing,
        psf=measured.psf,
        wcs=wcs,
        n_cosmic_rays=reduced.n_cosmic_rays,
    )


def survey_rows(folder):
    """Return what the Legacy Surveys measured, by exposure and detector position."""
    table = fits.getdata(folder / "survey-ccds-1.fits.gz")
    return {(int(row["expnum"]), row["ccdname"].strip()): row for row in table}


@pytest.fixture(scope="module", params=DECAM)
def case(request, data):
    """All frames of a case, measured, with the rows to compare with."""
    folder = data / request.param
    rows = survey_rows(folder)
    found = []
    for path in sorted(folder.glob("*_ooi_*.fits")):
        frame = frame_of(path)
        measured = measure(frame)
        found.append((frame, measured, rows[frame.visit, measured.exposure.header["EXTNAME"]]))
    return found


@pytest.fixture(scope="module", params=OBS_TEST)
def raw(request, data):
    frame = frame_of(data / request.param)
    return frame, measure(frame)


def test_a_decam_frame_has_its_visit_ccd_filter_and_size(case):
    for frame, measured, row in case:
        assert frame.filter == row["filter"].strip()
        assert frame.exptime == pytest.approx(row["exptime"])
        assert (frame.width, frame.height) == measured.exposure.image.shape[::-1]
        assert measured.exposure.notes == [] or measured.exposure.notes[0].startswith("no seeing")


def test_the_noise_of_a_decam_sky_is_that_of_the_legacy_surveys(case):
    for frame, measured, row in case:
        expected = row["skyrms"] * row["exptime"]
        # The cut-outs of case 6 lie within a large galaxy.
        tolerance = 0.15 if frame.width < 60 or frame.width > 200 else 0.65
        assert measured.sky.noise == pytest.approx(expected, rel=tolerance)


def test_the_sky_of_a_decam_frame_is_that_of_the_legacy_surveys(case):
    for frame, measured, row in case:
        if frame.width < 60 or frame.width > 200:
            expected = row["ccdskycounts"] * row["exptime"]
            assert measured.sky.level == pytest.approx(expected, rel=0.03)


def test_the_weight_agrees_with_the_noise_of_the_pixels(case):
    for frame, measured, _ in case:
        if frame.width < 60 or frame.width > 200:
            variance = np.median(measured.exposure.variance)
            assert np.sqrt(variance) == pytest.approx(measured.sky.noise, rel=0.15)


def test_the_seeing_is_measured_where_there_are_stars_and_only_there(case):
    for frame, measured, row in case:
        if frame.width > 200:
            assert measured.seeing.n_stars >= 3
            # The table's is a Gaussian's width, the median over the whole CCD.
            assert measured.seeing.fwhm == pytest.approx(row["fwhm"], rel=0.12)
        else:
            assert measured.seeing.fwhm is None
            assert measured.seeing.reason


def test_the_coordinates_of_a_decam_frame_are_those_of_its_header(case):
    for frame, measured, _ in case:
        with fits.open(frame.path) as units:
            expected = WCS(units[1].header).calc_footprint(
                axes=(frame.width, frame.height), center=False
            )
        shape = frame.height, frame.width
        corners = sky_corners(measured.wcs, shape)
        # astropy's order is lower left, upper left, upper right, lower right.
        np.testing.assert_allclose(corners, expected[[0, 3, 2, 1]], atol=1e-8)
        assert pixel_scale(measured.wcs, (frame.height, frame.width)) == pytest.approx(
            0.263, abs=2e-3
        )


def test_sources_on_the_largest_frame_are_where_gaia_has_stars(data):
    frame = frame_of(next((data / "decam/case8").glob("*_ooi_*.fits")))
    measured = measure(frame)
    tables = [fits.getdata(path) for path in (data / "decam/case8/gaia").glob("*.fits")]
    ra, dec = (np.concatenate([table[axis] for table in tables]) for axis in ("ra", "dec"))
    bright = measured.sources[measured.sources["star"]]
    assert len(bright) >= 3
    for source in bright:
        across = (ra - source["ra"]) * np.cos(np.radians(source["dec"]))
        offset = np.hypot(across, dec - source["dec"])
        assert offset.min() * 3600 < 1.5


def test_a_raw_frame_is_assembled_from_four_amplifiers(raw):
    _, measured = raw
    exposure = measured.exposure
    assert exposure.image.shape == (2000, 1018)
    assert exposure.unit == "electron"
    # The bias jumps by 35 counts from one amplifier to the other: nothing of it may be left.
    quarters = [exposure.image[y, x] for y in (slice(0, 1000), slice(1000, 2000))
                for x in (slice(0, 509), slice(509, 1018))]  # fmt: skip
    for quarter in quarters:
        assert abs(np.median(quarter)) < 0.15 * measured.sky.noise


def test_the_sky_is_continuous_across_the_amplifiers_before_it_is_subtracted(data):
    image = read_exposure(frame_of(data / OBS_TEST[2]), overscan_order=1).image
    # The gains are known to a few percent.
    for one, other in (
        (image[980:1000, :509], image[1000:1020, :509]),
        (image[980:1000, 509:], image[1000:1020, 509:]),
        (image[:1000, 489:509], image[:1000, 509:529]),
    ):
        assert np.median(one) == pytest.approx(np.median(other), rel=0.03)


def test_the_noise_of_a_raw_frame_is_that_of_its_photons_and_its_readout(raw):
    _, measured = raw
    empty = measured.exposure.mask == 0
    assert measured.sky.noise**2 == pytest.approx(
        np.median(measured.exposure.variance[empty]), rel=0.1
    )


def test_the_defects_of_the_table_are_masked(raw):
    _, measured = raw
    mask = measured.exposure.mask
    assert mask[5, 151] & 1  # (152, 6), counted from 1
    assert (mask[1000:1861, 848] & 1).all()  # a column of 861 pixels
    assert not mask[990, 848] & 1
    assert 1200 < (mask & 1).sum() < 1500


def test_raw_frames_have_a_seeing_from_many_stars(raw):
    _, measured = raw
    assert measured.seeing.n_stars >= 15
    assert 0.5 < measured.seeing.fwhm * 0.2 < 1.0
    assert measured.seeing.scatter < 0.1 * measured.seeing.fwhm


def test_raw_frames_have_a_point_spread_function_as_wide_as_the_seeing(raw):
    _, measured = raw
    assert measured.psf.kept.sum() >= 10
    assert measured.psf.wings.fwhm == pytest.approx(measured.seeing.fwhm, rel=0.08)
    assert measured.psf.residual < 0.05
    stars = measured.sources[measured.sources["psf_star"]]
    assert np.median(stars["flux"][:, 3] / stars["psf_flux"]) == pytest.approx(1, abs=0.05)
    # The simulation had no cosmic rays; what is found are fragments of its hot pixels.
    assert measured.n_cosmic_rays < 100


@pytest.mark.filterwarnings("ignore:'datfix' made the change")
def test_the_reference_pixel_moves_with_the_trimmed_columns(raw):
    frame, measured = raw
    whole = WCS(fits.getheader(frame.path))
    expected = whole.all_pix2world(4 + 100, 200, 0)
    np.testing.assert_allclose(sky_positions(measured.wcs, 100, 200), expected, atol=1e-9)


def test_the_same_stars_are_found_in_two_visits_of_one_pointing(data):
    positions = []
    for path in OBS_TEST[:2]:
        measured = measure(frame_of(data / path))
        bright = measured.sources[measured.sources["star"]]
        # The header is that of the channel of which the frame's lowest rows are the upper 1000
        # of 2001: its coordinates are right for pixels 1001 rows further up.
        positions.append(sky_positions(measured.wcs, bright["x"], bright["y"] + 1001))
    (ra, dec), (other_ra, other_dec) = positions
    across = (ra[:, None] - other_ra) * np.cos(np.radians(dec[:, None]))
    nearest = np.hypot(across, dec[:, None] - other_dec).min(axis=1) * 3600
    assert (nearest < 0.1).mean() > 0.7


def test_the_visits_are_those_of_the_files_names(data):
    frames = [frame_of(data / path) for path in OBS_TEST]
    assert [(f.visit, f.ccd, f.filter) for f in frames] == [(1, 0, "g"), (2, 0, "g"), (3, 0, "r")]
