"""Single calls with a key: what the checkpoint knows of them, and that none is made twice at once.

As in a keyed map, the digest of stage, version, configuration and data ID decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Self

from mpipool import keys
from mpipool.errors import UsageError
from mpipool.executor.caller import Caller
from mpipool.executor.post import ARRIVED
from mpipool.futures.entries import Terms
from mpipool.futures.future import Future, settle
from mpipool.options import Wanted
from mpipool.resume import resume

_out: Final[set[bytes]] = set()
"""The digests of this process's calls which are not over."""


@dataclass(frozen=True, slots=True)
class Keyed:
    """The key of a single call.

    Attributes
    ----------
    stage, identity : str
        The stage, and the data ID as canonical JSON.
    digest : bytes
        Of these, the version and the configuration.
    limited : bool
        Whether the call limits its memory.
    """

    stage: str
    identity: str
    digest: bytes
    limited: bool

    @classmethod
    def of(cls, wanted: Wanted) -> Self:
        """Return the key which a call's options describe.

        Raises
        ------
        UsageError
            If ``key=`` is a function, or its data ID is not made of JSON values.
        """
        stage, data_id = wanted["stage"], wanted["key"]
        if not isinstance(data_id, Mapping):
            raise UsageError("key= of a single call is its data ID, like {'visit': 1228}")
        identity = keys.canonical(dict(data_id), f"data ID of {stage}")
        digest = keys.digest(stage, wanted["version"], wanted["config"], identity)
        return cls(stage, identity, digest, wanted.needs.memory > 0)

    def find(self, caller: Caller, terms: Terms) -> Future | Terms:
        """Ask the checkpoint: return a future with the result, or the terms on which to run it.

        Raises
        ------
        UsageError
            If a call with this key is not over.
        """
        with ARRIVED:
            if self.digest in _out:
                raise UsageError(
                    f"a call of {self.stage} with the data ID {self.identity} is not over yet"
                )
        resumed = resume(caller, [self.digest], [self.identity], self.limited)
        if resumed.results:
            future = Future()
            settle([(future, resumed.results[0], None)])
            return future
        return Terms(terms.cost, resumed.prefixes[0], resumed.memories[0])

    def hold(self, future: Future) -> None:
        """Let no other call have this key until a future is settled."""
        with ARRIVED:
            _out.add(self.digest)
        future.add_done_callback(self._let_go)

    def _let_go(self, _: object) -> None:
        with ARRIVED:
            _out.discard(self.digest)
