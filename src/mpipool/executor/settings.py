"""Settings of a process which a task may change: how each is read, and how it is set again.

One line of `SETTINGS` is one setting. What the operating system keeps comes first, then what the
interpreter keeps, then what libraries do, as far as they are loaded. `SETTINGS` is for what takes
microseconds to look at; what is checked after each task, however short, is in `surroundings`.
"""

from __future__ import annotations

# What `signal` wraps: that takes 60 µs for its enumerations, this one 1.
import _signal  # type: ignore[import-not-found]
import builtins
import faulthandler
import gc
import os
import resource
import signal
import sys
import threading
import warnings
from collections.abc import Callable
from types import ModuleType
from typing import Any, Final, NamedTuple


class Setting(NamedTuple):
    """One setting."""

    name: str
    """In words: why a process was replaced in which it can't be set again."""
    read: Callable[[], Any]
    write: Callable[[Any], object]
    """Given what was read earlier."""


# --- the operating system's ----------------------------------------------------------------------

_SIGNALS: Final = sorted(signal.valid_signals() - {signal.SIGKILL, signal.SIGSTOP})
_TIMERS: Final = (signal.ITIMER_REAL, signal.ITIMER_VIRTUAL, signal.ITIMER_PROF)
_LIMITS: Final = sorted(
    value for name, value in vars(resource).items() if name.startswith("RLIMIT_")
)


def _handlers() -> list[Any]:
    return list(map(_signal.getsignal, _SIGNALS))


def _set_handlers(handlers: list[Any]) -> None:
    for number, handler in zip(_SIGNALS, handlers, strict=True):
        if handler is not None and _signal.getsignal(number) != handler:
            signal.signal(number, handler)


def _blocked() -> set[int]:
    blocked: set[int] = _signal.pthread_sigmask(_signal.SIG_BLOCK, ())
    return blocked


def _timers() -> list[tuple[float, float]]:
    return list(map(_signal.getitimer, _TIMERS))


def _set_timers(timers: list[tuple[float, float]]) -> None:
    for which, timer in zip(_TIMERS, timers, strict=True):
        signal.setitimer(which, *timer)


def _limits() -> list[tuple[int, int]]:
    return list(map(resource.getrlimit, _LIMITS))


def _set_limits(limits: list[tuple[int, int]]) -> None:
    for which, limit in zip(_LIMITS, limits, strict=True):
        if resource.getrlimit(which) != limit:
            resource.setrlimit(which, limit)


def _identity() -> Any:
    root = os.stat("/")
    return os.getresuid(), os.getresgid(), os.getgroups(), (root.st_dev, root.st_ino)


def _set_identity(identity: Any) -> None:
    raise PermissionError(f"it was {identity[0]}")


# --- the interpreter's ---------------------------------------------------------------------------


def _streams() -> tuple[Any, Any, Any]:
    return sys.stdin, sys.stdout, sys.stderr


def _set_streams(streams: tuple[Any, Any, Any]) -> None:
    sys.stdin, sys.stdout, sys.stderr = streams


def _hooks() -> tuple[Any, ...]:
    hooks = sys.excepthook, sys.unraisablehook, threading.excepthook
    return *hooks, sys.gettrace(), sys.getprofile()


def _set_hooks(hooks: tuple[Any, ...]) -> None:
    sys.excepthook, sys.unraisablehook, threading.excepthook = hooks[:3]
    sys.settrace(hooks[3])
    sys.setprofile(hooks[4])


def _tuning() -> tuple[Any, ...]:
    return sys.getrecursionlimit(), gc.isenabled(), gc.get_threshold(), sys.getswitchinterval()


def _set_tuning(tuning: tuple[Any, ...]) -> None:
    sys.setrecursionlimit(tuning[0])
    (gc.enable if tuning[1] else gc.disable)()
    gc.set_threshold(*tuning[2])
    sys.setswitchinterval(tuning[3])


class _Names:
    """A mapping of names of which those that were there are put back; new ones may stay."""

    def __init__(self, live: dict[str, Any]) -> None:
        self._live = live

    def read(self) -> _Before:
        return _Before(self._live)

    def write(self, before: _Before) -> None:
        self._live.update(before.kept)


class _Before:
    """What `_Names.read` returns: it equals a later one which has at least the same entries.

    New entries come behind the old ones, so mostly the beginnings are the same: to compare lists
    takes a quarter of the time that dictionaries take, which must look each name up.
    """

    def __init__(self, live: dict[str, Any]) -> None:
        self._names, self._values = list(live), list(live.values())

    @property
    def kept(self) -> dict[str, Any]:
        """The entries."""
        return dict(zip(self._names, self._values, strict=True))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, _Before):
            return NotImplemented
        count = len(other._names)
        if self._values[:count] == other._values and self._names[:count] == other._names:
            return True
        return other.kept.items() <= self.kept.items()

    __hash__ = None  # type: ignore[assignment]


