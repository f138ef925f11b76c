"""How messages pass between ranks: `mpi`, in one process (`local`), on a virtual clock (`virtual`).

A transport delivers messages between one pair of ranks in the order in which they were sent, never
blocks, and lets a rank send to itself.
"""

from mpipool.transport.interface import Transport

__all__ = ["Transport"]
