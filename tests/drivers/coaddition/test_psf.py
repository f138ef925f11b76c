import numpy as np
import pytest
import sep

from drivers.coaddition.psf import CoaddPsf, aperture_fractions, moment_width, shifted
from drivers.results import CcdSolution, Psf, PsfInput
from drivers.sky_position import make_wcs
from sky_patches import CENTRE, Frame, moffat, patch_area, star_psf, tan_cards

AREA = patch_area((400, 400))
WHERE = np.array([200.0]), np.array([200.0])


def entry(frame, *, weight=1.0, psf=None):
    return PsfInput(
        frame.visit,
        frame.ccd,
        CcdSolution(frame.wcs, frame.zero_point),
        psf or star_psf(frame.fwhm, frame.shape),
        weight,
    )


def one_stamp(*inputs, where=WHERE):
    return CoaddPsf(inputs, AREA.patch_wcs).stamps(*where)[0]


def test_one_input_on_the_same_pixels_is_itself():
    stamp = one_stamp(entry(Frame(1, fwhm=4.5)))
    assert np.abs(stamp - moffat(4.5, 25)).max() < 1e-4 * stamp.max()


def test_inputs_count_by_their_weights():
    stamp = one_stamp(entry(Frame(1, fwhm=4), weight=3), entry(Frame(2, fwhm=6), weight=1))
    wanted = 0.75 * moffat(4, 25) + 0.25 * moffat(6, 25)
    assert np.abs(stamp - wanted).max() < 1e-4 * stamp.max()


def test_a_rotated_input_is_rotated_back():
    frame = Frame(1, angle=30)
    y, x = np.mgrid[:25, :25] - 12.0
    long = np.exp(-(x**2 / 2 / 3.0**2 + y**2 / 2 / 1.6**2)) / (2 * np.pi * 3.0 * 1.6)
    stamp = one_stamp(entry(frame, psf=Psf(long[None].astype(np.float32), frame.shape)))
    turn = np.radians(30)
    along, across = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    both = [
        np.exp(-(a**2 / 2 / 3.0**2 + b**2 / 2 / 1.6**2)) / (2 * np.pi * 3.0 * 1.6)
        for a, b in (
            (along, across),
            (x * np.cos(turn) + y * np.sin(turn), -x * np.sin(turn) + y * np.cos(turn)),
        )
    ]
    assert min(np.abs(stamp - one)[4:-4, 4:-4].max() for one in both) < 5e-3 * stamp.max()
    # Which of the two it is, the sky says: two points of the CCD's long axis.
    ccd, patch = make_wcs(frame.wcs), make_wcs(AREA.patch_wcs)
    ends = patch.all_world2pix(*ccd.all_pix2world([239.5, 259.5], [249.5, 249.5], 0), 0)
    slope = np.arctan2(ends[1][1] - ends[1][0], ends[0][1] - ends[0][0])
    moments = [(stamp * m).sum() for m in (x * x, y * y, x * y)]
    assert 0.5 * np.arctan2(2 * moments[2], moments[0] - moments[1]) == pytest.approx(
        np.arctan(np.tan(slope)), abs=0.02
    )


def test_pixels_of_another_size_make_the_star_as_much_wider():
    frame = Frame(1, fwhm=6)
    frame.wcs = tan_cards(*CENTRE, frame.shape, scale=0.15)
    stamp = one_stamp(entry(frame))
    assert np.abs(stamp - moffat(4.5, 25))[6:-6, 6:-6].max() < 4e-3 * stamp.max()


def test_an_input_counts_only_where_it_is():
    inputs = [entry(Frame(1, fwhm=4)), entry(Frame(2, fwhm=6, offset=(300, 0)))]
    psf = CoaddPsf(inputs, AREA.patch_wcs)
    alone, both = psf.stamps(np.array([20.0, 390.0]), np.array([200.0, 200.0]))
    widths = sorted([moment_width(alone), moment_width(both)])
    assert widths[0] == pytest.approx(moment_width(moffat(4, 25)), rel=1e-3)
    assert widths[1] > 1.1 * widths[0]


def test_without_a_psf_there_is_none():
    frame = Frame(1)
    nothing = PsfInput(1, 0, CcdSolution(frame.wcs, 30.0), None, 1.0)
    assert one_stamp(nothing) is None
    assert one_stamp() is None
    assert one_stamp(nothing, entry(frame)) is not None


def test_sources_of_a_cell_share_their_stamp():
    psf = CoaddPsf([entry(Frame(1, sip=2e-6))], AREA.patch_wcs)
    first, second, other = psf.stamps(np.array([200.0, 210, 300]), np.array([200.0, 220, 300]))
    assert first is second
    assert other is not first


def test_a_shift_of_a_stamp_moves_the_star():
    assert np.abs(shifted(moffat(4, 25), 0.4, -0.3) - moffat(4, 25, dx=0.4, dy=-0.3)).max() < 2e-4


def test_aperture_fractions_are_what_apertures_get_of_a_star():
    radii = np.array([3.0, 5.0, 8.0])
    for dx, dy in ((0.0, 0.0), (0.5, 0.3), (-0.2, 0.4)):
        fractions = aperture_fractions(moffat(4, 61), radii, dx, dy)
        x, y = np.full(3, 30 + dx), np.full(3, 30 + dy)
        flux, _, _ = sep.sum_circle(moffat(4, 61, dx=dx, dy=dy), x, y, radii, subpix=5)
        assert flux / fractions == pytest.approx(np.ones(3), abs=3e-3)
