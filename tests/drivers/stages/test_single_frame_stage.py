"""A CCD of the simulated survey is processed as it should be; only these tests know the truth."""

import json
import warnings
from types import SimpleNamespace

import numpy as np
import pytest
from astropy.io import fits
from astropy.utils.exceptions import AstropyWarning

from drivers.configuration import SingleFrameConfig, load_configuration
from drivers.header_scan import scan_file
from drivers.results import REFERENCE
from drivers.simulator.photometry import COLOUR_TERMS, PIVOT
from drivers.simulator.survey import Survey
from drivers.simulator.writing import make_survey
from drivers.sky_position import make_wcs
from drivers.stages.single_frame import SingleFrameJob, single_frame

SURVEY = Survey(visits=2, ccds=1, bands=("g", "r"), stars=250, galaxies=100, seed=5, calibs=0)
"""Detectors of 512 x 1024 pixels without flat or vignetting, so that no calibration is needed."""


@pytest.fixture(scope="module")
def survey(tmp_path_factory):
    from dataclasses import replace

    folder = tmp_path_factory.mktemp("flat")
    make_survey(replace(SURVEY, without=frozenset({"flat", "bias", "dark"})), folder)
    with fits.open(folder / "truth" / "ccds.fits") as units:
        ccds = np.array(units["CCDS"].data)
    with fits.open(folder / "truth" / "sources.fits") as units:
        stars = np.array(units["STARS"].data)
    with fits.open(folder / "reference.fits") as units:
        catalogue = np.array(units["REFERENCE"].data)
    return SimpleNamespace(folder=folder, ccds=ccds, stars=stars, catalogue=catalogue)


def reference_of(survey, band):
    table = np.zeros(len(survey.catalogue), REFERENCE)
    for name in ("id", "ra", "dec", "pm_ra", "pm_dec", "epoch"):
        table[name] = survey.catalogue[name]
    table["mag"] = survey.catalogue[f"ref_{band}"]
    table["mag_err"] = survey.catalogue[f"ref_{band}_err"]
    table["colour"] = survey.catalogue["ref_g"] - survey.catalogue["ref_r"]
    return table


def configuration():
    words = []
    for band, (a, b) in COLOUR_TERMS.items():
        terms = (-a * PIVOT + b * PIVOT**2, a - 2 * b * PIVOT, b)
        words.append(f"photometry.colour_terms.{band}={list(terms)}")
    return load_configuration(SingleFrameConfig, words=words)


def job_of(survey, path, **changes):
    frame = scan_file(str(path)).frames[0]
    options = {
        "frame": frame,
        "root": str(survey.folder),
        "image": f"i{frame.visit}.fits",
        "catalog": f"c{frame.visit}.fits",
        "configuration": configuration(),
        "reference": reference_of(survey, frame.filter),
    }
    return SingleFrameJob(**options | changes)


def process(job, monkeypatch):
    rows = {}
    monkeypatch.setattr("drivers.stages.single_frame.record", lambda **row: rows.update(row))
    result = single_frame(job)
    assert result.row == rows
    json.dumps(rows, allow_nan=False)
    return result


@pytest.fixture(scope="module", params=[0, 1], ids=["g", "r"])
def ccd(survey, request):
    path = sorted((survey.folder / "raw").glob("sim-*.fits"))[request.param]
    job = job_of(survey, path)
    with pytest.MonkeyPatch.context() as patch:
        result = process(job, patch)
    row = survey.ccds[survey.ccds["visit"] == job.frame.visit][0]
    cards = {name: row[name].item() for name in row.dtype.names[12:]} | {
        "CTYPE1": "RA---TAN-SIP", "CTYPE2": "DEC--TAN-SIP", "A_ORDER": 4, "B_ORDER": 4,
    }  # fmt: skip
    with fits.open(survey.folder / job.catalog) as units:
        sources = np.array(units["SOURCES"].data)
    return SimpleNamespace(
        job=job, result=result, row=result.row, truth=row, wcs=make_wcs(cards), sources=sources
    )


def nearest_stars(survey, ccd):
    """Return the sources which are bright true stars, and those stars."""
    years = 2000 + (ccd.job.frame.mjd - 51544.5) / 365.25 - 2016.0
    stars = survey.stars
    ra = stars["ra"] + stars["pm_ra"] * years / 3.6e6 / np.cos(np.radians(stars["dec"]))
    dec = stars["dec"] + stars["pm_dec"] * years / 3.6e6
    x, y = ccd.wcs.all_world2pix(ra, dec, 0, quiet=True)
    sources = ccd.sources
    bright = (sources["psf_flux"] > 100 * sources["psf_flux_err"]) & ~sources["saturated"]
    chosen = np.flatnonzero(bright & ~sources["edge"])
    distance = np.hypot(sources["x"][chosen, None] - x, sources["y"][chosen, None] - y)
    good = distance.min(axis=1) < 1
    return chosen[good], distance.argmin(axis=1)[good], x, y


