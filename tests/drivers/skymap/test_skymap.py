"""The sky map: LSST's, stable, and without a gap or a doubt at the poles and at RA 0."""

import numpy as np
import pytest
from astropy.wcs import WCS

from drivers.configuration.sky_map import SkyMapConfig
from drivers.sky_polygon import polygon
from drivers.skymap import Box, SkyMap

PUBLISHED_INNER = {
    # LSST's ring sky map of 120 rings: RA from, to, declination from, to [deg].
    1: (342.0, 18.0, -89.25619834710744, -87.76859504132231),
    2: (18.0, 54.0, -89.25619834710744, -87.76859504132231),
    9000: (23.057851239669425, 24.545454545454547, -2.9752066115702407, -1.4876033057851266),
    9001: (24.545454545454547, 26.033057851239672, -2.9752066115702407, -1.4876033057851268),
}
PUBLISHED_CORNERS = {
    # Inner corners of patches of 3000 pixels: tract, patch (counted by rows), RA and dec [deg].
    (0, 0): [(141.34042466, -88.93297504), (135.0, -88.82169412), (128.65957534, -88.93297504)],
    (0, 99): [(308.66004116, -88.93289698), (315.0, -89.05723677), (321.33995884, -88.93289698)],
    (9000, 0): [(24.46914575, -3.06444420), (24.63600469, -3.06432745), (24.63591009, -2.89770709)],
    (18937, 0): [(218.65957534, 88.93297504), (225.0, 88.82169412), (231.34042466, 88.93297504)],
}


@pytest.fixture(scope="module")
def lsst():
    return SkyMap(SkyMapConfig(patch_inner=3000))


def separation(one, other):
    """Largest distance of positions from the nearest of some others [deg]."""
    ra, dec = np.asarray(one, float).T
    ra_of, dec_of = np.asarray(other, float).T
    east = ((ra[:, None] - ra_of + 180) % 360 - 180) * np.cos(np.radians(dec))[:, None]
    return np.hypot(east, dec[:, None] - dec_of).min(axis=1).max()


def inner_corners(patch):
    return np.transpose(patch.tract.sky(*patch.inner.corners().T))


def test_there_are_as_many_tracts_as_lsst_has(lsst):
    assert len(lsst) == 18938


@pytest.mark.parametrize("tract", PUBLISHED_INNER)
def test_inner_regions_are_the_published_ones(lsst, tract):
    assert lsst.tract(tract).inner_sky == pytest.approx(PUBLISHED_INNER[tract], abs=1e-9)


