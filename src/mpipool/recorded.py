"""What a run has done, for another one that goes on from there: its results, read and unpickled.

Unlike `checkpoint.reading`, which anybody may do, this trusts what the database holds as `Pool`
does: it is refused if somebody outside of the trusted set could have written it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from typing import Any

from mpipool.checkpoint.place import require_trusted
from mpipool.checkpoint.reading import opened
from mpipool.checkpoint.results import read_result, results_folder
from mpipool.checkpoint.rows import require_sound_result
from mpipool.checkpoint.trust import Trust
from mpipool.errors import CheckpointError
from mpipool.executor.pickling import loads
from mpipool.keys import canonical


class RecordedRun:
    """The results of a run's keyed tasks, looked up by stage and data ID.

    Parameters
    ----------
    path : path-like
        The run's database. It is only read; a run may hold it.
    group : str, optional
        A Unix group whose members' results are trusted too.

    Raises
    ------
    CheckpointError
        If it can't be read, or others could have written it.
    """

    def __init__(self, path: str | os.PathLike[str], group: str = "") -> None:
        self.path = os.path.abspath(path)
        self._trust = Trust.of(group)
        require_trusted(self.path, self._trust)
        self._rows: dict[str, dict[str, int]] = {}
        with opened(self.path) as connection:
            done = connection.execute(
                "SELECT stage, data_id, id FROM latest WHERE state = 'done' AND digest IS NOT NULL"
                " ORDER BY id"
            )
            for stage, data_id, row in done:
                self._rows.setdefault(stage, {})[data_id] = row

    def data_ids(self, stage: str) -> Iterator[dict[str, Any]]:
        """Yield the data IDs of the tasks of a stage which are done, oldest first."""
        for data_id in self._rows.get(stage, {}):
            yield json.loads(data_id)

    def result(self, stage: str, key: Mapping[str, Any]) -> Any:
        """Return the result of a task.

        Raises
        ------
        KeyError
            If it is not done, or something that it has made is gone.
        CheckpointError
            If its result is damaged, or can't be unpickled here.
        """
        row = self._rows[stage][canonical(dict(key), f"data ID of {stage}")]
        columns = "result, result_check, result_file, outputs"
        with opened(self.path) as connection:
            found = connection.execute(f"SELECT {columns} FROM attempt WHERE id = ?", (row,))
            result, check, file, outputs = found.fetchone()
        require_sound_result(row, result, check)
        folder = os.path.dirname(self.path)
        made = json.loads(outputs or "[]")
        if not all(os.path.isfile(os.path.join(folder, path)) for path in made):
            raise KeyError(f"{self.path}: an output of {stage} {dict(key)} is gone")
        if file:
            result = read_result(results_folder(self.path), file, self._trust)
        try:
            return loads(result)
        except Exception as error:
            raise CheckpointError(
                self.path, f"the result of {stage} {dict(key)} can't be loaded ({error})"
            ) from error
