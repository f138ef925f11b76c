"""LSST's obs_test raw frames: a part of one detector of a simulated camera.

The image is 2 x 2 amplifiers (halves of four channels, without any gap between the upper and the
lower two): the bias level jumps by up to 35 counts at the middle row. The four columns of bias
stand *before* the data, and the header, a copy of the first channel's, has only that one's gain.
So are its world coordinates: they are those of the whole channel, of which the frame's lowest row
is row 1001, and are taken as they stand (visits 1 and 2 agree to 0.2 pixels if 1001 rows are added,
and to 24 without). The astrometric solution is what corrects them.
"""

from __future__ import annotations

from drivers.instruments.description import (
    Clue,
    Companion,
    Constant,
    FileName,
    Instrument,
    Keyword,
)
from drivers.instruments.readout import Amplifier, FixedReadout, Section

_BIAS, _WIDTH, _HEIGHT = 4, 509, 1000
_GAIN = {(0, 0): 1.7741, (0, 1): 1.65881, (1, 0): 1.74151, (1, 1): 1.67073}
"""Electrons per count of the amplifier in column x and row y, as the simulation used them."""


def _amplifier(column: int, row: int) -> Amplifier:
    x, y = column * (_BIAS + _WIDTH), row * _HEIGHT
    return Amplifier(
        data=Section(x + _BIAS, x + _BIAS + _WIDTH, y, y + _HEIGHT),
        overscan=Section(x, x + _BIAS, y, y + _HEIGHT),
        target=Section(column * _WIDTH, (column + 1) * _WIDTH, y, y + _HEIGHT),
        gain=_GAIN[column, row],
    )


OBS_TEST = Instrument(
    name="obs_test",
    clues=(Clue("CREATOR", r"lsst image simulator"), Clue("OUTFILE", r"^imsim_\d+_R22_S00")),
    # The survey calls them visits 1, 2 and 3, which stands only in their names.
    visit=(FileName(r"^raw_v(\d+)_f"), Keyword("OBSID"), Keyword("DATASET")),
    ccd=(Constant(0),),
    filter=(Keyword("FILTER"), Keyword("FILTNM"), FileName(r"^raw_v\d+_f(\w+)\.")),
    companions=(Companion("defects", r"^defects\.fits", "", "defects.fits"),),
    readout=FixedReadout(
        (2 * _HEIGHT, 2 * (_BIAS + _WIDTH)),
        tuple(_amplifier(column, row) for row in (0, 1) for column in (0, 1)),
    ),
    saturation=(Keyword("SATURATE"), Constant(54464.0)),
)