def test_pixels_are_where_the_header_did_not_say(ccd):
    x, y = (axis.ravel() for axis in np.meshgrid(np.linspace(0, 511, 9), np.linspace(0, 1023, 9)))
    true = np.array(ccd.wcs.all_pix2world(x, y, 0))

    def off(cards):
        found = np.array(make_wcs(cards).all_pix2world(x, y, 0))
        east = (found[0] - true[0]) * np.cos(np.radians(true[1]))
        return float(np.sqrt(np.mean([east**2, (found[1] - true[1]) ** 2]))) * 3.6e6

    with fits.open(ccd.job.frame.path) as units:
        header = {key: value for key, value in units[0].header.items() if key.startswith("C")}
    assert off(header) > 200
    assert off(ccd.row["wcs"]) < 15
    assert ccd.row["wcs_source"] == "reference"
    assert ccd.row["n_matched"] > 30
    assert ccd.row["astrometric_scatter"] < 15


def test_the_zero_point_is_that_of_the_exposure(ccd):
    assert ccd.row["zero_point"] == pytest.approx(ccd.truth["zero_point"], abs=0.010)
    assert ccd.row["zero_point_err"] < 0.01
    assert ccd.row["n_photometric"] > 20


def test_magnitudes_of_stars_are_true(survey, ccd):
    sources, stars, x, y = nearest_stars(survey, ccd)
    mag = ccd.row["zero_point"] - 2.5 * np.log10(ccd.sources["psf_flux"][sources])
    off = mag - survey.stars[f"mag_{ccd.job.frame.filter}"][stars]
    assert len(off) > 15
    assert np.median(off) == pytest.approx(0, abs=0.005)
    assert 1.48 * np.median(np.abs(off - np.median(off))) < 0.02
    for measured, true in ((ccd.sources["x"], x), (ccd.sources["y"], y)):
        assert np.median(measured[sources] - true[stars]) == pytest.approx(0, abs=0.02)


def test_the_seeing_and_the_ellipticity_are_true(ccd):
    assert ccd.row["seeing"] == pytest.approx(ccd.truth["seeing"], rel=0.03)
    true = np.hypot(ccd.truth["e1"], ccd.truth["e2"])
    assert ccd.row["ellipticity"] == pytest.approx(true, abs=0.03)


def test_the_stars_that_are_sent_on_are_matched_and_clean(ccd):
    stars = ccd.result.stars
    matched = stars[stars["matched"]]
    assert len(matched) > 25
    assert (matched["id"] > 0).all()
    ra, dec = ccd.wcs.all_pix2world(matched["x"], matched["y"], 0)
    off = np.hypot((ra - matched["ra"]) * np.cos(np.radians(dec)), dec - matched["dec"]) * 3.6e6
    assert np.median(off) < 30
    assert np.isfinite(matched["mag"]).all()
    assert (stars["flux"] > 0).all()
    assert (stars[~stars["matched"]]["id"] == -1).all()


def test_the_files_say_what_was_done(survey, ccd):
    warnings.simplefilter("error", AstropyWarning)
    for name in (ccd.job.image, ccd.job.catalog):
        with fits.open(survey.folder / name, checksum=True) as units:
            header = units[0].header
            assert header["CONFDIG"] == ccd.job.configuration.digest()
            assert header["RAWFILE"] == f"sim-{ccd.job.frame.visit:06d}-000.fits"
            assert header["MAGZERO"] == ccd.row["zero_point"]
            assert all({"CHECKSUM", "DATASUM"} <= set(unit.header) for unit in units)
            assert all(unit.data is None or len(unit.data) for unit in units)
    with fits.open(survey.folder / ccd.job.image) as units:
        psf = units["PSF"].data
        assert psf.shape == ccd.result.psf.coefficients.shape
        assert units["SKY"].data.shape == ccd.result.sky.subtracted.shape
        assert units["IMAGE"].header["A_ORDER"] >= 3
    with fits.open(survey.folder / ccd.job.catalog) as units:
        assert units["SOURCES"].columns["psf_flux"].unit == "electron"


def first_frame(survey):
    return sorted((survey.folder / "raw").glob("sim-*.fits"))[0]


def test_without_a_reference_the_header_stands_and_that_is_noted(survey, monkeypatch):
    row = process(job_of(survey, first_frame(survey), reference=None), monkeypatch).row
    assert (row["wcs_source"], row["zero_point"], row["n_matched"]) == ("header", None, 0)
    said = "world coordinates of the header, and no zero point: there is no reference catalogue"
    assert said in row["notes"]


def test_a_filter_unknown_to_the_reference_has_no_zero_point(survey, monkeypatch):
    reference = reference_of(survey, "g")
    bright = reference["mag"].copy()
    reference["mag"] = np.nan
    reference = reference[np.argsort(bright)]
    row = process(job_of(survey, first_frame(survey), reference=reference), monkeypatch).row
    assert row["zero_point"] is None
    said = "no zero point: the reference has no magnitudes or colours for filter g"
    assert said in row["notes"]
    assert row["wcs_source"] == "reference"


def test_a_missing_calibration_frame_is_noted_and_a_wrong_one_is_an_error(survey, monkeypatch):
    from drivers.frame_error import FrameError
    from drivers.registry import Calib

    path = first_frame(survey)
    row = process(job_of(survey, path, reference=None), monkeypatch).row
    assert "no calibration frame: bias, dark, flat" in row["notes"]
    wrong = Calib("flat", "SimCam", 0, "g", 0, 1e9, "no.fits", 0)
    with pytest.raises(FrameError, match=r"sim-000100-000\.fits: the flat frame .*no\.fits"):
        process(job_of(survey, path, calibs=(wrong,)), monkeypatch)
