"""A camera which the drivers don't know is described by its user, in TOML."""

import json
import re
import sqlite3
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits

from drivers.configuration.errors import ConfigurationError
from drivers.exposure import bit
from drivers.exposure_io import read_exposure
from drivers.header_scan import scan_file
from drivers.ingest import main
from drivers.instruments import BUILT_IN, Cameras, cameras_in, read_instruments
from drivers.instruments.description import first, mean
from drivers.instruments.written import read_instrument

PAGE = Path(__file__).parents[2] / "docs" / "instruments.md"
EXAMPLE = re.search(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[1]
WCS_CARDS = {
    "CTYPE1": "RA---TAN", "CTYPE2": "DEC--TAN", "CRVAL1": 10.0, "CRVAL2": 20.0, "CRPIX1": 20.0,
    "CRPIX2": 15.0, "CD1_1": -1e-4, "CD2_2": 1e-4,
}  # fmt: skip
SMALL = 'name = "X"\nrecognise = {A = "b"}\nvisit = "V"\nccd = 1\nfilter = "F"\n'


def described(tmp_path, text):
    path = tmp_path / "camera.toml"
    path.write_text(text)
    return path


def write_frame(path, *, pixels=None, planes=None, **cards):
    """Write a frame of the example's camera: detectors 4 and 9, each with its planes."""
    primary = fits.PrimaryHDU()
    primary.header.update(
        {"INSTRUME": "WFI", "DATE-OBS": "2021-02-03T04:05:06", "FILTER": "r band", "EXPTIME": 20.0}
    )
    units = [primary]
    for version, ccd in enumerate((4, 9), start=1):
        image = np.full((30, 40), 100.0, np.float32) if pixels is None else pixels
        for name, data in {f"ccd{ccd}": image, **(planes or {})}.items():
            unit = fits.ImageHDU(data, name=name, ver=version)
            unit.header.update({**WCS_CARDS, "GAINA": 1.5, "GAINB": 2.5, **cards})
            units.append(unit)
    fits.HDUList(units).writeto(path)
    return path


def test_the_example_of_the_documentation_is_read(tmp_path):
    camera = read_instrument(described(tmp_path, EXAMPLE))
    header = {
        "INSTRUME": "WFI-2", "DATE-OBS": "2021-02-03T04:05:06", "EXTNAME": "CCD9",
        "FILTER": "r SDSS", "GAINA": 1.0, "GAINB": 2.0,
    }  # fmt: skip
    assert camera.recognises(header)
    assert not camera.recognises({**header, "PRODTYPE": "stack"})
    names = ("visit", "ccd", "filter", "role", "obstype", "unit", "saturation")
    values = [first(getattr(camera, name), header, "a.fits") for name in names]
    assert values == ["20210203040506", "9", "r", "focus", "science", "adu", 60000]
    assert first(camera.mjd, header, "") == pytest.approx(59248 + (4 + 5 / 60 + 6 / 3600) / 24)
    assert mean(camera.gain, header, "") == 1.5
    assert camera.ignore_ccds == {3}
    assert [camera.has_image_named(name) for name in ("CCD3", "ccd12", "MASK", "")] == [
        True, True, False, False,
    ]  # fmt: skip
    assert camera.companions[0].beside(Path("/x/a_img.fits")) == Path("/x/a_msk.fits")
    assert camera.has_companion_named("a_msk.fits")
    assert camera.mask_codes == {1: "BAD", 2: "SAT", 4: "CR", 8: ""}
    assert camera.mask_bits


def test_an_identifier_of_letters_and_digits_is_a_number_of_base_36(tmp_path):
    text = SMALL.replace('"V"', '{keyword = "ROOT", base = 36}')
    camera = read_instrument(described(tmp_path, text))
    assert first(camera.visit, {"ROOT": "j8bt06nyq"}, "") == int("j8bt06nyq", 36)
    assert first(camera.visit, {"ROOT": "j8-06"}, "") is None


@pytest.mark.parametrize(
    ("changed", "says"),
    [
        (SMALL.replace('visit = "V"\n', ""), "visit: is missing (in "),
        (SMALL + "viist = 3", "viist: there is no such field; there are name, recognise"),
        (SMALL.replace('"F"', "true"), "filter: a value is the name of a keyword, a number, or"),
        (SMALL.replace('"F"', '{keyword = "F", patern = "(x)"}'), "filter: a value is the name"),
        (SMALL.replace('"F"', '{keyword = "F", pattern = "x"}'), "needs a group in parentheses"),
        (SMALL.replace('"F"', '{file_name = "(x"}'), "filter: is no regular expression"),
        (SMALL.replace('"V"', '{keyword = "V", base = 99}'), "base of a number is from 2 to 36"),
        (SMALL.replace('"b"', '"(b"'), "recognise.A: is no regular expression"),
        (SMALL.replace('{A = "b"}', "{}"), "recognise: "),
        (SMALL.replace('"X"', '"../X"'), "name: "),
        (SMALL.replace('"X"', '"DECam"'), "name: DECam is a camera which the drivers know"),
        (SMALL + 'mask.planes = {1 = "BLED"}', "mask.planes.1: a mask plane is one of BAD, SAT"),
        (SMALL + 'roles = {pointing = [1]}', "roles.pointing"),
        (SMALL + "ignore_ccds = [-1]", "ignore_ccds"),
        (SMALL + "filter = ", "is not TOML"),
    ],
)  # fmt: skip
def test_a_mistake_is_refused_by_field_and_file(tmp_path, changed, says):
    path = described(tmp_path, changed)
    with pytest.raises(ConfigurationError, match=re.escape(says)) as raised:
        read_instruments([path])
    assert str(path) in str(raised.value)


def rows(repo, query):
    with closing(sqlite3.connect(repo / "registry.sqlite")) as connection:
        return connection.execute(query).fetchall()


def test_a_file_of_several_detectors_is_several_frames_and_later_drivers_find_the_camera(
    tmp_path, pool
):
    path = write_frame(tmp_path / "n_img.fits", planes={"NOISE": np.ones((30, 40))})
    repo, camera = tmp_path / "repo", described(tmp_path, EXAMPLE)
    assert main([str(repo), str(path), "--instrument", str(camera)]) == 0
    query = "SELECT visit, ccd, filter, hdu, role, instrument, exptime, wcs FROM raw ORDER BY ccd"
    found = rows(repo, query)
    assert [row[:7] for row in found] == [
        (20210203040506, 4, "r", 1, "science", "WFI", 20.0),
        (20210203040506, 9, "r", 3, "focus", "WFI", 20.0),
    ]
    assert json.loads(found[0][-1])["CRVAL1"] == 10.0
    assert (repo / "instruments/WFI.toml").read_text() == EXAMPLE
    known = cameras_in(repo / "instruments")
    assert known.named("WFI").ignore_ccds == known.ignored("WFI") == {3}
    # The repository knows the camera now; the digest of its description decides what is redone.
    write_frame(tmp_path / "m_img.fits", OBJECT="x").rename(tmp_path / "o_img.fits")
    fits.setval(tmp_path / "o_img.fits", "DATE-OBS", value="2021-02-04T04:05:06")
    assert main([str(repo), str(tmp_path / "o_img.fits")]) == 0
    assert len(rows(repo, query)) == 4
    before = known.digest("WFI")
    camera.write_text(EXAMPLE.replace("60000", "50000"))
    assert main([str(repo), str(path), "--instrument", str(camera)]) == 0
    assert cameras_in(repo / "instruments").digest("WFI") != before
    assert known.digest("DECam") == ""


def test_a_bad_description_stops_an_ingest_before_anything_is_made(tmp_path, pool, capsys):
    path = write_frame(tmp_path / "n_img.fits")
    command = [str(tmp_path / "repo"), str(path), "--instrument", str(tmp_path / "none.toml")]
    assert main(command) == 2
    assert "none.toml can't be read" in capsys.readouterr().err
    assert not (tmp_path / "repo").exists()


def read(tmp_path, text, number=0, **frame):
    """Ingest the frame of a camera, and read the calibrated image of one of its detectors."""
    cameras = Cameras([read_instrument(described(tmp_path, text))])
    scan = scan_file(str(write_frame(tmp_path / "n_img.fits", **frame)), cameras)
    assert scan.problems == ()
    return read_exposure(scan.frames[number], cameras.named("WFI"), overscan_order=0)


WITH_PLANES = EXAMPLE.replace("# planes =", "planes =").replace('unit = "adu"', 'unit = "BUNIT"')


def test_planes_of_the_same_file_are_the_mask_and_the_variance(tmp_path):
    mask, error = np.zeros((30, 40), np.int16), np.full((30, 40), 3.0, np.float32)
    mask[0, :6] = 1, 2, 4, 8, 16, 6
    error[1, 0], error[1, 1] = 0, np.nan
    exposure = read(tmp_path, WITH_PLANES, planes={"DQ": mask, "ERR": error}, BUNIT="electrons")
    planes = ("BAD", "SAT", "CR")
    found = [[name for name in planes if exposure.mask[0, x] & bit(name)] for x in range(7)]
    assert found == [["BAD"], ["SAT"], ["CR"], [], ["BAD"], ["SAT", "CR"], []]
    assert (exposure.mask[1, :3] & bit("BAD") != 0).tolist() == [True, True, False]
    assert exposure.variance[5, 5] == 9
    assert (exposure.unit, exposure.gain) == ("electron", 1.0)
    assert exposure.notes == ["no mask: its file is not there"]


def test_pixels_per_second_become_those_of_the_exposure(tmp_path):
    error = np.full((30, 40), 0.5, np.float32)
    exposure = read(tmp_path, WITH_PLANES, 1, planes={"ERR": error}, BUNIT="ELECTRONS/S")
    assert exposure.image[3, 3] == 100 * 20
    assert exposure.variance[3, 3] == 0.25 * 400
    assert "no mask: its extension is not there" in exposure.notes


def test_without_a_variance_the_noise_is_that_of_the_electrons(tmp_path):
    exposure = read(tmp_path, EXAMPLE)
    # 100 counts of 2 electrons, and 5 electrons of read noise.
    assert exposure.variance[3, 3] == pytest.approx(100 / 2 + (5 / 2) ** 2)
    assert (exposure.unit, exposure.gain) == ("adu", 2.0)


@pytest.mark.parametrize("unit", ["Jy/beam", "", "electron/hour"])
def test_pixels_in_another_unit_are_refused(tmp_path, unit):
    from drivers.frame_error import FrameError

    text = WITH_PLANES if unit else EXAMPLE.replace('unit = "adu"', 'unit = {value = "mJy"}')
    with pytest.raises(FrameError, match=f"has pixels in '{unit or 'mJy'}', which is no unit"):
        read(tmp_path, text, BUNIT=unit or "x")


def test_pixels_per_second_need_an_exposure_time(tmp_path):
    from drivers.frame_error import FrameError

    text = EXAMPLE.replace('unit = "adu"', 'unit = "adu/s"')
    with pytest.raises(FrameError, match="per second, and no exposure time"):
        read(tmp_path, text, EXPTIME=0.0)


def test_a_file_without_any_of_the_cameras_images_says_so(tmp_path):
    text = EXAMPLE.replace(r"(?i)ccd\d+", "SCI")
    cameras = Cameras([read_instrument(described(tmp_path, text))])
    scan = scan_file(str(write_frame(tmp_path / "n_img.fits")), cameras)
    assert scan.problems == ("holds no extension which its camera's description calls an image",)


def test_of_a_file_nobody_describes_one_line_is_said(tmp_path):
    scan = scan_file(str(write_frame(tmp_path / "n_img.fits")), BUILT_IN)
    assert len(scan.problems) == 1
    assert scan.problems[0].startswith("unknown instrument (INSTRUME = 'WFI')")
