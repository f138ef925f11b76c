"""Doorbells: how a rank that sleeps is woken by a message from the same node.

MPI can only be polled. A rank that polls seldom answers late, one that polls often burns its core.
So each rank has a bell, a pipe in its loop's set of descriptors, and a byte of shared memory which
says that it sleeps; who sends it a message rings if it does. The sleeper probes once more after it
has set the byte, so that no message falls between.

Nothing of this has a name that could be left behind or guessed: a rank tells the others its process
id and its descriptors, and they open them as ``/proc/PID/fd/N``, which the kernel allows to the
same user only. Where that fails (another node, another PID namespace) there is no bell, and the
sleeper's own timer has to do.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import zlib
from pathlib import Path
from typing import Final, NamedTuple

_ASLEEP: Final = 1


class Address(NamedTuple):
    """Where a rank's bell is, as integers, to be sent to all others."""

    node: int
    pid: int
    bell: int
    page: int


class Doorbell:
    """A rank's own bell.

    Attributes
    ----------
    descriptor : int
        Readable when somebody has rung.
    """

    def __init__(self) -> None:
        self.descriptor, self._bell = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._page_descriptor = os.memfd_create("mpipool-doorbell", os.MFD_CLOEXEC)
        os.ftruncate(self._page_descriptor, mmap.PAGESIZE)
        self._page = mmap.mmap(self._page_descriptor, mmap.PAGESIZE)

    @property
    def address(self) -> Address:
        """Where others find it."""
        return Address(_node(), os.getpid(), self._bell, self._page_descriptor)

    def sleeps(self) -> None:
        """Ask to be rung for from now on."""
        self._page[0] = _ASLEEP

    def wakes(self) -> None:
        """Say that ringing is needless, and silence the bell."""
        self._page[0] = 0
        with contextlib.suppress(BlockingIOError):
            while os.read(self.descriptor, 4096):
                pass


class Neighbour:
    """The bell of another rank on this node."""

    def __init__(self, address: Address) -> None:
        folder = f"/proc/{address.pid}/fd"
        self._bell = os.open(f"{folder}/{address.bell}", os.O_WRONLY | os.O_NONBLOCK)
        page = os.open(f"{folder}/{address.page}", os.O_RDONLY)
        self._page = mmap.mmap(page, mmap.PAGESIZE, prot=mmap.PROT_READ)
        os.close(page)

    def wake(self) -> None:
        """Ring, if the rank sleeps. A full pipe rings already; a closed one needs no ringing."""
        if self._page[0] == _ASLEEP:
            with contextlib.suppress(BlockingIOError, BrokenPipeError):
                os.write(self._bell, b"!")


def neighbour(own: Address, other: Address) -> Neighbour | None:
    """Return the bell at an address, or None if it can't be reached from here."""
    if own.node != other.node:
        return None
    try:
        return Neighbour(other)
    except OSError:
        return None


def _node() -> int:
    """Return a number which is the same for processes that can see each other's descriptors."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text()
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        return os.getpid()  # alone
    return zlib.crc32(f"{boot} {namespace}".encode())
