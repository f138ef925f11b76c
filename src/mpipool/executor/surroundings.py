"""What a task may change of its process and the next one must find as it was.

After each task what it takes next to nothing to look at is put back: working folder, environment,
umask, the usual signal handlers, random numbers. `SETTINGS` come after each task that took long
enough not to notice (`NOTICEABLE`), and after each chunk. What the import of the task's module has
changed stays: `take_over` is called after it.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]
import ctypes
import os
import random
import signal
import sys
import time
from typing import Any, Final

from mpipool.executor.settings import SETTINGS

NOTICEABLE: Final = 0.0005
"""Seconds. To look at all settings takes up to a tenth of it."""
_HANDLED: Final = (
    signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGUSR2, signal.SIGALRM,
)  # fmt: skip
"""Signals whose handlers are looked at after each task, however short."""


class Surroundings:
    """The settings of this process: as they are now."""

    def __init__(self) -> None:
        self._folder = _folder()
        self._umask = os.umask(0)
        os.umask(self._umask)
        self._random = Random()
        self.take_over()

    def take_over(self) -> None:
        """Note that all but the working folder, umask and random numbers is to stay as it is."""
        self._environment = dict(os.environ)
        # Behind the mapping, which decodes each name: 0.2 µs per task instead of 60.
        self._variables = os.environ._data  # type: ignore[attr-defined]
        self._initial = self._variables.copy()
        self._handlers = _handlers()
        self._settings = [setting.read() for setting in SETTINGS]

    def restore(self) -> None:
        """Undo what is looked at after each task; 1.5 µs if nothing was changed.

        Raises
        ------
        OSError
            If the working folder is gone.
        """
        if self._variables != self._initial:
            self._restore_environment()
        if _folder() != self._folder:
            os.chdir(self._folder)
        os.umask(self._umask)
        if _handlers() != self._handlers:
            for number, handler in zip(_HANDLED, self._handlers, strict=True):
                signal.signal(number, handler)
        self._random.renew()

    def _restore_environment(self) -> None:
        zone = os.environ.get("TZ")
        os.environ.clear()
        os.environ.update(self._environment)
        if os.environ.get("TZ") != zone:
            time.tzset()

    def restore_the_rest(self) -> tuple[bool, list[str]]:
        """Undo what is dearer to look at.

        Returns
        -------
        changed : bool
            Whether there was something to undo.
        failed : list of str
            What can't be undone, in words.
        """
        changed, failed = False, []
        for setting, before in zip(SETTINGS, self._settings, strict=True):
            try:
                if setting.read() != before:
                    changed = True
                    setting.write(before)
            except Exception as error:
                failed.append(f"{setting.name} can't be set back ({error})")
        return changed, failed


def _folder() -> str:
    try:
        return os.getcwd()
    except FileNotFoundError:  # it was removed
        return ""


def _handlers() -> list[Any]:
    return list(map(_signal.getsignal, _HANDLED))


class Random:
    """The random numbers of `random` and NumPy: seeded anew if a task has seeded them.

    To draw seeds takes 70 µs, so the states are looked at first. That of `random` keeps the second
    of two normal variates, which everything that sets the state drops; NumPy's begins with words
    which change when it is seeded, and after 624 draws.
    """

    def __init__(self) -> None:
        self._generator: Any = random.seed.__self__  # type: ignore[attr-defined]
        self.reseed()

    def renew(self) -> None:
        """Draw new seeds if need be."""
        seeded = self._generator.gauss_next is not self._second
        if seeded or ("numpy" in sys.modules and self._words() != self._seen):
            self.reseed()

    def reseed(self) -> None:
        """Draw new seeds: not those of the guard's other executors, nor of the last task."""
        random.seed()
        random.gauss(0.0, 1.0)
        self._second = self._generator.gauss_next
        if numpy := _numpy():
            numpy.random.seed()
        self._seen = self._words()

    def _words(self) -> bytes:
        numpy = _numpy()
        if numpy is None:
            return b""
        generator = numpy.random.get_bit_generator()
        return ctypes.string_at(generator.ctypes.state_address, 8)


def _numpy() -> Any:
    numpy: Any = sys.modules.get("numpy")
    return numpy if hasattr(numpy, "random") else None  # or it is half imported
