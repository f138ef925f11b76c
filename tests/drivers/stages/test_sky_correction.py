"""What is to be subtracted from a visit's images comes from the CCDs' meshes, without any image."""

import json
from dataclasses import replace

import numpy as np
import pytest
from astropy.io import fits

from drivers.configuration import SkyCorrectionConfig
from drivers.frame_error import FrameError
from drivers.meshes import expand_mesh
from drivers.registry import Calib
from drivers.results import STAR, CcdResult
from drivers.stages import sky_correction
from drivers.stages.sky_correction import SkyJob, correct_sky, read_sky_correction
from simulated_skies import CELL, SHAPE, focal_plane, smooth


@pytest.fixture(autouse=True)
def recorded(monkeypatch):
    rows = []
    monkeypatch.setattr(sky_correction, "record", lambda **row: rows.append(row))
    return rows


def results(sky=smooth, **changes):
    return [
        CcdResult(
            row={"ccd": one.ccd, "visit": 7, "calibs": {"flat": "flat.fits"}},
            stars=np.zeros(0, STAR),
            psf=None,
            sky=one.mesh,
            header=dict(one.wcs),
        )
        for one in focal_plane(sky, **changes)
    ]


def job(folder, **changes):
    values = {
        "root": str(folder), "output": "sky.fits", "visit": 7, "filter": "z",
        "configuration": SkyCorrectionConfig(), "sky_frames": {},
    }  # fmt: skip
    return SkyJob(**{**values, **changes})


def test_the_correction_turns_the_subtracted_sky_into_the_model(tmp_path):
    ccds = results()
    found = correct_sky(job(tmp_path), ccds)
    assert found.cell == CELL
    for one in ccds:
        left = one.sky.subtracted + found.meshes[one.row["ccd"]]
        assert abs((left - one.sky.subtracted - one.sky.residual).mean()) < 0.2
        assert np.abs(np.diff(left, n=2, axis=0)).max() < 0.5 < one.sky.residual.std()


def test_what_was_found_is_recorded_and_written_to_one_small_file(tmp_path, recorded):
    ccds = results()
    found = correct_sky(job(tmp_path), ccds)
    (row,) = recorded
    json.dumps(row)
    assert (row["visit"], row["n_ccds"], row["n_cells"]) == (7, 8, 400)
    assert row["sky_level"] == pytest.approx(2000, rel=0.05)
    again = read_sky_correction(tmp_path / "sky.fits")
    assert again.cell == found.cell
    assert all(np.array_equal(again.meshes[ccd], found.meshes[ccd]) for ccd in range(8))
    assert [path.name for path in tmp_path.iterdir()] == ["sky.fits"]
    with fits.open(tmp_path / "sky.fits", checksum=True) as units:
        table, header = units["CELLS"].data, units[0].header
        assert header["CONFDIG"] == SkyCorrectionConfig().digest()
        assert header["STAGE"] == "skyCorrection"
        assert np.ptp(table["east"]) == pytest.approx(4 * 520 * 0.36 / 60 * 0.95, rel=0.05)


def test_the_result_does_not_depend_on_the_order_of_the_ccds(tmp_path):
    ccds = results()
    one, other = correct_sky(job(tmp_path), ccds), correct_sky(job(tmp_path), ccds[::-1])
    assert all(np.array_equal(one.meshes[ccd], other.meshes[ccd]) for ccd in range(8))


def pattern(ccd, cell=CELL):
    rows, columns = (-(-length // cell) for length in SHAPE)
    y, x = (np.mgrid[:rows, :columns] + 0.5) * (cell / SHAPE[0])
    return (0.01 * np.sin(9 * (x + 0.5 * y) + ccd)).astype(np.float32)


@pytest.mark.parametrize("cell", [CELL, 50])
def test_sky_frames_are_read_from_one_file_of_cells_of_any_size(tmp_path, recorded, cell):
    units = [fits.PrimaryHDU()]
    for ccd in range(8):
        unit = fits.ImageHDU(pattern(ccd, cell))
        unit.header.update({"CELL": cell, "ROWS": SHAPE[0], "COLUMNS": SHAPE[1]})
        units.append(unit)
    fits.HDUList(units).writeto(tmp_path / "frames.fits")
    frames = {
        ccd: Calib("sky", "SimCam", ccd, "z", 0, 1e9, "frames.fits", 1 + ccd) for ccd in range(8)
    }
    ccds = results(lambda u, v, ccd: smooth(u, v) + 1500 * pattern(ccd))
    found = correct_sky(job(tmp_path, sky_frames=frames), ccds)
    assert recorded[0]["sky_frame_scale"] == pytest.approx(1500, rel=0.1)
    assert recorded[0]["sky_left"] < 0.5
    assert set(found.meshes) == set(range(8))


def test_a_sky_frame_of_another_detector_is_refused_with_its_name(tmp_path):
    unit = fits.ImageHDU(np.zeros((2, 2), np.float32))
    unit.header.update({"CELL": CELL, "ROWS": 200, "COLUMNS": 200})
    fits.HDUList([fits.PrimaryHDU(), unit]).writeto(tmp_path / "frames.fits")
    frames = {3: Calib("sky", "SimCam", 3, "z", 0, 1e9, "frames.fits", 1)}
    with pytest.raises(FrameError, match="visit 7: the sky frame is of a CCD of 200 x 200"):
        correct_sky(job(tmp_path, sky_frames=frames), results())
    frames = {3: Calib("sky", "SimCam", 3, "z", 0, 1e9, "gone.fits", 1)}
    with pytest.raises(FrameError, match=r"visit 7: the sky frame .*gone.fits can't be used"):
        correct_sky(job(tmp_path, sky_frames=frames), results())


def test_a_ccd_without_a_flat_gets_a_level_of_its_own(tmp_path, recorded):
    ccds = results(lambda u, v, ccd: smooth(u, v) * (1 + 0.03 * (ccd == 5)))
    for one in ccds:
        one.row["calibs"].clear()
    found = correct_sky(job(tmp_path), ccds)
    left = found.meshes[5] - ccds[5].sky.residual
    assert np.abs(left).max() < 5
    assert recorded[0]["n_without_flat"] == 8


def test_the_mesh_stands_for_an_image_of_the_size_of_the_ccd(tmp_path):
    found = correct_sky(job(tmp_path), results())
    assert expand_mesh(found.meshes[0], found.cell, SHAPE).shape == SHAPE


def test_a_visit_without_ccds_is_an_error(tmp_path):
    with pytest.raises(FrameError, match="visit 7: there are no CCDs"):
        correct_sky(job(tmp_path), [])


def test_ccds_which_are_not_beside_one_another_are_an_error(tmp_path):
    ccds = results()
    ccds[0].header["CRVAL1"] = 180.0
    ccds[0].header["CRVAL2"] = 30.0
    with pytest.raises(FrameError, match="visit 7: its CCDs are not beside one another"):
        correct_sky(job(tmp_path), ccds)


def test_cells_of_different_sizes_are_an_error(tmp_path):
    ccds = results()
    ccds[2] = replace(ccds[2], sky=replace(ccds[2].sky, cell=64))
    with pytest.raises(FrameError, match=r"visit 7: .* in cells of different sizes"):
        correct_sky(job(tmp_path), ccds)