@pytest.mark.parametrize(("tract", "patch"), PUBLISHED_CORNERS)
def test_patches_are_the_published_ones(lsst, tract, patch):
    corners = inner_corners(lsst.tract(tract).patch((patch % 10, patch // 10)))
    assert separation(PUBLISHED_CORNERS[tract, patch], corners) < 1e-7


def test_all_tracts_and_many_patches_are_those_of_the_package(lsst):
    oracle = pytest.importorskip("skymap_convert")
    reader = oracle.ConvertedSkymapReader(preset="lsst_skymap")
    try:
        tracts = np.array(reader.tracts)
        ours = np.array([lsst.rings.inner(tract) for tract in range(len(lsst))])
        theirs = np.stack([tracts[:, 0, 0], tracts[:, 1, 0], tracts[:, 0, 1], tracts[:, 2, 1]], 1)
        assert np.abs(theirs - ours)[1:-1].max() < 1e-9  # the caps have no right ascension
        assert np.abs(theirs - ours)[:, 2:].max() < 1e-9
        for number in (0, 1, 7, 300, 9000, 12345, 18936, 18937):
            for place, patch in enumerate(lsst.tract(number).patches()):
                assert separation(reader.patches[number][place], inner_corners(patch)) < 1e-8
    finally:
        reader.cleanup()


@pytest.mark.parametrize("tract", [0, 1, 9000, 18937])
def test_the_pixels_are_what_the_cards_say(lsst, tract):
    tract = lsst.tract(tract)
    wcs = WCS({**tract.wcs, "NAXIS": 2})
    x, y = np.meshgrid([0.0, 777.7, 15000.0, 29999.0], [0.0, 14000.5, 29999.0])
    ra, dec = wcs.all_pix2world(x.ravel(), y.ravel(), 0)
    back = tract.pixels(ra, dec)
    np.testing.assert_allclose(back, [x.ravel(), y.ravel()], atol=1e-5)
    forth = np.transpose(tract.sky(x.ravel(), y.ravel()))
    assert separation(forth, np.transpose([ra, dec])) < 1e-9


def test_what_is_behind_a_tract_has_no_pixel(lsst):
    ra, dec = lsst.tract(9000).centre
    assert np.isnan(lsst.tract(9000).pixels(ra + 180, -dec)).all()
    assert lsst.tract(9000).patch_of(ra + 180, -dec).tolist() == [-1, -1]


def sky(count, seed=1):
    random = np.random.default_rng(seed)
    ra = random.uniform(0, 360, count)
    dec = np.degrees(np.arcsin(random.uniform(-1, 1, count)))
    edges = [(0, 0), (359.9999, 12), (0, 90), (0, -90), (123, 89.9), (5, -89.99)]
    return np.concatenate([[ra, dec], np.transpose(edges)], axis=1)


def test_each_position_is_primary_in_one_patch_which_holds_it(lsst):
    ra, dec = sky(3000)
    for number, column, row in set(map(tuple, lsst.primary(ra, dec).tolist())):
        patch = lsst.tract(number).patch((column, row))  # raises if there is none
        assert patch.inner.x0 >= patch.outer.x0
    for position in zip(*sky(200, seed=2), strict=True):
        inside = lsst.find_tracts(*position)
        owners = [tract.id for tract in inside if owns(tract, *position)]
        assert owners == [inside[0].id] == [lsst.primary(*position)[0]]


def owns(tract, ra, dec):
    west, east, south, north = tract.inner_sky
    width = (east - west) % 360 or 360
    in_dec = south <= dec < north or dec == 90 == north
    return (ra - west) % 360 < width and in_dec


def test_a_tract_reaches_beyond_its_inner_region_by_the_overlap(lsst):
    tract = lsst.tract(9000)
    west, east, south, north = tract.inner_sky
    for ra, dec in ((west, south), (east, south), (west, north), (east, north)):
        assert tract.id in [other.id for other in lsst.find_tracts(ra, dec)]
        assert len(lsst.find_tracts(ra, dec)) > 1


def test_patches_tile_the_tract_and_share_their_borders():
    tract = SkyMap(SkyMapConfig(num_rings=300, patch_inner=2000, patch_border=50)).tract(400)
    patches = list(tract.patches())
    pixels = np.zeros(tract.box.shape, np.int8)
    for patch in patches:
        pixels[patch.inner.y0 : patch.inner.y1, patch.inner.x0 : patch.inner.x1] += 1
    assert (pixels == 1).all()
    assert patches[0].outer == Box(0, 0, 2050, 2050)
    middle = tract.patch((1, 1))
    assert middle.outer == Box(1950, 1950, 4050, 4050)
    assert middle.area().shape == (2100, 2100)
    assert middle.area().patch_wcs["CRPIX1"] == tract.wcs["CRPIX1"] - 1950
    with pytest.raises(IndexError, match="no \\(9999, 0\\)"):
        tract.patch((9999, 0))


def test_tracts_and_patches_of_a_region_are_those_which_have_a_position_in_it():
    skymap = SkyMap(SkyMapConfig(num_rings=40, pixel_scale=4.0, patch_inner=500, patch_border=20))
    for ra, dec in ((0.0, 2.2), (40.0, 90.0), (77.0, -88.0), (200.0, -2.2)):
        region = polygon([[ra - 1, ra + 1, ra + 1, ra - 1], [dec - 1, dec - 1, dec + 0.9, dec]])
        found = {str(patch) for patch in skymap.patches_overlapping(region)}
        by_all = {
            str(patch)
            for number in range(len(skymap))
            for patch in skymap.tract(number).patches()
            if skymap.tract(number).polygon.intersects(region) and patch.polygon.intersects(region)
        }
        assert found == by_all
        assert found


def test_the_sky_map_of_a_configuration_is_always_the_same():
    one, other = (SkyMap(SkyMapConfig(num_rings=30)) for _ in range(2))
    other.tract(77)
    assert [one.tract(number) for number in (5, 77)] == [other.tract(n) for n in (5, 77)]
    assert one.rings != SkyMap(SkyMapConfig(num_rings=31)).rings
