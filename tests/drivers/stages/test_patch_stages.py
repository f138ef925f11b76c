"""The stages of a patch, one after the other, on drawn images."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, replace

import numpy as np
import pytest
from astropy.io import fits
from scipy.spatial import KDTree

from drivers.configuration import (
    CoaddConfig,
    DetectConfig,
    ForcedCcdConfig,
    ForcedConfig,
    MeasureConfig,
    MergeDetectionsConfig,
    MergeMeasurementsConfig,
    WarpConfig,
)
from drivers.exposure import bit
from drivers.frame_error import FrameError
from drivers.sky_position import make_wcs
from drivers.stages import patch_sources
from drivers.stages.coadd import CoaddJob, coadd
from drivers.stages.detect import DetectJob, detect
from drivers.stages.forced import ForcedJob, forced
from drivers.stages.forced_ccd import ForcedCcdJob, forced_ccd, primary_places
from drivers.stages.measure import MeasureJob, measure
from drivers.stages.merge_detections import MergeDetectionsJob, by_priority, merge_detections
from drivers.stages.merge_measurements import MergeMeasurementsJob, merge_measurements
from drivers.stages.scratch import warp
from drivers.stages.warp import WarpJob
from mpipool import Pool
from sky_patches import Frame, Sky, patch_area, random_stars, write_frame

AREA = patch_area((320, 320), margin=30)
FRAMES = [
    Frame(
        visit,
        shape=(400, 400),
        fwhm=fwhm,
        angle=20.0 * visit,
        offset=(7.3 * visit, -5.1 * visit),
        zero_point=31 + 0.1 * visit,
        noise=25 + 5 * visit,
        sip=2e-6,
    )
    for visit, fwhm in enumerate((3.5, 4.5, 5.5, 4.0))
]
SETTINGS = MeasureConfig()


@dataclass
class Made:
    """What the stages have made of a patch in some bands."""

    root: object
    inputs: list
    coadds: dict
    detections: dict
    merged: object
    measured: dict
    reference: object
    forced: dict


def process(root, skies, *, settings=SETTINGS, area=AREA):
    """Run all stages; sky by band."""
    inputs, coadds, detections, measured, again = [], {}, {}, {}, {}
    for place, (band, sky) in enumerate(skies.items()):
        here = []
        for frame in FRAMES:
            one = replace(frame, visit=10 * place + frame.visit)
            here.append(write_frame(root, one, one.draw(sky)))
        warps = [
            warp(WarpJob(area, band, one.visit, (one,), str(root), WarpConfig())) for one in here
        ]
        job = CoaddJob(area, band, str(root), f"coadd-{band}.fits", CoaddConfig())
        coadds[band] = coadd(job, *warps)
        detections[band] = detect(DetectJob(area, band, str(root), coadds[band], DetectConfig()))
        inputs += here
    merged = merge_detections(MergeDetectionsJob(area, detections, MergeDetectionsConfig()))
    for band in skies:
        job = MeasureJob(
            area, band, str(root), f"meas-{band}.fits", coadds[band], detections[band], merged,
            settings,
        )  # fmt: skip
        measured[band] = measure(job)
    reference = merge_measurements(
        MergeMeasurementsJob(
            area, str(root), "ref.fits", measured, ("r", "g"), MergeMeasurementsConfig()
        )
    )
    for band in skies:
        job = ForcedJob(
            area, band, str(root), f"forced-{band}.fits", coadds[band], detections[band], merged,
            reference, settings.deblend.max_area, ForcedConfig(),
        )  # fmt: skip
        again[band] = forced(job)
    return Made(root, inputs, coadds, detections, merged, measured, reference, again)


@pytest.fixture(scope="module")
def stars():
    return random_stars(AREA, 60, 1, mags=(17.5, 21.0), spacing=18, border=40)


@pytest.fixture(scope="module")
def made(stars, tmp_path_factory):
    """Two bands; in g all stars are half as bright, but for one which is in g alone."""
    in_r, in_g = stars.flux.copy(), 0.5 * stars.flux
    in_r[0], in_g[0] = 0, 3e4
    skies = {"g": Sky(stars.ra, stars.dec, in_g), "r": Sky(stars.ra, stars.dec, in_r)}
    return process(tmp_path_factory.mktemp("patch"), skies)


def matched(rows, stars):
    """Rows of the catalogue in the order of the stars, all of which must be there."""
    x, y = make_wcs(AREA.patch_wcs).all_world2pix(stars.ra, stars.dec, 0)
    distance, index = KDTree(np.stack([rows["x"], rows["y"]], axis=1)).query(np.stack([x, y], 1))
    assert distance.max() < 1.0
    assert len(set(index)) == len(stars.ra)
    return rows[index], x, y


def millimag(flux, truth):
    return 2500 * np.log10(flux / truth)


def test_the_fluxes_of_stars_are_unbiased(made, stars):
    for rows in (made.measured["g"].sources, made.forced["g"].sources):
        found, _, _ = matched(rows, stars)
        truth = np.where(np.arange(60) == 0, 3e4, 0.5 * stars.flux)
        bright = truth > 1e4
        off = millimag(found["psf_flux"], truth)
        assert abs(np.median(off[bright])) < 3
        assert np.std(off[bright]) < 15
        pull = (found["psf_flux"] - truth) / np.hypot(found["psf_flux_err"], 1e-3 * truth)
        assert 0.7 < np.std(pull) < 1.3
        corrected = found["aperture_flux"] / found["aperture_fraction"]
        assert np.abs(np.median(millimag(corrected[bright].T, truth[bright]), axis=1)).max() < 5


def test_positions_are_right_and_so_are_their_errors(made, stars):
    found, x, y = matched(made.measured["g"].sources, stars)
    for off, error in ((found["x"] - x, found["x_err"]), (found["y"] - y, found["y_err"])):
        assert abs(np.mean(off)) < 0.01
        assert 0.7 < np.std(off / np.hypot(error, 2e-3)) < 1.4
    ra, dec = make_wcs(AREA.patch_wcs).all_pix2world(found["x"], found["y"], 0)
    assert np.allclose(found["ra"], ra)
    assert np.allclose(found["dec"], dec)


def test_stars_are_not_extended_and_nothing_is_wrong_with_them(made, stars):
    found, _, _ = matched(made.measured["g"].sources, stars)
    assert np.nanmean(found["extendedness"]) < 0.05
    for flag in ("edge", "saturated", "interpolated", "psf", "skipped"):
        assert not found[f"flag_{flag}"].any()


def test_a_source_of_one_band_is_measured_in_all(made, stars):
    found, _, _ = matched(made.forced["r"].sources, stars)
    assert abs(found["psf_flux"][0]) < 5 * found["psf_flux_err"][0]
    reference = fits.getdata(made.root / "ref.fits", "SOURCES")
    here, _, _ = matched(reference, stars)
    assert here["band"].tolist() == ["g"] + 59 * ["r"]
    assert here["bands"][0] == 0b10
    assert set(here["bands"][1:]) == {0b11}
    assert made.merged.bands == ("r", "g")


def test_sources_beyond_the_inner_patch_are_another_ones(made):
    sources = made.reference.sources
    inside = (sources["x"] >= 29.5) & (sources["x"] < 289.5)
    inside &= (sources["y"] >= 29.5) & (sources["y"] < 289.5)
    assert (sources["primary"] == inside).all()
    assert made.reference.row["n_primary"] == inside.sum()


def test_ids_are_the_same_again(made, stars, tmp_path):
    again = merge_detections(MergeDetectionsJob(AREA, made.detections, MergeDetectionsConfig()))
    assert np.array_equal(again.peaks["id"], made.merged.peaks["id"])
    assert len(set(again.peaks["id"])) == len(again.peaks)
    for table in (made.measured["r"].sources, made.forced["g"].sources):
        assert np.array_equal(table["id"], made.reference.sources["id"])


def test_what_is_written_says_what_it_is_and_is_intact(made):
    names = sorted(path.name for path in made.root.iterdir() if "calexp" not in path.name)
    assert len(names) == 3 * 2 + 1
    for name in names:
        with fits.open(made.root / name, checksum=True) as units:
            header = units[0].header
            assert header["TRACT"] == AREA.tract
            assert header["PATCH"] == "3,4"
            assert header["CONFDIG"]
            assert all("CHECKSUM" in unit.header and "DATASUM" in unit.header for unit in units)
    with fits.open(made.root / "coadd-r.fits") as units:
        assert [unit.name for unit in units[1:]] == [
            "IMAGE", "MASK", "VARIANCE", "WEIGHT", "NIMAGE", "INPUTS",
        ]  # fmt: skip
        assert units["IMAGE"].header["BUNIT"] == "nJy"
        assert units["IMAGE"].header["MAGZERO"] == 31.4
        assert sorted(units["INPUTS"].data["visit"]) == [10, 11, 12, 13]
    with fits.open(made.root / "meas-r.fits") as units:
        columns = units["SOURCES"].columns
        assert columns["psf_flux"].unit == "nJy"
        assert columns["ra"].unit == "deg"
        assert units[0].header["INPUT1"] == "coadd-r.fits"


def test_values_that_travel_are_small(made):
    assert len(pickle.dumps(made.detections["r"])) < 1 << 16
    assert len(pickle.dumps(made.merged)) < 1 << 16


def test_sources_on_single_frames_have_the_same_fluxes(made, stars):
    visit = tuple(one for one in made.inputs if one.visit == 11)
    job = ForcedCcdJob(
        11, "r", str(made.root), "forced-11.fits", visit, primary_places([made.reference]),
        ForcedCcdConfig(),
    )  # fmt: skip
    row = forced_ccd(job)
    rows = fits.getdata(made.root / "forced-11.fits", "SOURCES")
    (made.root / "forced-11.fits").unlink()
    assert row["n_sources"] == len(rows) == made.reference.row["n_primary"]
    place = {number: n for n, number in enumerate(made.reference.sources["id"].tolist())}
    known = made.forced["r"].sources[[place[number] for number in rows["id"].tolist()]]
    pull = (rows["psf_flux"] - known["psf_flux"]) / rows["psf_flux_err"]
    assert abs(np.median(pull)) < 0.5
    assert 0.6 < np.std(pull) < 1.6
    bright = known["psf_flux"] > 5e4
    assert abs(np.median(millimag(rows["psf_flux"][bright], known["psf_flux"][bright]))) < 5


def test_a_ccd_that_cannot_be_read_is_named_and_the_others_are_measured(made):
    visit = [one for one in made.inputs if one.visit in (10, 11)]
    visit[0] = replace(visit[0], image="missing.fits")
    job = ForcedCcdJob(
        11, "r", str(made.root), "forced-x.fits", tuple(visit), primary_places([made.reference]),
        ForcedCcdConfig(),
    )  # fmt: skip
    row = forced_ccd(job)
    (made.root / "forced-x.fits").unlink()
    assert row["n_ccds"] == 1
    assert "missing.fits" in row["notes"][0]
    with pytest.raises(FrameError, match=r"missing\.fits"):
        forced_ccd(replace(job, ccds=(visit[0],)))


class HereAndNow:
    """Stands for the pool: does a scatter in this process, and counts what comes."""

    items = 0

    def map(self, function, items, *, stage):
        results = []
        for item in items:
            HereAndNow.items += 1
            results.append(pickle.loads(pickle.dumps(function))(pickle.loads(pickle.dumps(item))))
        return results


def test_blends_scattered_over_ranks_give_the_same(made, monkeypatch):
    monkeypatch.setattr(patch_sources, "Pool", HereAndNow)
    job = MeasureJob(
        AREA, "r", str(made.root), "meas-r.fits", made.coadds["r"], made.detections["r"],
        made.merged, MeasureConfig(scatter_cost=0),
    )  # fmt: skip
    scattered = measure(job)
    assert 2 <= HereAndNow.items <= 64
    for name in scattered.sources.dtype.names:
        wanted = made.measured["r"].sources[name]
        assert np.array_equal(scattered.sources[name], wanted, equal_nan=wanted.dtype.kind == "f")


@pytest.mark.long
def test_tasks_of_a_pool_scatter_their_blends_and_ccds(made):
    light = MeasureJob(
        AREA, "r", str(made.root), "meas-r.fits", made.coadds["r"], made.detections["r"],
        made.merged, SETTINGS,
    )  # fmt: skip
    heavy = replace(light, catalog="meas-x.fits", config=MeasureConfig(scatter_cost=0))
    frames = ForcedCcdJob(
        11, "r", str(made.root), "forced-x.fits", tuple(made.inputs[4:]),
        primary_places([made.reference]), ForcedCcdConfig(scatter_ccds=2),
    )  # fmt: skip
    with Pool(workers=2) as pool:
        results = pool.map(measure, [light, heavy])
        row = pool.map(forced_ccd, [frames])[0]
    assert results[0].sources.tobytes() == results[1].sources.tobytes()
    assert row["n_ccds"] == 4
    for name in ("meas-x.fits", "forced-x.fits"):
        (made.root / name).unlink()


def test_a_footprint_too_large_to_deblend_is_one_source_and_said(made, stars):
    settings = MeasureConfig(deblend={"max_area": 400})
    job = MeasureJob(
        AREA, "r", str(made.root), "meas-small.fits", made.coadds["r"], made.detections["r"],
        made.merged, settings,
    )  # fmt: skip
    small = measure(job)
    header = fits.getheader(made.root / "meas-small.fits")
    (made.root / "meas-small.fits").unlink()
    skipped = small.sources[small.sources["flag_skipped"]]
    assert small.row["n_skipped"] == len(skipped) == header["NSKIPPED"] > 0
    assert small.row["largest_skipped"] == skipped["area"].max() == header["MAXSKIP"] > 400
    assert (skipped["n_peaks"] > 1).all()
    lost = skipped["n_peaks"].sum() - len(skipped)
    assert len(small.sources) == len(made.measured["r"].sources) - lost
    assert made.measured["r"].row["n_skipped"] == 0


def test_bands_have_their_priority_by_the_last_part_of_their_names():
    bands = {"HSC-G": 0, "HSC-I": 0, "r2": 0, "HSC-R": 0}
    assert by_priority(bands, ("i", "r", "g")) == ("HSC-I", "HSC-R", "HSC-G", "r2")


def test_galaxies_are_extended_and_keep_more_light_in_their_kron_flux(tmp_path):
    rng = np.random.default_rng(3)
    places = random_stars(AREA, 9, 2, mags=(18.0, 19.0), spacing=60, border=45)
    # A galaxy of a hundred stars.
    angle, radius = rng.uniform(0, 2 * np.pi, (9, 100)), rng.exponential(1.2, (9, 100))
    ra = places.ra[:, None] + radius * np.cos(angle) / 3600
    dec = places.dec[:, None] + 0.6 * radius * np.sin(angle) / 3600
    flux = np.repeat(places.flux[:, None] / 100, 100, axis=1)
    sky = Sky(ra.ravel(), dec.ravel(), flux.ravel())
    done = process(tmp_path, {"r": sky})
    rows = done.measured["r"].sources
    bright = rows[np.argsort(-rows["kron_flux"])[:7]]
    assert (bright["extendedness"] == 1).mean() > 0.9
    assert (bright["kron_flux"] > 1.2 * bright["psf_flux"]).all()
    assert bright["kron_flux"].sum() == pytest.approx(np.sort(places.flux)[-7:].sum(), rel=0.15)


def test_pixels_which_are_no_numbers_do_no_harm(stars, tmp_path):
    warps = []
    for n, frame in enumerate(FRAMES[:3]):
        image, mask, variance = frame.draw(stars)
        image[100:103, 50:300], image[200, 200] = np.nan, np.inf
        variance[20 + n] = -1
        one = write_frame(tmp_path, frame, (image, mask, variance))
        warps.append(warp(WarpJob(AREA, "r", n, (one,), str(tmp_path), WarpConfig())))
    done = coadd(CoaddJob(AREA, "r", str(tmp_path), "coadd.fits", CoaddConfig()), *warps)
    with fits.open(tmp_path / "coadd.fits") as units:
        for name in ("IMAGE", "VARIANCE", "WEIGHT"):
            assert np.isfinite(units[name].data).all()
        assert units["NIMAGE"].data.min() >= 0
    assert done.row["covered"] > 0.98


def test_a_sky_that_is_too_bright_in_a_corner_is_no_crowd(tmp_path):
    frame = FRAMES[0]
    image, mask, variance = frame.draw(Sky(*np.zeros((3, 0))))
    image[:, 150:] += 0.3 * np.minimum(np.arange(250), 120).astype(np.float32)
    one = write_frame(tmp_path, frame, (image, mask, variance))
    made_warp = warp(WarpJob(AREA, "r", 0, (one,), str(tmp_path), WarpConfig()))
    done = coadd(CoaddJob(AREA, "r", str(tmp_path), "coadd.fits", CoaddConfig()), made_warp)
    config = DetectConfig(sky_cell=64)
    found = detect(DetectJob(AREA, "r", str(tmp_path), done, config))
    assert len(found.peaks) <= 2
    assert np.ptp(found.sky) > 30


@pytest.mark.parametrize("plane", ["NO_DATA", "BAD"])
def test_images_which_are_masked_all_over_do_not_stop_the_stages(plane, tmp_path):
    frame = FRAMES[0]
    image, mask, variance = frame.draw(Sky(*np.zeros((3, 0))))
    mask[:] = bit(plane)
    one = write_frame(tmp_path, frame, (image, mask, variance))
    made_warp = warp(WarpJob(AREA, "r", 0, (one,), str(tmp_path), WarpConfig()))
    job = CoaddJob(AREA, "r", str(tmp_path), "coadd.fits", CoaddConfig())
    if plane == "NO_DATA":
        assert made_warp.image.size == 0
        with pytest.raises(FrameError, match=r"tract 9813 patch 3,4 filter r: no visit has usable"):
            coadd(job, made_warp)
        return
    done = coadd(job, made_warp)
    found = detect(DetectJob(AREA, "r", str(tmp_path), done, DetectConfig()))
    assert len(found.peaks) <= 2
    merged = merge_detections(MergeDetectionsJob(AREA, {"r": found}, MergeDetectionsConfig()))
    rows = measure(
        MeasureJob(AREA, "r", str(tmp_path), "meas.fits", done, found, merged, MeasureConfig())
    )
    assert rows.sources["flag_interpolated"].all()


def test_without_a_psf_everything_but_psf_fluxes_is_measured(stars, tmp_path):
    warps = []
    for n, frame in enumerate(FRAMES[:2]):
        one = write_frame(tmp_path, frame, frame.draw(stars), psf=False)
        warps.append(warp(WarpJob(AREA, "r", n, (one,), str(tmp_path), WarpConfig())))
    done = coadd(CoaddJob(AREA, "r", str(tmp_path), "coadd.fits", CoaddConfig()), *warps)
    found = detect(DetectJob(AREA, "r", str(tmp_path), done, DetectConfig()))
    merged = merge_detections(MergeDetectionsJob(AREA, {"r": found}, MergeDetectionsConfig()))
    job = MeasureJob(AREA, "r", str(tmp_path), "meas.fits", done, found, merged, MeasureConfig())
    rows = measure(job).sources
    assert len(rows) > 40
    assert rows["flag_psf"].all()
    assert np.isnan(rows["psf_flux"]).all()
    assert np.isfinite(rows["aperture_flux"]).all()
    reference = MergeMeasurementsJob(
        AREA, str(tmp_path), "ref.fits", {"r": measure(job)}, ("r",), MergeMeasurementsConfig()
    )
    assert merge_measurements(reference).row["n_sources"] == len(rows)


def test_a_patch_without_sources_goes_through_all_stages(tmp_path):
    done = process(tmp_path, {"r": Sky(*np.zeros((3, 0)))})
    assert done.reference.row["n_sources"] <= 1
    assert len(fits.getdata(tmp_path / "forced-r.fits", "SOURCES")) <= 1


def test_a_coadd_that_was_damaged_is_named(made, tmp_path):
    data = bytearray((made.root / "coadd-r.fits").read_bytes())
    cases = {"cut": data[: len(data) // 2], "flipped": data, "empty": b""}
    data[200_000] ^= 0xFF
    for name, content in cases.items():
        (tmp_path / f"{name}.fits").write_bytes(content)
        broken = replace(made.coadds["r"], row={**made.coadds["r"].row, "image": f"{name}.fits"})
        with pytest.raises(FrameError, match=rf"{name}\.fits"):
            detect(DetectJob(AREA, "r", str(tmp_path), broken, DetectConfig()))
