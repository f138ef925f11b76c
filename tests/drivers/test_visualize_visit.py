"""visualizeVisit draws the calibrated images of a rerun with the sky that is asked for."""

import numpy as np
import pytest
from astropy.io import fits

from drivers import visualize_visit
from drivers.configuration import SkyCorrectionConfig
from drivers.fits_product import image_unit, write_product
from drivers.registry import open_registry, replace_products
from drivers.results import STAR, CcdResult
from drivers.sky_position import make_wcs, sky_corners
from drivers.stages import sky_correction, visit_image
from drivers.stages.sky_correction import SkyJob, correct_sky
from simulated_skies import CCDS, CELL, SHAPE, cards, focal_plane, smooth


class OneProcess:
    """Does what `mpipool.Pool` does, here and now."""

    def __enter__(self):
        return self

    def __exit__(self, *error):
        return None

    def map(self, function, items, *, stage, errors, progress):
        results = []
        for item in items:
            try:
                results.append(function(item))
            except Exception as error:
                results.append(error)
        progress(len(results), 0, len(results))
        return results

    def scatterGather(self, function, items, *more):  # noqa: N802 - as users know it
        return [function(item, *more) for item in items]


@pytest.fixture
def repo(tmp_path, monkeypatch):
    """A rerun with two visits: 7 has a sky correction, 8 has none."""
    monkeypatch.setattr("mpipool.Pool", OneProcess)
    monkeypatch.setattr(visit_image, "Pool", OneProcess)
    for module in (visit_image, sky_correction):
        monkeypatch.setattr(module, "record", lambda **row: None)
    skies = focal_plane(smooth)
    rows = []
    for visit in (7, 8):
        for sky in skies:
            image = np.full(SHAPE, 10.0, np.float32)
            mask = np.zeros(SHAPE, np.int32)
            mask[:20] = 1  # BAD
            image[:20] = 9e9
            cell = {"CELL": CELL}
            units = [
                image_unit("IMAGE", image, {}, {}), image_unit("MASK", mask, {}, {}),
                image_unit("SKY", sky.mesh.subtracted, {}, cell),
            ]  # fmt: skip
            name = f"rerun/s/calexp/v{visit:07d}/calexp-{sky.ccd}.fits"
            write_product(tmp_path / name, units, {})
            wcs = cards(sky.ccd, sky.ccd % 2 == 1)
            rows.append(
                {
                    "visit": visit, "ccd": sky.ccd, "filter": "r", "instrument": "SimCam",
                    "image": name, "catalog": "", "width": SHAPE[1], "height": SHAPE[0],
                    "wcs": wcs, "corners": sky_corners(make_wcs(wcs), SHAPE), "pixel_scale": 0.36,
                    "notes": [],
                }
            )  # fmt: skip
    with open_registry(tmp_path / "registry.sqlite", create=True) as registry:
        replace_products(registry, "s", "calexp", rows)
    row, stars = {"calibs": {"flat": ""}}, np.zeros(0, STAR)
    ccds = [
        CcdResult({**row, "ccd": one.ccd}, stars, None, one.mesh, dict(one.wcs)) for one in skies
    ]
    output = "rerun/s/calexp/v0000007/sky-0000007.fits"
    correct_sky(SkyJob(str(tmp_path), output, 7, "r", SkyCorrectionConfig()), ccds)
    return tmp_path


def draw(repo, *words):
    return visualize_visit.main([str(repo), "--rerun", "s", *words])


def picture(repo, visit, sky):
    return repo / f"rerun/s/calexp/v{visit:07d}/focal-plane-{visit:07d}-{sky}.fits"


def test_whole_focal_planes_are_drawn_as_fits_and_png(repo, capsys):
    assert draw(repo, "--binning", "20") == 0
    assert "focal-plane-0000008-subtracted.png: 8 CCDs" in capsys.readouterr().out
    with fits.open(picture(repo, 7, "subtracted"), checksum=True) as units:
        image, header = units[0].data, units[0].header
    assert image.shape == pytest.approx((2020 / 20, 2060 / 20), abs=4)
    seen = np.isfinite(image)
    # Without the bad rows of each CCD, and what is between them.
    assert seen.sum() == pytest.approx(len(CCDS) * 49 * 25, rel=0.04)
    assert np.all(image[seen] == 10)
    assert header["VISIT"] == 7
    data = picture(repo, 7, "subtracted").with_suffix(".png").read_bytes()
    assert data.startswith(b"\x89PNG")


def test_the_sky_is_put_back_or_corrected(repo):
    assert draw(repo, "--id", "visit=7", "--sky", "original", "--binning", "20") == 0
    original = fits.getdata(picture(repo, 7, "original"))
    assert np.nanmedian(original) == pytest.approx(2010, rel=0.05)
    assert np.nanstd(original) > 20
    assert draw(repo, "--id", "visit=7", "--sky", "corrected", "--binning", "20") == 0
    corrected = fits.getdata(picture(repo, 7, "corrected"))
    # The meshes were measured with an error of 3, which is put back with them.
    assert 1 < np.nanstd(corrected) < 4
    assert not picture(repo, 8, "original").exists()


def test_a_ccd_which_cant_be_read_is_named_and_the_others_are_drawn(repo, capsys):
    broken = repo / "rerun/s/calexp/v0000008/calexp-3.fits"
    broken.unlink()
    assert draw(repo, "--id", "visit=8", "--binning", "20") == 1
    said = capsys.readouterr().out
    assert "7 CCDs" in said
    assert f"left out: {broken} can't be read" in said


def test_a_visit_without_any_image_is_named(repo, capsys):
    for path in (repo / "rerun/s/calexp/v0000008").iterdir():
        path.unlink()
    assert draw(repo, "--binning", "20") == 1
    assert "visit 8 could not be drawn" in capsys.readouterr().out
    assert picture(repo, 7, "subtracted").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--id", "visit=9"], "--id selects no image of the rerun s"),
        (["--sky", "corrected"], "visit 8 has no sky correction in the rerun s"),
    ],
)
def test_what_cant_be_drawn_is_refused_before_anything_is(repo, words, reason, capsys):
    assert draw(repo, *words) == 2
    assert reason in capsys.readouterr().err
    assert not picture(repo, 7, "corrected").exists()
