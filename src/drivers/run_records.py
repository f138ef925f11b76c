"""What a rerun's database says: which CCDs are done, and with which configuration it was made."""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from drivers.repository import Rerun

if TYPE_CHECKING:
    from drivers.registry import RawFrame


@dataclass(frozen=True, slots=True)
class RunRecords:
    """The last record of each task of a rerun.

    A CCD is a task of its own for each input from which it was made; its files are those of the
    newest.

    Attributes
    ----------
    newest : dict
        Of each visit and ccd the newest record, whether it is done or failed.
    done : set of (int, int, str)
        Visit, ccd and input of all tasks that are done.
    """

    newest: dict[tuple[int, int], Any]
    done: set[tuple[Any, ...]]

    def rows(self) -> list[dict[str, Any]]:
        """Return what the tasks recorded, of the CCDs that are done."""
        return [dict(record.metrics) for record in self.newest.values() if record.state == "done"]

    def has_made(self, frame: RawFrame) -> bool:
        """Whether the CCD was made of this input, and all that was made is still there."""
        record = self.newest.get((frame.visit, frame.ccd))
        return (
            record is not None
            and record.state == "done"
            and record.data_id == frame.key
            and all(os.path.exists(path) for path in record.outputs)
        )

    def remove_outdated(self, frame: RawFrame) -> None:
        """Remove the CCD's files if an earlier input came back, and they are another's.

        The pool would take the task for done. Without its files it is done again.
        """
        record = self.newest.get((frame.visit, frame.ccd))
        if record is None or record.data_id == frame.key or _task(frame.key) not in self.done:
            return
        for path in record.outputs:
            with suppress(FileNotFoundError):
                os.unlink(path)


def read_run(rerun: Rerun, stage: str) -> RunRecords:
    """Read the records of a rerun's stage; there are none if it wasn't begun."""
    from mpipool import read_records

    records = RunRecords({}, set())
    if not rerun.run_db.is_file():
        return records
    for record in read_records(rerun.run_db, stage=stage):
        records.newest[record.data_id["visit"], record.data_id["ccd"]] = record
        if record.state == "done":
            records.done.add(_task(record.data_id))
    return records


def _task(data_id: Mapping[str, Any]) -> tuple[Any, ...]:
    return data_id["visit"], data_id["ccd"], data_id.get("input")


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
