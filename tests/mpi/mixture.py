"""A job of everything at once, at every depth, whose results are known.

Run as ``mpiexec -n N python mixture.py EXPOSURES``; prints ``as expected`` if they are right.
"""

import os
import random
import sys
import time

from mpipool import Pool, PoolExecutor


def rest(chance):
    time.sleep(chance.random() * 0.004)


def square(number):
    rest(random.Random(number))
    return number * number


def add(first, second):
    return first + second


def total(numbers):
    return sum(numbers)


# --- each adds up to seed * 100 in its own way ---------------------------------------------------


def nested(seed):
    """Scatters in scatters in scatters."""
    return sum(Pool().map(row, [seed] * 10))


def row(seed):
    return sum(Pool().scatterGather(cell, [seed] * 5, factor=2))


def cell(seed, factor):
    rest(random.Random(seed))
    return sum(Pool().imap_unordered(int, [seed] * factor)) if seed % 3 else seed * factor


def gangs(seed):
    """Gangs of random sizes, some of which the broker chooses."""
    chance, pool = random.Random(seed), Pool()
    width = chance.randint(1, min(pool.size, 6))
    fixed = pool.map(meet, [seed * 20] * 2, ranks=width)
    chosen = pool.map(meet, [seed * 20] * 2, ranks=(1, 5))
    scattering = pool.map(meet_and_scatter, [seed * 20], ranks=(1, width))
    return sum(fixed) + sum(chosen) + sum(scattering)


def meet(amount):
    comm = Pool().comm
    rest(random.Random(comm.rank))
    shares = comm.allgather(comm.rank)
    assert shares == list(range(comm.size))
    return comm.allreduce(amount) // comm.size


def meet_and_scatter(amount):
    comm, pool = Pool().comm, Pool()
    done = sum(pool.map(int, [amount] * 3)) if comm.rank == 0 else None
    return comm.bcast(done) // 3


def calls(seed):
    """Submitted calls with futures as arguments, after others, and through an executor."""
    pool = Pool()
    parts = [pool.submit(int, seed * 10) for _ in range(4)]
    both = pool.submit(add, *parts[:2])
    late = pool.submit(total, [both, {"more": parts[2]}["more"]], after=parts[3:])
    with PoolExecutor() as executor:
        other = sum(executor.map(add, [seed * 10] * 7, [0] * 7))
    return late.result() + other


def caches(seed):
    """A scatter back to where the first one has left its caches."""
    pool = Pool(f"caches-{seed}")
    pool.store(offset=seed)
    filled = pool.map(fill, [seed * n for n in range(5)])
    assert filled == [seed * n + seed for n in range(5)]
    back = pool.map(look, [seed * 4] * 5, previous=True)
    return sum(back) + seed * 100 - sum(filled) - 5 * seed * 4


def fill(item):
    pool = Pool()
    rest(random.Random(item))
    pool.cache.kept = item + pool.data.offset
    return pool.cache.kept


def look(more):
    return Pool().cache.kept + more


def needy(seed):
    """Tasks which need memory, threads, tokens, some of several kinds."""
    pool = Pool()
    wide = {"threads": min(2, pool.size)}
    hungry = pool.map(int, [seed * 10] * 3, memory="20 MB")
    threaded = pool.map(threads, [seed * 10] * 2, **wide)
    held = pool.map(int, [seed * 10] * 3, resources={"io": 1})
    everything = pool.map(int, [seed * 10] * 2, memory="20 MB", resources={"io": 2}, **wide)
    return sum(hungry) + sum(threaded) + sum(held) + sum(everything)


def threads(amount):
    assert os.environ["OMP_NUM_THREADS"] == str(min(2, Pool().size))
    return amount


def handles(seed):
    """Results which stay where they were made, for later tasks and calls."""
    pool = Pool()
    kept = pool.scatter(bytes, [seed * 10] * 8)
    lengths = pool.map(len, kept)
    called = [pool.submit(len, handle) for handle in kept[:2]]
    assert len(kept[-1].get()) == seed * 10
    return sum(lengths) + sum(future.result() for future in called)


KINDS = (nested, gangs, calls, caches, needy, handles)


def exposure(seed):
    """Two of the kinds, one after the other, and a step of its own between."""
    chance = random.Random(seed)
    first, second = chance.sample(KINDS, 2)
    before = first(seed)
    squares = Pool().map(square, range(seed))
    assert squares == [number * number for number in range(seed)]
    return before, second(seed)


def main():
    seeds = range(1, int(sys.argv[1]) + 1)
    pool = Pool(resources={"io": 2})
    begun = [pool.submit(kind, 100 + number) for number, kind in enumerate(KINDS)]
    found = pool.map(exposure, seeds)
    for seed, pair in zip(seeds, found, strict=True):
        assert pair == (seed * 100, seed * 100), (seed, pair)
    ended = [future.result() for future in begun]
    assert ended == [(100 + number) * 100 for number in range(len(KINDS))], ended
    assert [kind(7) for kind in KINDS] == [700] * len(KINDS)
    print("as expected")


if __name__ == "__main__":
    main()
