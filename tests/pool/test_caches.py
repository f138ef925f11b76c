"""Contexts, caches and handles, on ranks without mpiexec."""

import pytest

from mpipool import Handle, Pool, UsageError


def fill(item):
    import os

    Pool().cache.item = item
    return os.getpid()


def look(other):
    import os

    return Pool().cache.item, other, os.getpid()


def test_an_item_of_a_later_call_goes_to_the_process_which_has_its_cache(world):
    def script():
        pool = Pool()
        first = pool.map(fill, range(20))
        second = pool.map(look, range(100, 120), previous=True)
        third = pool.scatterGather(look, range(20), previous=True)
        return first, second, third

    first, second, third = world(script)
    assert second == [(index, 100 + index, first[index]) for index in range(20)]
    assert [(item, pid) for item, _, pid in third] == list(enumerate(first))


def test_a_cache_of_another_context_is_another_one(world):
    def script():
        a, b = Pool("a"), Pool("b")
        a.map(fill, ["apple"] * 4)
        b.map(fill, ["pear"] * 4)
        return a.map(look, range(4), previous=True) + b.map(look, range(4), previous=True)

    assert [cache for cache, _, _ in world(script)] == ["apple"] * 4 + ["pear"] * 4


def test_the_caches_of_a_lost_process_are_made_again_by_the_same_calls(world, tmp_path):
    def script(folder):
        def add(item):
            import pathlib

            import mpipool

            with pathlib.Path(folder, f"{item}.ran").open("a") as ran:
                ran.write("x")
            mpipool.record(item=item)
            with mpipool.output(pathlib.Path(folder, f"{item}.out")) as part:
                part.write_text("made")
            pool = Pool()
            pool.cache.total = getattr(pool.cache, "total", 0) + item
            return pool.cache.total

        def die_once(item):
            import os
            import pathlib

            crashed = pathlib.Path(folder, f"{item}.crashed")
            if not crashed.exists():
                crashed.touch()
                os.kill(os.getpid(), 9)
            return Pool().cache.total

        pool = Pool()
        first = pool.map(add, [1, 2, 3])
        second = pool.map(add, [10, 20, 30], previous=True)
        return first, second, pool.map(die_once, [1, 2, 3], previous=True, retries=1)

    first, second, third = world(script, tmp_path)
    assert (first, second) == ([1, 2, 3], [11, 22, 33])
    assert third == [11, 22, 33]
    runs = [len((tmp_path / f"{item}.ran").read_text()) for item in (1, 2, 3, 10, 20, 30)]
    assert all(count > 1 for count in runs)
    assert not list(tmp_path.glob(".*.part"))


def test_two_leaders_which_both_scatter_back_at_the_same_time_finish(new_world):
    def script():
        def lead(offset):
            pool = Pool()
            for _ in range(5):
                first = pool.scatterGather(fill, range(offset, offset + 6))
                second = pool.scatterGather(look, range(6), previous=True)
                assert [item for item, _, _ in second] == list(range(offset, offset + 6))
                assert [pid for _, _, pid in second] == first
            return offset

        return Pool().map(lead, [0, 100, 200, 300])

    assert new_world(2)(script) == [0, 100, 200, 300]


def test_a_leader_whose_process_has_caches_runs_those_tasks_on_top(new_world):
    def script():
        def lead_with_a_cache(item):
            pool = Pool()
            pool.cache.item = item
            pool.scatterGather(fill, range(3))
            return sum(other for _, other, _ in pool.scatterGather(look, range(3), previous=True))

        def lead_again(item):
            import time

            def leaf(x):
                time.sleep(0.01)
                return x

            return Pool().cache.item, sum(Pool().scatterGather(leaf, range(4)))

        pool = Pool()
        first = pool.map(lead_with_a_cache, range(6))
        return first, pool.map(lead_again, range(6), previous=True)

    assert new_world(2)(script) == ([3] * 6, [(item, 6) for item in range(6)])


def test_caches_are_let_go_when_they_are_cleared(world):
    def script():
        pool = Pool("cleared")
        pool.map(fill, range(4))
        pool.clear_caches()
        return pool.map(lambda _: hasattr(Pool().cache, "item"), range(4), previous=True)

    assert world(script) == [False] * 4


def test_as_many_items_are_wanted_as_there_are_caches(world):
    def script():
        pool = Pool()
        pool.map(fill, range(4))
        try:
            pool.map(look, range(3), previous=True)
        except UsageError as error:
            return str(error), pool.map(look, range(4), previous=True)[3][0]

    said, after = world(script)
    assert "3 items" in said
    assert "4 caches" in said
    assert after == 3


def test_there_is_no_cache_outside_of_tasks(world):
    def script():
        try:
            return Pool().cache
        except UsageError as error:
            return str(error)

    assert "inside tasks" in world(script)


# --- stores --------------------------------------------------------------------------------------


