"""Solutions of whole tracts, against the camera from which the stars are drawn."""

import numpy as np
import pytest
from astropy.io import fits

from drivers.stages.mosaic import TractVisit, solve_tract
from model_camera import Noise, rms
from model_tract import job, make_tract


@pytest.fixture(scope="module")
def sparse():
    """Exposures of which the reference has few stars, so that each alone is uncertain."""
    return make_tract(4, 900, known=0.3)


@pytest.fixture(scope="module")
def solved(sparse, tmp_path_factory):
    folder = tmp_path_factory.mktemp("tract")
    return solve_tract(job(folder), sparse.visits), folder


def test_exposures_together_are_better_than_alone(sparse, solved):
    solution, _ = solved
    assert rms(sparse.off_sky(solution)) < 0.9 * rms(sparse.off_sky())
    assert rms(sparse.off_sky(solution)) < 8
    assert rms(sparse.off_zero_points(solution)) < 0.9 * rms(sparse.off_zero_points())
    assert rms(sparse.off_zero_points(solution)) < 6


def test_the_figures_say_what_the_noise_is(solved):
    figures = solved[0].figures
    assert figures["fallback"] is None
    assert figures["internal_scatter"] == pytest.approx(6.8, rel=0.2)  # 0.04 px of 170 mas
    assert figures["external_scatter"] == pytest.approx(np.hypot(6.8 / 2, 5), rel=0.25)
    assert figures["internal_magnitude_scatter"] == pytest.approx(10, rel=0.2)
    assert figures["n_reference"] < 0.4 * figures["n_stars"]
    assert 0 < figures["n_rejected"] < 0.1 * figures["n_observations"]


def test_the_file_has_frames_and_observations(solved):
    solution, folder = solved
    with fits.open(folder / "tract.fits", checksum=True) as units:
        assert units[0].header["ASTINT"] == solution.figures["internal_scatter"]
        frames = units["FRAMES"].data
        assert {(int(row["visit"]), int(row["ccd"])) for row in frames} == set(solution.ccds)
        left = units["OBSERVATIONS"].data
    used = left["off_mag"][left["photometric"]]
    assert 5 < rms(used) < 11


def test_wrong_places_of_the_reference_do_not_move_the_tract(sparse, solved, tmp_path):
    """One star in ten is half an arcsecond off in the catalogue, always to the same side."""
    wrong = []
    for visit in sparse.visits:
        ccds = []
        for ccd in visit.ccds:
            stars = ccd.stars.copy()
            stars["dec"][stars["id"] % 10 == 0] += 0.3 / 3600
            stars["mag"][stars["id"] % 10 == 0] -= 0.3
            ccds.append(type(ccd)(ccd.row, stars, None, ccd.sky, ccd.header))
        wrong.append(TractVisit(visit.visit, ccds, visit.solution))
    solution = solve_tract(job(tmp_path), wrong)
    mean = sparse.off_sky(solution).mean(axis=0) - sparse.off_sky(solved[0]).mean(axis=0)
    assert np.abs(mean).max() < 2
    step = sparse.off_zero_points(solution).mean() - sparse.off_zero_points(solved[0]).mean()
    assert abs(step) < 2


def test_a_ccd_which_differs_in_all_exposures_is_found(sparse, tmp_path):
    """The exposures have it 60 mas and 40 mmag off, always the same way as it is turned."""
    moved = []
    for visit in sparse.visits:
        solutions = dict(visit.solution.ccds)
        one = solutions[visit.visit, 2]
        wcs = one.wcs | {"CRPIX1": one.wcs["CRPIX1"] + 0.35}
        solutions[visit.visit, 2] = type(one)(wcs, one.zero_point + 0.04)
        whole = type(visit.solution)(solutions, visit.solution.figures)
        moved.append(TractVisit(visit.visit, visit.ccds, whole))
    solution = solve_tract(job(tmp_path, most_frames=0), moved)
    assert rms(sparse.off_sky(solution)) < 10
    assert rms(sparse.off_zero_points(solution)) < 8


def test_one_exposure_keeps_its_solution(sparse, tmp_path):
    visit = sparse.visits[0]
    solution = solve_tract(job(tmp_path), [visit])
    assert solution.ccds == visit.solution.ccds
    assert "one exposure" in solution.figures["fallback"]
    assert "one exposure" in fits.getheader(tmp_path / "tract.fits")["FALLBACK"]


def test_too_few_stars_in_common_are_no_solution(tmp_path):
    tract = make_tract(2, 60)
    solution = solve_tract(job(tmp_path, least_stars=50), tract.visits)
    assert "too few" in solution.figures["fallback"]
    assert set(solution.ccds) == {key for one in tract.visits for key in one.solution.ccds}


def test_an_exposure_which_nobody_has_placed_keeps_what_it_has(sparse, tmp_path):
    """Its header may be arcseconds off: its stars would be matched with wrong ones."""
    lost = TractVisit(3, sparse.visits[3].ccds, None)
    solution = solve_tract(job(tmp_path), [*sparse.visits[:3], lost])
    assert solution.figures["fallback"] is None
    assert solution.ccds[3, 0].wcs == lost.ccds[0].row["wcs"]
    assert solution.ccds[2, 0] != sparse.visits[2].solution.ccds[2, 0]


def test_no_frame_at_all_is_no_error(tmp_path):
    assert solve_tract(job(tmp_path), []).ccds == {}


def test_many_frames_have_no_constants_of_their_own(sparse, tmp_path):
    """Their normal equations would not fit into memory; the rest is solved as well."""
    solution = solve_tract(job(tmp_path, most_frames=3), sparse.visits)
    assert rms(sparse.off_sky(solution)) < 8


def test_noise_of_stars_sets_how_much_exposures_are_corrected(tmp_path):
    """Without noise the exposures agree to a fraction of a milliarcsecond."""
    quiet = Noise(position=1e-3, magnitude=1e-3, reference=0.1, reference_magnitude=1e-3)
    tract = make_tract(3, 900, noise=quiet)
    solution = solve_tract(job(tmp_path, floor=0.2, reference_floor=0.2), tract.visits)
    assert solution.figures["internal_scatter"] < 0.6
    assert rms(tract.off_sky(solution)) < 2
