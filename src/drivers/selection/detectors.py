"""Leaves out detectors which are not to be used: dead ones, and those with another role."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from drivers.instruments import BUILT_IN, Cameras


def usable_detectors(
    roles: Collection[str] = ("science",),
    ignored: Mapping[str, Collection[int]] | None = None,
    cameras: Cameras = BUILT_IN,
    obstype: str = "science",
) -> tuple[str, list[Any]]:
    """Return the SQL condition, and its parameters, of frames from detectors which are to be used.

    Parameters
    ----------
    roles : collection of str
        Of the detectors: ``science``, ``focus``, ``guide``.
    ignored : Mapping of str to collection of int, optional
        By instrument, the detectors which are left out, instead of those of its description.
    cameras : Cameras
        The descriptions.
    obstype : str
        What the frames show.
    """
    known = {camera.name: camera.ignore_ccds for camera in cameras}
    left_out = {name: ccds for name, ccds in {**known, **(ignored or {})}.items() if ccds}
    clauses = ["obstype = ?", f"role IN ({_marks(roles)})"]
    values: list[Any] = [obstype, *roles]
    for name, ccds in left_out.items():
        clauses.append(f"NOT (instrument = ? AND ccd IN ({_marks(ccds)}))")
        values += [name, *sorted(ccds)]
    return " AND ".join(clauses), values


def _marks(values: Collection[Any]) -> str:
    return ", ".join("?" * len(values))
