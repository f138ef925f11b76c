"""What `singleFrameDriver` says at its end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from drivers.command import first_line

if TYPE_CHECKING:
    from drivers.registry import RawFrame
    from drivers.repository import Rerun

_NOTES = 5
"""Kinds of notes that are shown."""

_NAMED = 3
"""CCDs that a note names."""

_REASONS = 5
_FAILURES = 10
"""Reasons, and failed CCDs, that are shown."""

Failure = tuple["RawFrame", BaseException]


def summarise(rerun: Rerun, total: int, n_failed: int, summary: Any) -> list[str]:
    """Return how much was done, and where it is.

    Parameters
    ----------
    rerun : Rerun
        Where the outputs went.
    total, n_failed : int
        CCDs that were selected, and that failed.
    summary : mpipool.MapSummary
        What the map did.
    """
    before = summary.reused
    line = f"{total} CCDs: {total - n_failed} done ({before} of them before)"
    line += f", {n_failed} failed, in {summary.wall:.1f} s"
    if before < total:
        line += f"; the ranks were busy {100 * summary.utilisation:.0f} % of the time"
    return [
        line,
        f"images and catalogues: {rerun.folder / 'calexp'}",
        f"records: {rerun.run_db}; table calexp of {rerun.repository.registry}",
    ]


def list_notes(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what was unusual, most frequent first, and on which CCDs."""
    where: dict[str, list[str]] = {}
    for row in rows:
        for note in row["notes"]:
            where.setdefault(note, []).append(f"visit {row['visit']} ccd {row['ccd']}")
    frequent = sorted(where.items(), key=lambda item: -len(item[1]))
    lines = []
    for note, ccds in frequent[:_NOTES]:
        more = ", …" if len(ccds) > _NAMED else ""
        lines.append(f"note ({len(ccds)} x, {', '.join(ccds[:_NAMED])}{more}): {note}")
    if len(where) > _NOTES:
        lines.append("more notes: column notes of table calexp")
    return lines


def list_failures(rerun: Rerun, failures: Sequence[Failure]) -> list[str]:
    """Return how often each reason stands, and the first CCDs with theirs."""
    if not failures:
        return []
    details = f"mpipool failed {rerun.run_db}"
    lines = [f"failed ({len(failures)}); details: {details}"]
    if len(failures) > 1:
        lines += _reasons(failures)
    lines += [f"  {frame}: {first_line(error)}" for frame, error in failures[:_FAILURES]]
    if len(failures) > _FAILURES:
        lines.append(f"  … and {len(failures) - _FAILURES} more: {details}")
    return lines


def _reasons(failures: Sequence[Failure]) -> list[str]:
    """Count the reasons; such as differ in numbers only are one, shown by its first."""
    alike: dict[str, list[str]] = {}
    for frame, error in failures:
        reason = first_line(error).replace(f"{frame.path}: ", "")
        alike.setdefault(re.sub(r"\d+", "#", reason), []).append(reason)
    frequent = sorted(alike.values(), key=len, reverse=True)
    lines = [f"  {len(reasons)} x {reasons[0]}" for reasons in frequent[:_REASONS]]
    if len(frequent) > _REASONS:
        lines.append(f"  … and {len(frequent) - _REASONS} more reasons")
    return lines
