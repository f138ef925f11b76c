"""Solutions of whole visits, against the camera from which the stars are drawn."""

import json

import numpy as np
import pytest
from astropy.io import fits

from drivers.configuration import ExposureConfig
from drivers.frame_error import FrameError
from drivers.sky_position import make_wcs, sky_positions
from drivers.stages.exposure import VisitJob, solve_visit
from model_camera import (
    Camera,
    Exposure,
    Noise,
    field_of_stars,
    observe,
    off_sky,
    off_zero_points,
    rms,
)

REACH = 1.2 * Camera().reach * 0.17


def solved(folder, ccds, **config):
    job = VisitJob(str(folder), "visit.fits", 5, "r", ExposureConfig(**config))
    return solve_visit(job, ccds)


def test_the_solution_is_right_all_over_the_focal_plane(tmp_path):
    """Headers know neither the distortion nor where the CCDs really are, and point elsewhere."""
    exposure = Exposure(visit=5, slope=0.02)
    solution = solved(tmp_path, observe(exposure, field_of_stars(1500, REACH), Noise()))
    off = off_sky(exposure, solution)
    assert rms(off) < 5
    assert np.abs(off).max() < 30
    assert rms(off_zero_points(exposure, solution)) < 4
    figures = solution.figures
    assert figures["astrometry"] == figures["photometry"] == "exposure"
    # The noise: 0.04 px of 170 mas, and 5 mas of the reference.
    assert figures["scatter_ra"] == pytest.approx(np.hypot(6.8, 5), rel=0.2)
    assert figures["scatter_dec"] == pytest.approx(np.hypot(6.8, 5), rel=0.2)


def test_few_stars_make_no_corner_go_astray(tmp_path):
    exposure = Exposure(visit=5)
    solution = solved(tmp_path, observe(exposure, field_of_stars(250, REACH), Noise()))
    assert np.abs(off_sky(exposure, solution)).max() < 100


def test_a_ccd_without_stars_is_where_the_others_have_it(tmp_path):
    camera = Camera(misplaced=0.0)
    exposure, stars = Exposure(visit=5, camera=camera), field_of_stars(1500, REACH)
    solution = solved(tmp_path, observe(exposure, stars, Noise(), only=[0, 1, 2, 3, 5]))
    assert rms(off_sky(exposure, solution, [4])) < 10
    assert abs(off_zero_points(exposure, solution)[4]) < 50  # as CCDs differ


def test_a_mirrored_header_is_no_matter(tmp_path):
    exposure = Exposure(visit=5)
    ccds = observe(exposure, field_of_stars(1500, REACH), Noise())
    for ccd in ccds:
        for name in ("CD1_1", "CD1_2"):
            ccd.header[name] *= -1
    assert rms(off_sky(exposure, solved(tmp_path, ccds))) < 5


def test_the_cards_are_read_by_others_as_they_are_meant(tmp_path):
    """Astropy's own WCS of the written cards, against the solution of the stars it is from."""
    exposure = Exposure(visit=5)
    quiet = Noise(position=1e-4, reference=0.01, outliers=0.0)
    ccds = observe(exposure, field_of_stars(3000, REACH), quiet)
    solution = solved(tmp_path, ccds, floor=0.1)
    for ccd in ccds:
        wcs = make_wcs(solution.ccds[5, ccd.row["ccd"]].wcs)
        ra, dec = sky_positions(wcs, ccd.stars["x"], ccd.stars["y"])
        assert np.abs(dec - ccd.stars["dec"]).max() * 3.6e6 < 2
        assert wcs.wcs.ctype[0] == "RA---TAN-SIP"
        x, y = wcs.all_world2pix(ra, dec, 0)
        assert x == pytest.approx(ccd.stars["x"], abs=0.01)
        assert y == pytest.approx(ccd.stars["y"], abs=0.01)


def test_without_reference_each_ccd_keeps_what_it_has(tmp_path):
    exposure, stars = Exposure(visit=5), field_of_stars(300, REACH)
    ccds = observe(exposure, stars, Noise(), known=np.zeros(len(stars), bool))
    ccds[0].row["zero_point"] = None
    solution = solved(tmp_path, ccds)
    assert solution.figures["astrometry"] == solution.figures["photometry"] == "ccds"
    assert set(solution.ccds) == {(5, ccd) for ccd in range(1, 6)}
    assert solution.ccds[5, 1].wcs == ccds[1].row["wcs"]


def test_a_visit_without_any_star_is_no_error(tmp_path):
    exposure = Exposure(visit=5)
    ccds = observe(exposure, field_of_stars(50, REACH), Noise(), only=[])
    solution = solved(tmp_path, ccds)
    assert solution.ccds == {}
    assert len(fits.getdata(tmp_path / "visit.fits", "CCDS")) == 6


def test_world_coordinates_that_are_none_are_named(tmp_path):
    ccds = observe(Exposure(visit=5), field_of_stars(50, REACH), Noise())
    ccds[2].header["CTYPE1"] = "RA---XYZ"
    with pytest.raises(FrameError, match="world coordinates"):
        solved(tmp_path, ccds)


def test_the_file_has_what_was_found(tmp_path):
    exposure = Exposure(visit=5)
    ccds = observe(exposure, field_of_stars(600, REACH), Noise())
    solution = solved(tmp_path, ccds)
    with fits.open(tmp_path / "visit.fits", checksum=True) as units:
        header, table, stars = units[0].header, units["CCDS"].data, units["STARS"].data
        assert header["SCATRA"] == solution.figures["scatter_ra"]
        assert "CHECKSUM" in units["STARS"].header
        assert table["zero_point"][3] == solution.ccds[5, 3].zero_point
        assert json.loads(table["wcs"][3]) == solution.ccds[5, 3].wcs
        used = stars["off_ra"][stars["astrometric"]]
    assert len(stars) == sum(len(ccd.stars) for ccd in ccds)
    assert rms(used) == pytest.approx(solution.figures["scatter_ra"], rel=1e-3)
