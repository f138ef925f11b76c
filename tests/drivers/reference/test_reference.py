"""The reference catalogue: what a table becomes, and which stars a region has."""

import sqlite3
from contextlib import closing

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import Table

from drivers.configuration.reference import BandReference, ReferenceColumns, ReferenceConfig
from drivers.frame_error import FrameError
from drivers.reference import (
    CatalogueError,
    Reference,
    add_stars,
    choose,
    open_reference,
    read_stars,
)
from drivers.reference.bands import Choice
from drivers.results import REFERENCE
from drivers.sky_polygon import polygon

NOTHING = Choice(None, None)


def sky(count, seed=1):
    random = np.random.default_rng(seed)
    dec = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    values = {
        "id": np.arange(count) + 2**60,
        "ra": random.uniform(0, 360, count),
        "dec": dec,
        "pm_ra": random.normal(0, 20, count),
        "pm_dec": random.normal(0, 20, count),
        "epoch": np.full(count, 2016.0),
        "ref_g": random.uniform(15, 22, count).astype(np.float32),
        "ref_g_err": np.full(count, 0.01, np.float32),
        "ref_r": random.uniform(15, 22, count).astype(np.float32),
        "ref_r_err": np.full(count, 0.02, np.float32),
    }
    return Table(values)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "reference.fits"
    sky(2000).write(path)
    return path


@pytest.fixture
def catalogue(tmp_path, table):
    with open_reference(tmp_path / "reference.sqlite", create=True) as connection:
        add_stars(connection, *read_stars(table))
        yield Reference(connection)


@pytest.mark.parametrize(("ra", "dec"), [(0.0, 0.0), (90.0, 90.0), (12.0, -89.0), (181.0, 45.0)])
def test_the_stars_of_a_region_are_those_of_all_in_it(catalogue, ra, dec):
    edges = np.radians([45, 135, 225, 315])
    a, d = np.radians([ra, dec])
    x, y = np.tan(np.radians(14)) * np.cos(edges), np.tan(np.radians(11)) * np.sin(edges)
    norm = np.cos(d) - y * np.sin(d)
    corners = a + np.arctan2(x, norm), np.arctan2(np.sin(d) + y * np.cos(d), np.hypot(x, norm))
    region = polygon(np.degrees(corners))
    stars = sky(2000)
    inside = region.contains(np.radians(stars["ra"]), np.radians(stars["dec"]))
    found = catalogue.stars(region, NOTHING)
    assert found["id"].tolist() == stars["id"][inside].tolist()
    assert len(found) > 5
    wider = catalogue.stars(region, NOTHING, margin=3600)
    assert set(found["id"]) < set(wider["id"])


def test_magnitude_and_colour_are_those_of_the_filter(catalogue):
    region = polygon([[0, 90, 90, 0], [0, 0, 60, 60]])
    choice = choose(catalogue.magnitudes, ReferenceConfig(), "r")
    found = catalogue.stars(region, choice)
    assert found.dtype == REFERENCE
    expected = sky(2000)
    expected = expected[np.isin(expected["id"], found["id"])]
    for ours, theirs in (("ra", "ra"), ("epoch", "epoch"), ("mag", "ref_r"), ("pm_ra", "pm_ra")):
        np.testing.assert_allclose(found[ours], expected[theirs], rtol=1e-6)
    np.testing.assert_allclose(found["mag_err"], 0.02)
    np.testing.assert_allclose(found["colour"], expected["ref_g"] - expected["ref_r"], atol=1e-5)


def test_an_empty_region_and_an_unknown_filter_are_no_failure(catalogue):
    assert len(catalogue.stars(polygon([[0, 0.01, 0], [0, 0, 0.01]]), NOTHING)) == 0
    choice = choose(catalogue.magnitudes, ReferenceConfig(), "N921")
    assert choice.note == ("the reference has no magnitude for filter N921; it has ref_g, ref_r")
    stars = catalogue.stars(polygon([[0, 90, 90, 0], [0, 0, 60, 60]]), choice)
    assert np.isnan(stars["mag"]).all()
    assert np.isnan(stars["colour"]).all()
    assert len(stars)


def test_the_configuration_says_what_stands_for_a_filter():
    config = ReferenceConfig(
        bands={
            "HSC-G": BandReference(magnitude="ref_g", colour=("ref_r", "ref_i")),
            "z": BandReference(magnitude="ref_z"),
        },
        colour=("ref_g", "ref_i"),
    )
    names = ["ref_r", "ref_g", "ref_i", "i"]
    assert choose(names, config, "HSC-G") == Choice("ref_g", ("ref_r", "ref_i"))
    assert choose(names, config, "i") == Choice("ref_i", ("ref_g", "ref_i"))
    missing = choose(names, config, "z")
    assert (missing.magnitude, missing.colour) == (None, ("ref_g", "ref_i"))
    assert missing.note == "the reference has no ref_z for filter z"
    assert choose(["g"], ReferenceConfig(), "g") == Choice("g", None)
    # Gaia's G is no g.
    assert choose(["phot_g_mean_mag"], ReferenceConfig(), "g").magnitude is None


