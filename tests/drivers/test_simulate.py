"""The simulated survey is the same for the same arguments, and looks as it says."""

import numpy as np
import pytest
from astropy.io import fits

from drivers.simulate import (
    Survey,
    enclosed,
    main,
    make_visits,
    true_image,
    write_survey,
)

SMALL = Survey(visits=2, ccds=2, height=64, width=64, stars=5, seed=9)


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()
    }


def test_the_same_arguments_give_the_same_bytes_and_another_seed_others(tmp_path):
    for name in ("a", "b"):
        write_survey(tmp_path / name, SMALL)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    other = Survey(visits=2, ccds=2, height=64, width=64, stars=5, seed=10)
    write_survey(tmp_path / "c", other)
    assert contents(tmp_path / "a") != contents(tmp_path / "c")


def test_the_command_writes_a_frame_per_visit_and_ccd(tmp_path, capsys):
    arguments = ["--visits", "3", "--ccds", "2", "--size", "64x48", "--stars", "4"]
    assert main([str(tmp_path / "raw"), *arguments]) == 0
    assert len(list((tmp_path / "raw").glob("*.fits"))) == 6
    assert "6 frames of 3 visits x 2 CCDs" in capsys.readouterr().out
    header = fits.getheader(next(iter(sorted((tmp_path / "raw").glob("*.fits")))))
    assert (header["NAXIS1"], header["NAXIS2"]) == (64 + 32, 48)


@pytest.mark.parametrize("size", ["64", "63x64", "16x64", "x"])
def test_a_bad_size_is_refused(tmp_path, size):
    with pytest.raises(SystemExit) as caught:
        main([str(tmp_path), "--size", size])
    assert caught.value.code == 2


def test_a_star_has_its_flux_its_width_and_its_wings():
    survey = Survey(visits=1, ccds=1, height=200, width=200)
    visit = make_visits(survey)[0]
    star = np.zeros(1, [("id", "i4"), ("ra", "f8"), ("dec", "f8"), ("mag_g", "f8")])
    star["mag_g"] = 18.0
    from drivers.simulate import ccd_wcs, flux_of

    sky = true_image(survey, visit, 0, star)
    wcs = ccd_wcs(survey, visit, 0)
    star["ra"], star["dec"] = (value.item() for value in wcs.wcs_pix2world([100.0], [90.0], 0))
    image = true_image(survey, visit, 0, star) - sky
    flux = float(flux_of(18.0))
    assert image.sum() == pytest.approx(flux, rel=0.01)
    y, x = np.mgrid[0:200, 0:200]
    radius = np.hypot(x - 100, y - 90)
    assert image[radius < 8].sum() == pytest.approx(
        flux * enclosed(8, visit.seeing / 0.2), rel=0.02
    )
    half = np.interp(0.5 * image[90, 100], image[90, 100:120][::-1], np.arange(20)[::-1])
    assert 2 * half * 0.2 == pytest.approx(visit.seeing, rel=0.03)


def test_a_survey_of_one_visit_and_ccd_points_where_its_stars_are(tmp_path):
    write_survey(tmp_path, Survey(visits=1, ccds=1, height=300, width=300, stars=80))
    data = fits.getdata(tmp_path / "sim-0100-00.fits").astype(float)
    assert data[:, :150].max() > np.median(data[:, :150]) + 500
