"""The beginning of a world: ranks report, and learn where they are reached outside of MPI."""

from __future__ import annotations

import sys
import time
from array import array
from typing import Any, Final

from mpipool.transport.doorbell import Address

ABSENT_SECONDS: Final = 30.0
"""How often rank 0 says which ranks have not come up yet."""
_HERE: Final = 1
"""Tag."""


def wait_for_all(mpi: Any) -> None:
    """Wait until all ranks are there; rank 0 names those that are late. MPI would just hang.

    Parameters
    ----------
    mpi : module
        ``mpi4py.MPI``.
    """
    world = mpi.COMM_WORLD
    if world.Get_rank():
        world.Send([b"", mpi.BYTE], 0, _HERE)
        return
    absent = set(range(1, world.Get_size()))
    began, said = time.monotonic(), 0.0
    status = mpi.Status()
    while absent:
        if world.Iprobe(mpi.ANY_SOURCE, _HERE, status):
            world.Recv([bytearray(0), mpi.BYTE], status.Get_source(), _HERE)
            absent.discard(status.Get_source())
            continue
        time.sleep(1e-3)
        waited = time.monotonic() - began
        if waited - said > ABSENT_SECONDS:
            said = waited
            names = ", ".join(map(str, sorted(absent)[:10])) + (" …" if len(absent) > 10 else "")
            sentence = f"mpipool: waiting for ranks {names} for {waited:.0f} s"
            print(sentence, file=sys.stderr, flush=True)


def addresses(world: Any, own: Address) -> list[Address]:
    """Let all ranks know each other's doorbells; return them by rank."""
    width, size = len(own), world.Get_size()
    integers = array("q", bytes(8 * width * size))
    world.Allgather(array("q", own), integers)
    return [Address(*integers[width * rank : width * (rank + 1)]) for rank in range(size)]
