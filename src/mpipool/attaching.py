"""A pool and its run's database: attaching it, what it knows, and when all is in it."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from mpipool import keys
from mpipool.errors import UsageError
from mpipool.executor.caller import Attachment
from mpipool.executor.environment import SHARED_BY
from mpipool.futures.entries import PLAIN_TERMS
from mpipool.futures.future import Future
from mpipool.futures.keyed import Keyed
from mpipool.options import Options, check

if TYPE_CHECKING:
    from mpipool.executor.caller import Caller


class WithCheckpoint:
    """What a pool does with the run's database."""

    _caller: Caller

    def recorded(
        self, *, stage: str, key: Mapping[str, Any], version: str = "", config: Any = None
    ) -> Future | None:
        """Return the future of a call that is done in the run's database; None if it is not.

        Nothing is run. Inside of a script which makes a graph, this says whether what a call would
        be made of is needed at all.

        Parameters
        ----------
        stage, key, version, config
            As of `submit`.

        Raises
        ------
        UsageError
            If ``key`` is no mapping of JSON values, or such a call is not over yet.
        """
        options: Options = {"stage": stage, "key": key, "version": version, "config": config}
        found = Keyed.of(check("recorded", options)).find(self._caller, PLAIN_TERMS)
        return found if isinstance(found, Future) else None

    def shutdown(self) -> None:
        """Wait until all records are on disk. The ranks stay until the script ends."""
        if self._caller.attachment.recorded:
            self._caller.ask("sync")

    def _attach(
        self,
        checkpoint: str | os.PathLike[str] | None,
        config: Mapping[str, Any] | None,
        take_over: bool,
        clobber_config: bool,
        group: str,
    ) -> None:
        if checkpoint is None:
            if config is not None or take_over or clobber_config or group:
                raise UsageError(
                    "config=, take_over=, clobber_config= and group= make sense only with "
                    "checkpoint="
                )
            return
        plain = None if config is None else json.loads(keys.canonical(dict(config), "config"))
        group = group or os.environ.get(SHARED_BY, "")
        facts, _ = self._caller.ask(
            "attach",
            path=os.path.abspath(checkpoint),
            config=plain,
            command=" ".join(sys.argv),
            take_over=take_over,
            clobber_config=clobber_config,
            group=group,
        )
        attachment = Attachment(facts["token"], facts["results"], True, group)
        self._caller.within = replace(self._caller.within, attachment=attachment)