_modules = _Names(sys.modules)
_builtins = _Names(vars(builtins))


def _set_path(path: list[str]) -> None:
    sys.path[:] = path


def _faults() -> bool:
    faulthandler.cancel_dump_traceback_later()  # nobody can ask whether there is one
    return faulthandler.is_enabled()


def _set_faults(enabled: bool) -> None:
    (faulthandler.enable if enabled else faulthandler.disable)()


def _warnings() -> tuple[Any, ...]:
    return list(warnings.filters), warnings.showwarning


def _set_warnings(before: tuple[Any, ...]) -> None:
    warnings.resetwarnings()  # so that what was decided by the old ones is forgotten
    warnings.filters[:] = before[0]  # type: ignore[index]
    warnings.showwarning = before[1]


# --- libraries' ----------------------------------------------------------------------------------


def _if_loaded(
    module: str, read: Callable[[ModuleType], Any], write: Callable[[ModuleType, Any], None]
) -> tuple[Callable[[], Any], Callable[[Any], None]]:
    """Make the two halves of a setting of a module; it is left alone before that is loaded."""

    def read_it() -> Any:
        loaded = sys.modules.get(module)
        return None if loaded is None else read(loaded)

    def write_it(value: Any) -> None:
        if value is not None:
            write(sys.modules[module], value)

    return read_it, write_it


def _loggers(logging: ModuleType) -> tuple[int, dict[str, tuple[Any, ...]]]:
    manager = logging.root.manager
    named = {
        name: _logger(logger)
        for name, logger in manager.loggerDict.items()
        if hasattr(logger, "handlers")  # others stand for parents that nobody has asked for
    }
    return manager.disable, named | {"": _logger(logging.root)}


def _logger(logger: Any) -> tuple[Any, ...]:
    handlers, filters = tuple(logger.handlers), tuple(logger.filters)
    return logger.level, logger.propagate, logger.disabled, handlers, filters


def _set_loggers(logging: ModuleType, before: tuple[int, dict[str, tuple[Any, ...]]]) -> None:
    logging.disable(before[0])
    for name, (level, propagate, disabled, handlers, filters) in before[1].items():
        logger = logging.getLogger(name)
        logger.setLevel(level)
        logger.propagate, logger.disabled = propagate, disabled
        logger.handlers[:], logger.filters[:] = handlers, filters


_locale = _if_loaded(
    "locale",
    lambda locale: locale.setlocale(locale.LC_ALL),
    lambda locale, name: locale.setlocale(locale.LC_ALL, name),
)
_numpy_errors = _if_loaded(
    "numpy", lambda numpy: numpy.geterr(), lambda numpy, value: numpy.seterr(**value)
)
_numpy_printing = _if_loaded(
    "numpy",
    lambda numpy: numpy.get_printoptions(),
    lambda numpy, value: numpy.set_printoptions(**value),
)
_sockets = _if_loaded(
    "socket",
    lambda socket: (socket.getdefaulttimeout(),),
    lambda socket, value: socket.setdefaulttimeout(*value),
)

SETTINGS: Final = (
    Setting("signal handlers", _handlers, _set_handlers),
    Setting("blocked signals", _blocked, lambda it: signal.pthread_sigmask(signal.SIG_SETMASK, it)),
    Setting("timers", _timers, _set_timers),
    Setting("resource limits", _limits, _set_limits),
    Setting("user", _identity, _set_identity),
    Setting("priority", lambda: os.getpriority(0, 0), lambda it: os.setpriority(0, 0, it)),
    Setting("CPUs", lambda: os.sched_getaffinity(0), lambda it: os.sched_setaffinity(0, it)),
    Setting("standard streams", _streams, _set_streams),
    Setting("hooks", _hooks, _set_hooks),
    Setting("interpreter's tuning", _tuning, _set_tuning),
    Setting("modules", _modules.read, _modules.write),
    Setting("builtins", _builtins.read, _builtins.write),
    Setting("sys.path", lambda: list(sys.path), _set_path),
    Setting("fault handler", _faults, _set_faults),
    Setting("warnings", _warnings, _set_warnings),
    Setting("logging", *_if_loaded("logging", _loggers, _set_loggers)),
    Setting("locale", *_locale),
    Setting("socket's timeout", *_sockets),
    Setting("NumPy's errors", *_numpy_errors),
    Setting("NumPy's printing", *_numpy_printing),
)