def test_tasks_find_what_their_context_stores(world):
    def script():
        tracts = Pool("tracts")
        tracts.store(skymap=[10, 20, 30], factor=2)

        def work(index):
            data = Pool().data
            return data.skymap[index] * data.factor, hasattr(data, "other")

        def other(_):
            return hasattr(Pool().data, "skymap"), Pool("tracts").data.factor

        found = tracts.map(work, range(3)), Pool("else").map(other, [0])
        stored = tracts.stored
        tracts.store(factor=3)
        again = tracts.map(work, range(3))
        tracts.unstore("skymap")
        return found, stored, again, tracts.stored

    found, stored, again, left = world(script)
    assert found == ([(20, False), (40, False), (60, False)], [(False, 2)])
    assert stored == ("factor", "skymap")
    assert again == [(30, False), (60, False), (90, False)]
    assert left == ("factor",)


def test_what_a_task_stores_is_for_its_own_scatters(world):
    def script():
        def leaf(_):
            return Pool().data.mine

        def lead(item):
            pool = Pool("leads")
            pool.store(mine=item)
            return pool.scatterGather(leaf, range(3)) == [item] * 3

        return Pool().map(lead, range(6)), Pool("leads").stored

    assert world(script) == ([True] * 6, ())


def test_a_value_that_is_not_stored_is_named(world):
    def script():
        def work(_):
            return Pool().data.skymap

        Pool("sky").store(skybox=1)
        try:
            Pool("sky").map(work, [0])
        except AttributeError as error:
            return str(error)

    said = world(script)
    assert "skymap" in said
    assert "skybox" in said


# --- handles -------------------------------------------------------------------------------------


def test_kept_results_are_values_for_tasks_and_handles_for_the_script(world):
    def script():
        pool = Pool()
        handles = pool.scatter(lambda n: bytes(n), [10, 1000, 3_000_000])
        lengths = pool.map(len, handles)
        return [type(h) for h in handles], lengths, [len(v) for v in pool.gather(handles)]

    kinds, lengths, fetched = world(script)
    assert kinds == [Handle] * 3
    assert lengths == fetched == [10, 1000, 3_000_000]


def test_a_handle_deep_in_an_item_is_fetched_when_asked(world):
    def script():
        pool = Pool()
        handles = pool.scatter(lambda n: list(range(n)), [3, 4])
        return pool.map(lambda item: (item["n"], sum(item["data"].get())), [
            {"n": 3, "data": handles[0]}, {"n": 4, "data": handles[1]},
        ])  # fmt: skip

    assert world(script) == [(3, 3), (4, 6)]


def test_a_task_runs_where_its_data_are(new_world):
    def script():
        import time

        def make(_):
            time.sleep(0.02)
            return b"x" * 100_000

        def where(data):
            import os

            time.sleep(0.02)
            return os.getppid()

        def home(_):
            import os

            time.sleep(0.02)
            return os.getppid()

        pool = Pool()
        handles = pool.scatter(make, range(12))
        ran = pool.map(where, handles)
        homes = {}
        for handle, guard in zip(handles, ran, strict=True):
            homes.setdefault(handle.rank, []).append(guard)
        return [max(guards.count(g) for g in guards) / len(guards) for guards in homes.values()]

    shares = new_world(2)(script)
    assert len(shares) == 2
    assert sum(shares) / 2 > 0.7


def test_data_without_a_handle_are_let_go(new_world):
    def script():
        import gc

        pool = Pool()
        handle, other = pool.scatter(lambda n: n, [1, 2])
        copy = Handle(handle._data, handle.size, handle._maker)
        del handle
        gc.collect()
        other.get()  # says which data are garbage
        try:
            copy.get()
        except Exception as error:
            return str(error), other.get()

    said, other = new_world(2)(script)
    assert "let go" in said
    assert other == 2


@pytest.mark.parametrize("option", [{"previus": True}, {"ranks": 0}, {"memory": "12 parsecs"}])
def test_an_option_that_makes_no_sense_starts_nothing(world, option):
    def script(option):
        try:
            Pool().map(print, ["never printed"], **option)
        except UsageError as error:
            return str(error)

    assert next(iter(option)) in world(script, option)


@pytest.mark.parametrize("nested", [False, True])
def test_what_a_handle_stands_for_can_be_made_again(new_world, nested):
    """As if it were lost: with a rank, see `tests/mpi/test_survive.py`."""

    def look(handle, factor):
        from mpipool.executor import store

        return store.current[0]._make_again(handle._data, handle._maker) * factor

    def use(items):
        handles = Pool().scatter(lambda n: n * 10, items, timeout=100.0)
        return [look(handle, 1) for handle in handles], [handle.get() for handle in handles]

    def script(items):
        return Pool().map(use, [items])[0] if nested else use(items)

    assert new_world(2)(script, [1, 2, 3]) == ([10, 20, 30], [10, 20, 30])
