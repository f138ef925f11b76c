"""Which keys are done, and in which rows: held in memory, since the table has no index."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, NamedTuple

from mpipool.task import DONE, STATE_NAMES, Record

_ATTEMPT_BITS: Final = 20
_MOST_ATTEMPTS: Final = (1 << _ATTEMPT_BITS) - 1
_DONE_NAME: Final = STATE_NAMES[DONE]


class Place(NamedTuple):
    """Where a key's last row is."""

    row: int
    attempts: int
    done: bool


class KeyIndex:
    """The last row of each key, and the changes of the transaction that is being made.

    A key costs one integer in a dictionary (about 150 bytes with its digest).
    """

    def __init__(self, rows: Iterable[tuple[int, bytes, int, str]]) -> None:
        """Start from rows (id, digest, attempt, state), in the order of their ids."""
        self._places: dict[bytes, int] = {}
        self._pending: dict[bytes, int] = {}
        self._reopened: set[bytes] = set()
        for row, digest, attempt, state in rows:
            self.accept(row, digest, attempt, state)
            if len(self._pending) > 10_000:
                self.commit()
        self.commit()

    def find(self, digest: bytes) -> Place | None:
        """Return where the last committed row of a key is."""
        packed = self._places.get(digest)
        return None if packed is None else _unpack(packed)

    def reopen(self, digest: bytes) -> None:
        """Accept rows again for a key that is done."""
        self._reopened.add(digest)

    def take(self, record: Record, row: int) -> bool:
        """Note the row of a record, unless its key is done already; say which."""
        if record.digest is None:
            return True
        packed = self._pending.get(record.digest, self._places.get(record.digest))
        known = None if packed is None else _unpack(packed)
        # A key that is reopened may be done once more, and not twice in the same transaction.
        reopened = record.digest in self._reopened and record.digest not in self._pending
        if known is not None and known.done and not reopened:
            return False
        self.accept(row, record.digest, record.attempt, record.state)
        return True

    def accept(self, row: int, digest: bytes, attempt: int, state: str) -> None:
        """Note the row of a key."""
        packed = self._pending.get(digest, self._places.get(digest))
        attempts = attempt if packed is None else max(attempt, _unpack(packed).attempts)
        attempts = min(attempts, _MOST_ATTEMPTS)
        self._pending[digest] = (row << _ATTEMPT_BITS | attempts) << 1 | (state == _DONE_NAME)

    def commit(self) -> None:
        """Make the changes of this transaction the state."""
        self._places.update(self._pending)
        self._reopened.difference_update(self._pending)
        self._pending.clear()

    def roll_back(self) -> None:
        """Forget the changes of this transaction."""
        self._pending.clear()


def _unpack(packed: int) -> Place:
    rest = packed >> 1
    return Place(rest >> _ATTEMPT_BITS, rest & _MOST_ATTEMPTS, bool(packed & 1))
