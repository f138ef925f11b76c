"""The reference catalogue: other filters, errors, motions, and what it lacks."""

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial import cKDTree

from drivers.configuration.loading import load_configuration
from drivers.configuration.survey import SurveyConfig
from drivers.reference.tables import read_stars
from drivers.simulator.photometry import COLOUR_TERMS, camera_magnitude, configuration
from drivers.simulator.reference import reference
from drivers.simulator.sky_places import ARCSEC, basis
from drivers.simulator.sources import asteroids, galaxies, stars
from drivers.simulator.survey import BANDS, PIXEL_SCALE, Survey
from drivers.simulator.truth import source_units

SURVEY = Survey(ccds=6, seed=3)


def matched(survey, truth):
    """Return rows of the reference and of the truth which belong together, and offsets [mas]."""
    table = reference(survey)
    first, second = (basis(t["ra"], t["dec"])[0] for t in (table, truth))
    distance, nearest = cKDTree(second).query(first)
    near = distance < 30e-3 * ARCSEC
    table, there = table[near], truth[nearest[near]]
    east = (table["ra"] - there["ra"]) * np.cos(np.radians(there["dec"])) * 3.6e6
    return table, there, np.array([east, (table["dec"] - there["dec"]) * 3.6e6])


def test_positions_magnitudes_and_motions_have_the_errors_which_are_said():
    table, truth, offsets = matched(SURVEY, stars(SURVEY))
    assert len(table) > 200
    assert (offsets / table["ra_err"]).std() == pytest.approx(1, abs=0.1)
    assert (table["ra_err"].min(), table["ra_err"].max()) == pytest.approx((2, 5))
    assert (table["pm_ra"] - truth["pm_ra"]).std() == pytest.approx(0.2, rel=0.15)
    for band in BANDS:
        pull = (table[f"ref_{band}"] - truth[f"ref_{band}"]) / table[f"ref_{band}_err"]
        assert pull.std() == pytest.approx(1, abs=0.15)


def test_it_lacks_faint_stars_and_has_some_galaxies():
    _, truth, _ = matched(SURVEY, stars(SURVEY))
    for low, high, least, most in (
        (15, 20, 0.93, 1.0),
        (21.3, 21.7, 0.3, 0.7),
        (22.5, 24, 0, 0.05),
    ):
        there = stars(SURVEY)["ref_r"]
        part = np.sum((truth["ref_r"] > low) & (truth["ref_r"] < high)) / np.sum(
            (there > low) & (there < high)
        )
        assert least <= part <= most
    assert len(matched(SURVEY, galaxies(SURVEY))[0]) > 3
    assert len(set(reference(SURVEY)["id"])) == len(reference(SURVEY))


def test_filters_differ_from_those_of_the_camera_by_a_term_in_colour():
    table = stars(SURVEY)
    colour = (table["ref_g"] - table["ref_r"]).astype(float)
    assert np.ptp(colour) > 1
    for band in BANDS:
        difference = (table[f"mag_{band}"] - table[f"ref_{band}"]).astype(float)
        c, b, a = np.polyfit(colour - 0.6, difference, 2)[[2, 0, 1]]
        assert (a, b, c) == pytest.approx((*COLOUR_TERMS[band], 0), abs=1e-4)
        assert np.allclose(camera_magnitude(band, table), table[f"mag_{band}"], atol=1e-5)


def test_the_drivers_can_read_the_colour_terms(tmp_path):
    path = tmp_path / "survey.toml"
    path.write_text(configuration())
    terms = load_configuration(SurveyConfig, [path]).single_frame.photometry.colour_terms
    table = stars(SURVEY)
    colour = (table["ref_g"] - table["ref_r"]).astype(float)
    for band in BANDS:
        added = np.polynomial.polynomial.polyval(colour, terms[band])
        assert table[f"ref_{band}"] + added == pytest.approx(table[f"mag_{band}"], abs=1e-4)


def test_the_drivers_can_read_the_catalogue(tmp_path):
    path = tmp_path / "reference.fits"
    fits.BinTableHDU(reference(SURVEY), name="REFERENCE").writeto(path)
    found, magnitudes = read_stars(path)
    assert magnitudes == [f"ref_{band}" for band in BANDS]
    for name in ("id", "ra", "pm_dec", "epoch", "ref_g", "ref_y_err"):
        assert np.array_equal(found[name], reference(SURVEY)[name])


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (200.0, 90.0), (10.0, -89.99)])
def test_sources_surround_the_survey_wherever_it_is(ra, dec):
    survey = Survey(ccds=2, ra=ra, dec=dec)
    out = basis(ra, dec)[0]
    for table in (stars(survey), galaxies(survey), reference(survey)):
        distance = np.degrees(np.arccos(basis(table["ra"], table["dec"])[0] @ out)) * 3600
        assert 100 < distance.max() < 600
        assert (table["ra"] >= 0).all()
        assert (table["ra"] < 360).all()


def test_there_are_as_many_sources_as_asked_for_and_some_are_blended():
    table = stars(SURVEY)
    with source_units(SURVEY) as units:
        assert [len(units[i].data) for i in (1, 2, 3)] == [
            len(table), len(galaxies(SURVEY)), len(asteroids(SURVEY)),
        ]  # fmt: skip
    vectors = basis(table["ra"], table["dec"])[0]
    area = np.ptp(table["dec"]) * np.ptp(table["ra"]) * np.cos(np.radians(2.2)) * 3600**2
    assert len(table) / area * 512 * 1024 * PIXEL_SCALE**2 == pytest.approx(200, rel=0.05)
    near = cKDTree(vectors).query_pairs(2.5 * ARCSEC, output_type="ndarray")
    assert 0.1 < len(np.unique(near)) / len(table) < 0.3
