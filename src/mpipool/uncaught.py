"""What ends a script through no fault of its own: said in a sentence, not in a traceback.

Whoever looks after a run at night is to read what has happened and what to do. Where in the script
that was, and in which of our functions, says nothing about a run that was killed or a checkpoint
that can't be used.
"""

from __future__ import annotations

import sys
from types import TracebackType

from mpipool.errors import CheckpointError, WorldLost


def tell_plainly() -> None:
    """Have the errors of the world end this process with a sentence; others as before."""
    before = sys.excepthook

    def hook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        sentence = _sentence(error)
        if sentence:
            print(f"mpipool: {sentence}", file=sys.stderr, flush=True)
        else:
            before(kind, error, traceback)

    sys.excepthook = hook


def _sentence(error: BaseException) -> str:
    """Return what is to be said in place of a traceback; empty if that is to be shown."""
    lost = error if type(error) is WorldLost else error.__cause__
    if isinstance(error, CheckpointError):
        return str(error)
    return f"the script ends: {lost}" if isinstance(lost, WorldLost) else ""
