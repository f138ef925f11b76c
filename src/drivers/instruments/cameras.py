"""The cameras which a repository knows: those described here, and those its user described."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from drivers.frame_error import FrameError
from drivers.instruments.decam import DECAM
from drivers.instruments.description import Header, Instrument
from drivers.instruments.mosaic3 import MOSAIC3
from drivers.instruments.ninety_prime import NINETY_PRIME
from drivers.instruments.obs_test import OBS_TEST
from drivers.instruments.simcam import SIMCAM

INSTRUMENTS: tuple[Instrument, ...] = (DECAM, MOSAIC3, NINETY_PRIME, OBS_TEST, SIMCAM)
"""Those described here."""


class Cameras:
    """Finds descriptions of cameras.

    Parameters
    ----------
    own : sequence of Instrument
        The repository's. Of two which recognise a frame it is taken before one described here.
    """

    def __init__(self, own: Sequence[Instrument] = ()) -> None:
        self._own = {camera.name: camera for camera in own}
        self._known = {**self._own, **{camera.name: camera for camera in INSTRUMENTS}}

    def __or__(self, others: Iterable[Instrument]) -> Cameras:
        """Return these cameras with others, which stand in for those of the same name."""
        return Cameras([*self._own.values(), *others])

    def __bool__(self) -> bool:
        """Whether the repository has any of its own."""
        return bool(self._own)

    def __iter__(self) -> Iterator[Instrument]:
        return iter(self._known.values())

    def identify(self, header: Header) -> Instrument | None:
        """Return the camera which made the frame with this header, or None."""
        return next((camera for camera in self if camera.recognises(header)), None)

    def named(self, name: str) -> Instrument:
        """Return the camera with this name in the registry.

        Raises
        ------
        FrameError
            If there is none.
        """
        if name not in self._known:
            raise FrameError(
                f"is of the camera {name}, which nobody describes: give ingestDriver its "
                "description with --instrument"
            )
        return self._known[name]

    def ignored(self, name: str) -> frozenset[int]:
        """Return the detectors of a camera which are dead; none if nobody describes it."""
        camera = self._known.get(name)
        return camera.ignore_ccds if camera else frozenset()

    def own(self, name: str) -> Instrument | None:
        """Return the repository's own description of a camera; None if it has none."""
        return self._own.get(name)

    def digest(self, name: str) -> str:
        """Return what differs when the repository's own description does; empty without one."""
        camera = self.own(name)
        return hashlib.sha256(repr(camera).encode()).hexdigest()[:16] if camera else ""

    def has_companion_named(self, file_name: str) -> bool:
        """Whether a file of this name belongs to an image instead of being one."""
        return any(camera.has_companion_named(file_name) for camera in self)


BUILT_IN = Cameras()
"""Those which every repository knows."""


def cameras_in(folder: Path) -> Cameras:
    """Return the cameras of a repository.

    Parameters
    ----------
    folder : Path
        With the descriptions of its own; it need not exist.

    Raises
    ------
    ConfigurationError
        If one of them can't be understood.
    """
    return Cameras(list(read_instruments(sorted(folder.glob("*.toml"))).values()))


def read_instruments(files: Sequence[Path]) -> dict[Path, Instrument]:
    """Return the cameras which files describe.

    Raises
    ------
    ConfigurationError
        If one of them can't be understood, or names a camera which is described here.
    """
    if not files:
        return {}
    from drivers.configuration.errors import ConfigurationError
    from drivers.instruments.written import read_instrument  # pydantic takes a while

    found = {file: read_instrument(file) for file in files}
    for file, camera in found.items():
        if camera.name in {one.name for one in INSTRUMENTS}:
            raise ConfigurationError(
                f"name: {camera.name} is a camera which the drivers know; take another name "
                f"(in {file})"
            )
    return found
