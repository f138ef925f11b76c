"""What a rerun's database says: which CCDs are done, and with which configuration it was made."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from typing import TYPE_CHECKING, Any

from drivers.repository import Rerun

if TYPE_CHECKING:
    from drivers.registry import RawFrame

_STAGE = "singleFrame"

Newest = dict[tuple[int, int], Any]


def newest_records(rerun: Rerun) -> Newest:
    """Return the newest record of each visit and ccd, whether it is done or failed.

    A CCD has a record for each input from which it was made: its files are those of the newest.
    """
    from mpipool import read_records

    if not rerun.run_db.is_file():
        return {}
    records = read_records(rerun.run_db, stage=_STAGE)
    return {(record.data_id["visit"], record.data_id["ccd"]): record for record in records}


def committed_rows(newest: Newest) -> list[dict[str, Any]]:
    """Return what the tasks recorded, of the CCDs that are done."""
    return [dict(record.metrics) for record in newest.values() if record.state == "done"]


def is_done(newest: Newest, frame: RawFrame) -> bool:
    """Whether the CCD was made of this input, and all that was made is still there."""
    record = newest.get((frame.visit, frame.ccd))
    return (
        record is not None
        and record.state == "done"
        and record.data_id == frame.key
        and all(os.path.exists(path) for path in record.outputs)
    )


def remove_outdated(newest: Newest, frame: RawFrame) -> None:
    """Remove what was made of another input of this CCD before an earlier one came back.

    Then the records say of the frame as it is now that it is done, but the files are the other's.
    Without them it is made again.
    """
    record = newest.get((frame.visit, frame.ccd))
    if record is not None and record.state == "done" and record.data_id != frame.key:
        for path in record.outputs:
            with suppress(FileNotFoundError):
                os.unlink(path)


def require_configuration(rerun: Rerun, configuration: Mapping[str, Any]) -> None:
    """Refuse what a run would refuse: another configuration than that of the rerun.

    Raises
    ------
    CheckpointMismatch
        With what differs.
    """
    from mpipool import CheckpointMismatch

    stored = _stored_configuration(rerun)
    if stored is None or stored == configuration:
        return
    lines = "".join(
        f"\n  {stage}.{name}: {_shown(old, name)} → {_shown(new, name)}"
        for stage in sorted(stored.keys() | configuration.keys())
        for old, new in [(stored.get(stage, {}), configuration.get(stage, {}))]
        for name in sorted(old.keys() | new.keys())
        if _shown(old, name) != _shown(new, name)
    )
    raise CheckpointMismatch(
        str(rerun.run_db),
        "it was made with another configuration; go back to that, or use another database"
        f" (another rerun). What differs:{lines}",
    )


def _shown(values: Mapping[str, Any], name: str) -> str:
    return json.dumps(values[name], ensure_ascii=False) if name in values else "(absent)"


def _stored_configuration(rerun: Rerun) -> dict[str, Any] | None:
    """Return the configuration of the database (docs/checkpoint.md), or None if it has none yet."""
    if not rerun.run_db.is_file():
        return None
    # In a folder which can't be written, a database is read only if it is said not to change.
    for mode in ("ro", "ro&immutable=1"):
        uri = f"{rerun.run_db.absolute().as_uri()}?mode={mode}"
        with suppress(sqlite3.Error), closing(sqlite3.connect(uri, uri=True)) as connection:
            row = connection.execute("SELECT value FROM meta WHERE key = 'config'").fetchone()
            return json.loads(row[0]) if row else None
    return None
