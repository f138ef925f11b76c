"""The cameras whose frames can be ingested: one small description each."""

from __future__ import annotations

from drivers.instruments.decam import DECAM
from drivers.instruments.description import Header, Instrument
from drivers.instruments.obs_test import OBS_TEST
from drivers.instruments.simcam import SIMCAM

INSTRUMENTS: tuple[Instrument, ...] = (DECAM, OBS_TEST, SIMCAM)


def identify(header: Header) -> Instrument | None:
    """Return the instrument which made the frame with this header, or None."""
    return next((camera for camera in INSTRUMENTS if camera.recognises(header)), None)


def named(name: str) -> Instrument:
    """Return the instrument with this name in the registry."""
    return next(camera for camera in INSTRUMENTS if camera.name == name)


def is_companion(file_name: str) -> bool:
    """Whether a file of this name belongs to an image instead of being one."""
    return any(camera.has_companion_named(file_name) for camera in INSTRUMENTS)
