"""Tasks of a user's, as they are in a module of his; nothing of LSST's."""

from __future__ import annotations

import argparse
import operator
import os

from mpipool.ctrl_pool.parallel import BatchParallelTask, BatchPoolTask
from mpipool.ctrl_pool.pool import Pool


def _parser(*args, **kwargs):
    kwargs.pop("doBatch", None)
    parser = argparse.ArgumentParser(*args, **kwargs)
    parser.add_argument("--id", type=int, nargs="+", required=True)
    parser.add_argument("--fail", type=int)
    parser.add_argument("--out")
    return parser


class CountPixels(BatchPoolTask):
    """Adds up over the CCDs of each visit, on all ranks."""

    _DefaultName = "count"

    @classmethod
    def _makeArgumentParser(cls, *args, **kwargs):
        return _parser(*args, **kwargs)

    def runDataRef(self, visit):
        pool = Pool("ccds")
        pool.storeSet(perCcd=10)
        with self.logOperation(f"visit {visit}"):
            total = pool.reduce(operator.add, self.read, range(visit))
        print(f"visit {visit}: {total} pixels on {pool.size} ranks", flush=True)

    def read(self, cache, ccd):
        return cache.perCcd + ccd


class Square(BatchParallelTask):
    """Does each target by itself, and knows nothing of the pool."""

    _DefaultName = "square"

    @classmethod
    def _makeArgumentParser(cls, *args, **kwargs):
        return _parser(*args, **kwargs)

    def run(self, number):
        if number == 13:
            raise ValueError("thirteen")
        if number == 666:
            os._exit(6)
        print(f"{number} squared is {number**2}", flush=True)
        return number**2