def test_adding_again_replaces_the_stars(tmp_path, table):
    stars, magnitudes = read_stars(table)
    with open_reference(tmp_path / "reference.sqlite", create=True) as connection:
        add_stars(connection, stars, magnitudes)
        stars["ra"] = (stars["ra"] + 90) % 360
        add_stars(connection, stars, magnitudes)
        assert connection.execute("SELECT count(*) FROM star_sky").fetchone() == (2000,)
        region = polygon([[100, 110, 110, 100], [-10, -10, 10, 10]])
        inside = region.contains(np.radians(stars["ra"]), np.radians(stars["dec"]))
        assert len(Reference(connection).stars(region, NOTHING)) == np.count_nonzero(inside)


def test_a_catalogue_of_other_magnitudes_is_refused(tmp_path, table):
    stars, magnitudes = read_stars(table)
    with open_reference(tmp_path / "reference.sqlite", create=True) as connection:
        add_stars(connection, stars, magnitudes)
        with pytest.raises(CatalogueError, match="has the magnitudes ref_g, ref_r, and these"):
            add_stars(connection, stars, magnitudes[:1])


def test_another_file_is_refused(tmp_path):
    path = tmp_path / "other.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("CREATE TABLE t (x)")
    for create in (True, False):
        with (
            pytest.raises(CatalogueError, match="is not a reference catalogue"),
            open_reference(path, create=create),
        ):
            pass
    with (
        pytest.raises(CatalogueError, match="--reference FILE makes it"),
        open_reference(tmp_path / "none"),
    ):
        pass


def gaia_table(path):
    values = {
        "source_id": np.array([5, 6, 7]),
        "ra": [10.0, 11.0, np.nan],
        "dec": [1.0, 2.0, 3.0],
        "pmra": np.ma.masked_invalid([3.0, np.nan, 1.0]),
        "pmdec": np.ma.masked_invalid([4.0, np.nan, 1.0]),
        "ref_epoch": [2015.5] * 3,
    }
    for band in ("g", "bp", "rp"):
        values[f"phot_{band}_mean_mag"] = [18.0, 19.0, 20.0]
        values[f"phot_{band}_mean_flux_over_error"] = [108.57, 10.0, 10.0]
    Table(values).write(path)


def test_gaia_is_known_by_its_columns(tmp_path):
    gaia_table(tmp_path / "gaia.fits")
    stars, magnitudes = read_stars(tmp_path / "gaia.fits")
    assert sorted(magnitudes) == [f"phot_{band}_mean_mag" for band in ("bp", "g", "rp")]
    assert stars["id"].tolist() == [5, 6]  # the third has no position
    assert stars["pm_ra"].tolist() == [3.0, 0.0]  # unknown is none
    np.testing.assert_allclose(stars["phot_g_mean_mag"], [18.105, 19.105])
    np.testing.assert_allclose(stars["phot_g_mean_mag_err"][0], 0.01, rtol=1e-3)


def test_columns_of_other_names_are_described(tmp_path, table):
    columns = ReferenceColumns(epoch=1991.25, magnitudes={"ref_r": {"offset": 0.5}})
    stars, magnitudes = read_stars(table, columns)
    assert magnitudes == ["ref_r"]
    np.testing.assert_allclose(stars["ref_r"], sky(2000)["ref_r"] + 0.5)
    assert np.isnan(stars["ref_r_err"]).all()
    assert set(stars["epoch"]) == {1991.25}
    assert set(stars["pm_ra"]) == {0.0}


@pytest.mark.parametrize(
    ("columns", "says"),
    [
        (ReferenceColumns(id="number"), "no table with the columns number, ra and dec"),
        (ReferenceColumns(pm_ra="motion"), "has no column 'motion'; it has id, ra"),
        (ReferenceColumns(id="ra"), "a column ra of float64: a star's id is an integer"),
    ],
)
def test_a_missing_column_is_named(table, columns, says):
    with pytest.raises(FrameError, match=says):
        read_stars(table, columns)


def test_what_is_no_table_is_a_sentence(tmp_path):
    (tmp_path / "note.fits").write_text("no FITS")
    fits.PrimaryHDU().writeto(tmp_path / "image.fits")
    with pytest.raises(FrameError, match="is no table which can be read"):
        read_stars(tmp_path / "note.fits")
    with pytest.raises(FrameError, match="holds no table"):
        read_stars(tmp_path / "image.fits")


@pytest.mark.real_data
def test_real_gaia_tables_are_read(request):
    folder = request.config.rootpath.parent / "shared" / "data" / "decam"
    if not folder.is_dir():
        pytest.skip(f"{folder} is absent")
    tables = [read_stars(path) for path in sorted(folder.glob("case*/gaia/*.fits"))]
    stars = np.concatenate([table for table, _ in tables])
    assert len(stars) > 500
    assert {len(magnitudes) for _, magnitudes in tables} == {3}
    assert np.nanmedian(stars["phot_g_mean_mag_err"]) < 0.1
