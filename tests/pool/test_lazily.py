"""Maps over endless input: `imap`, `imap_unordered`, `starmap`, `reduce`."""

import itertools

from mpipool import Pool


def test_imap_gives_results_in_order_although_later_ones_are_ready_first(world):
    def script():
        def late_first(index):
            import time

            time.sleep(0.05 if index % 5 == 0 else 0.001)
            return index

        return list(Pool().imap(late_first, range(40)))

    assert world(script) == list(range(40))


def test_imap_unordered_gives_what_is_ready(world):
    def script():
        def slow_first(index):
            import time

            time.sleep(0.5 if index == 0 else 0.001)
            return index

        return list(Pool().imap_unordered(slow_first, range(20)))

    results = world(script)
    assert sorted(results) == list(range(20))
    assert results[0] != 0


def test_endless_input_is_taken_as_it_is_needed(world):
    def script():
        taken = 0

        def endless():
            nonlocal taken
            while True:
                taken += 1
                yield taken

        def slow(x):
            import time

            time.sleep(0.05)
            return x

        results = list(itertools.islice(Pool().imap(slow, endless()), 6))
        return results, taken

    results, taken = world(script)
    assert results == [1, 2, 3, 4, 5, 6]
    assert taken < 60  # of 3 ranks, 0.2 s of work for all is a dozen; it must not run away


def test_memory_stays_flat_over_a_long_stream(new_world):
    def script():
        from pathlib import Path

        def resident(pid):
            return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096

        import os

        (agent,) = (
            int(pid)
            for pid in Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children").read_text().split()
        )
        seen = []
        blob = bytes(10_000)
        for index, _ in enumerate(Pool().imap(len, itertools.repeat(blob, 20_000))):
            if index % 1000 == 999:
                seen.append(resident(agent))
        return seen

    seen = new_world(2)(script)
    # 200 MB pass; what is on its way at one time is a fraction of it.
    assert max(seen) - seen[0] < 100e6


def test_two_streams_and_a_map_may_be_read_in_turns(world):
    def script():
        pool = Pool()
        one, two = pool.imap(abs, range(-50, 0)), pool.imap_unordered(abs, range(-50, 0))
        pairs = []
        for index, (first, second) in enumerate(zip(one, two, strict=True)):
            pairs.append((first, second))
            if index == 10:
                assert pool.map(abs, [-1, -2]) == [1, 2]
        return [first for first, _ in pairs], sorted(second for _, second in pairs)

    first, second = world(script)
    assert first == list(range(50, 0, -1))
    assert second == list(range(1, 51))


def test_a_stream_that_is_left_early_lets_the_ranks_go(world):
    def script():
        def slow(x):
            import time

            time.sleep(30 if x else 0)
            return x

        stream = Pool().imap_unordered(slow, range(9))
        first = next(stream)
        stream.close()
        return first, Pool().map(abs, [-3])

    assert world(script) == (0, [3])


def test_a_failure_is_raised_when_its_turn_comes(world):
    def script():
        got = []
        try:
            for value in Pool().imap(lambda x: 6 // x, [3, 2, 0, 1]):
                got.append(value)
        except ZeroDivisionError as error:
            return got, str(error)

    got, said = world(script)
    assert got == [2, 3]
    assert "zero" in said


def test_starmap_spreads_arguments_and_reduce_folds_in_order(world):
    def script():
        pool = Pool()
        return pool.starmap(pow, [(2, 3), (3, 2)]), pool.reduce(lambda a, b: a + b, str, range(10))

    assert world(script) == ([8, 9], "0123456789")


def test_nothing_to_reduce_is_an_error(world):
    def script():
        from mpipool import UsageError

        try:
            Pool().reduce(max, abs, [])
        except UsageError as error:
            return str(error)

    assert "no items" in world(script)
