import pickle
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from drivers.configuration import CoaddConfig, WarpConfig
from drivers.exposure import bit
from drivers.frame_error import FrameError
from drivers.results import CcdSolution, Warp
from drivers.stages import scratch
from drivers.stages.coadd import CoaddJob, coadd
from drivers.stages.scratch import ScratchWarp, fetch, warp
from drivers.stages.warp import WarpJob, make_warp
from sky_patches import Frame, Sky, patch_area, random_stars, write_frame

AREA = patch_area((200, 240))
EMPTY = Sky(*np.zeros((3, 0)))


def job_of(root, *inputs, **more):
    return WarpJob(AREA, "r", 7, inputs, str(root), WarpConfig(), **more)


def half(ccd, **more):
    """One of two CCDs which lie side by side and cover the patch but for a gap of 20 columns."""
    return Frame(7, ccd, shape=(300, 150), offset=(-85 if ccd else 85, 0), **more)


@pytest.fixture
def frames(tmp_path):
    sky = random_stars(AREA, 10, 1)
    return [write_frame(tmp_path, half(ccd), half(ccd).draw(sky)) for ccd in (0, 1)]


def same(one, other):
    return (
        np.array_equal(one.image, other.image)
        and np.array_equal(one.mask, other.mask)
        and np.array_equal(one.variance, other.variance)
        and (one.x0, one.y0) == (other.x0, other.y0)
    )


def test_the_ccds_of_a_visit_make_one_warp_each_opened_once(frames, tmp_path, monkeypatch):
    opened = []
    real = fits.open
    monkeypatch.setattr(
        fits, "open", lambda path, **more: opened.append(path) or real(path, **more)
    )
    done = make_warp(job_of(tmp_path, *frames))
    assert sorted(Path(stream.name).name for stream in opened) == [
        "calexp-7-0.fits",
        "calexp-7-1.fits",
    ]
    assert [one.ccd for one in done.inputs] == [0, 1]
    missing = (done.mask & bit("NO_DATA")) != 0
    gap = missing.all(axis=0).nonzero()[0]
    assert 20 <= len(gap) <= 28
    assert done.image.shape == (200, 240)


def test_a_ccd_beside_the_patch_is_not_opened(frames, tmp_path):
    away = Frame(7, 2, shape=(300, 150), offset=(900, 0))
    elsewhere = replace(frames[0], ccd=2, image="is not there", solution=CcdSolution(away.wcs, 30))
    done = make_warp(job_of(tmp_path, frames[0], elsewhere))
    assert [one.ccd for one in done.inputs] == [0]
    assert done.image.shape[1] < 140
    assert not make_warp(job_of(tmp_path, elsewhere)).inputs


def test_the_weight_is_one_over_the_variance_of_the_empty_sky(tmp_path):
    frame = Frame(7, zero_point=31.4 - 2.5, noise=5)
    one = write_frame(tmp_path, frame, frame.draw(EMPTY))
    done = make_warp(job_of(tmp_path, one))
    assert done.inputs[0].weight == pytest.approx(1 / 50**2, rel=0.1)
    assert np.std(done.image) < 50


def test_the_sky_correction_is_subtracted(tmp_path):
    frame = Frame(7, shape=(256, 256), zero_point=31.4, noise=1)
    planes = frame.draw(EMPTY)
    rows, columns = np.mgrid[:256, :256]
    slope = 0.1 * rows - 0.05 * columns
    planes[0][:] += slope.astype(np.float32)
    mesh = slope.reshape(4, 64, 4, 64).mean(axis=(1, 3)).astype(np.float32)
    one = write_frame(tmp_path, frame, planes, sky=mesh, cell=64)
    assert abs(make_warp(job_of(tmp_path, one)).image).max() < 6
    assert abs(make_warp(job_of(tmp_path, replace(one, sky=None))).image).max() > 6


@pytest.mark.parametrize("zero_point", [float("nan"), float("inf")])
def test_without_a_zero_point_there_is_no_warp(frames, tmp_path, zero_point):
    solution = replace(frames[0].solution, zero_point=zero_point)
    with pytest.raises(FrameError, match=r"calexp-7-0\.fits has no zero point"):
        make_warp(job_of(tmp_path, replace(frames[0], solution=solution)))


def test_an_image_that_was_changed_behind_our_back_is_named(frames, tmp_path):
    path = tmp_path / "calexp-7-0.fits"
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(FrameError, match=r"calexp-7-0\.fits is truncated"):
        make_warp(job_of(tmp_path, *frames))
    path.unlink()
    with pytest.raises(FrameError, match=r"calexp-7-0\.fits does not exist"):
        make_warp(job_of(tmp_path, *frames))
    path.write_bytes(whole)
    with pytest.raises(FrameError, match=r"not as expected"):
        make_warp(job_of(tmp_path, replace(frames[0], shape=(299, 150))))


def test_a_visit_that_covers_too_little_is_left_out(frames, tmp_path):
    job = replace(job_of(tmp_path, frames[0]), config=WarpConfig(least_coverage=0.6))
    assert not make_warp(job).inputs
    assert make_warp(replace(job, inputs=tuple(frames))).inputs


def test_a_warp_on_scratch_is_the_warp(frames, tmp_path):
    job = job_of(tmp_path, *frames, scratch=str(tmp_path / "scratch"))
    left = warp(job)
    assert isinstance(left, ScratchWarp)
    assert len(pickle.dumps(left)) < 60_000
    assert Path(left.path).stat().st_mode & 0o077 == 0
    assert same(fetch(pickle.loads(pickle.dumps(left))), make_warp(job))


@pytest.mark.parametrize("fate", ["lost", "damaged", "cut", "other host"])
def test_what_is_lost_of_scratch_is_made_again(frames, tmp_path, monkeypatch, fate):
    job = job_of(tmp_path, *frames, scratch=str(tmp_path / "scratch"))
    left = warp(job)
    made = []
    monkeypatch.setattr(scratch, "make_warp", lambda job: made.append(job) or make_warp(job))
    assert same(fetch(left), make_warp(job))
    assert not made
    path = Path(left.path)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    match fate:
        case "lost":
            path.unlink()
        case "damaged":
            path.write_bytes(content)
        case "cut":
            path.write_bytes(content[:1000])
        case "other host":
            left = replace(left, host="elsewhere")
    assert same(fetch(left), make_warp(job))
    assert made == [job]


def test_a_scratch_folder_that_cannot_be_written_is_done_without(frames, tmp_path):
    (tmp_path / "file").write_text("")
    done = warp(job_of(tmp_path, *frames, scratch=str(tmp_path / "file" / "scratch")))
    assert isinstance(done, Warp)


def test_a_coadd_of_scratch_warps_lets_them_go(frames, tmp_path):
    folder = tmp_path / "scratch"
    left = warp(job_of(tmp_path, *frames, scratch=str(folder)))
    kept = make_warp(job_of(tmp_path, *frames))
    coadd(CoaddJob(AREA, "r", str(tmp_path), "one.fits", CoaddConfig()), left)
    assert not list(folder.iterdir())
    coadd(CoaddJob(AREA, "r", str(tmp_path), "two.fits", CoaddConfig()), kept)
    assert (tmp_path / "one.fits").read_bytes() == (tmp_path / "two.fits").read_bytes()
