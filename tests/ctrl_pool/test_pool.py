"""The predecessor's pool: what its users' scripts do with it, in a script with three ranks."""

from __future__ import annotations

import contextlib
import io
import operator
import os
import time

import pytest

from mpipool.ctrl_pool.pool import Comm, Debugger, Pool, PoolMaster, startPool
from mpipool.errors import UsageError


def root_of(cache, data, *args, **kwargs):
    cache.root, cache.args, cache.kwargs = data**0.5, args, kwargs
    return data**0.5


def what_was_kept(cache, data):
    return cache.root, cache.args, cache.kwargs


def store_and_cache(cache, name):
    return getattr(cache, name, "nothing")


def double(x):
    return 2 * x


def heard(function):
    """Return what is written to standard error meanwhile."""
    text = io.StringIO()
    with contextlib.redirect_stderr(text):
        function()
    return text.getvalue()


VERBS = ["map", "mapNoBalance"]
REDUCTIONS = ["reduce", "reduceNoBalance"]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_functions_get_cache_item_and_arguments(world, verb, count):
    def script():
        return getattr(Pool("one"), verb)(root_of, range(count), "foo", bar=2)

    assert world(script) == [x**0.5 for x in range(count)]


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize("count", [1, 3, 10])
def test_what_a_call_keeps_is_there_for_the_next_call_with_the_item(world, verb, count):
    def script():
        pool = Pool(("kept", count))
        getattr(pool, verb)(root_of, range(count), "foo", bar=2)
        return pool.mapToPrevious(what_was_kept, range(count))

    assert world(script) == [(x**0.5, ("foo",), {"bar": 2}) for x in range(count)]


def test_contexts_have_caches_of_their_own(world):
    def script():
        one, other = Pool(1), Pool("1")
        one.map(root_of, [4, 9])
        other.map(root_of, [1, 0])
        return one.mapToPrevious(what_was_kept, [4, 9])

    assert world(script) == [(2.0, (), {}), (3.0, (), {})]


def test_a_context_is_the_same_wherever_the_pool_is_made(world):
    def script():
        Pool("same").storeSet(p=1)
        Pool("same").map(root_of, [4])
        Pool("other").map(root_of, [9])
        return Pool("same").mapToPrevious(what_was_kept, [4])

    assert world(script) == [(2.0, (), {})]


def test_without_a_context_there_is_no_cache(world):
    def script():
        return Pool(None).map(double, [1, 2]), Pool(None).reduce(operator.add, double, [1, 2])

    assert world(script) == ([2, 4], 6)


def test_previous_needs_a_context_and_as_many_items(world):
    def script():
        pool = Pool("lengths")
        pool.map(root_of, [1, 2, 3])
        told = []
        for attempt in (
            lambda: Pool(None).mapToPrevious(double, [1]),
            lambda: pool.mapToPrevious(what_was_kept, [1, 2]),
        ):
            try:
                attempt()
            except ValueError as error:
                told.append(str(error))
        return told

    no_context, too_few = world(script)
    assert "needs the context" in no_context
    assert "over 2 items" in too_few
    assert "over 3" in too_few


@pytest.mark.parametrize("verb", REDUCTIONS)
def test_results_are_folded_in_the_order_of_the_data(world, verb):
    def script():
        return getattr(Pool("r"), verb)(operator.add, lambda cache, x: [x], range(10))

    assert world(script) == list(range(10))


def test_a_reduction_goes_to_the_caches_of_the_map_before(world):
    def script():
        pool = Pool("r2")
        pool.map(root_of, [1, 4, 9])
        return pool.reduceToPrevious(operator.add, lambda cache, x: cache.root, [1, 4, 9])

    assert world(script) == 6.0


def test_a_reduction_leaves_caches(world):
    def script():
        pool = Pool("r3")
        pool.reduce(operator.add, root_of, [1, 4, 9])
        return pool.mapToPrevious(lambda cache, x: cache.root, [1, 4, 9])

    assert world(script) == [1.0, 2.0, 3.0]


@pytest.mark.parametrize(
    ("data", "folded"), [([], None), ([7], 7), ([None, 3, 4], 7), ([None, None], None)]
)
def test_nothing_is_folded_into_none(world, data, folded):
    def script():
        return Pool(None).reduce(operator.add, lambda x: x, data)

    assert world(script) == folded


def test_a_reduction_without_a_reducer_gathers(world):
    assert world(lambda: Pool(None).reduce(None, double, [1, 2])) == [2, 4]


def test_stored_values_are_seen_in_the_context_only(world):
    def script():
        mine, other = Pool("mine"), Pool("other")
        mine.storeSet(p=1, q=[2])
        seen = [pool.map(store_and_cache, ["p", "q"]) for pool in (mine, other)]
        mine.storeDel("p")
        seen.append(mine.map(store_and_cache, ["p", "q"]))
        mine.storeSet(q=3)
        seen.append(mine.map(store_and_cache, ["q"]))
        mine.storeClear()
        seen.append(mine.map(store_and_cache, ["q"]))
        return seen

    assert world(script) == [
        [1, [2]],
        ["nothing", "nothing"],
        ["nothing", [2]],
        [3],
        ["nothing"],
    ]


def test_a_stored_value_takes_the_place_of_what_an_earlier_call_set(world):
    def script():
        def change(cache, item):
            cache.p = f"{cache.p} and {item}"
            return cache.p

        pool = Pool("places")
        pool.storeSet(p="stored")
        return pool.map(change, ["a"]), pool.mapToPrevious(change, ["b"])

    assert world(script) == (["stored and a"], ["stored and b"])


def test_storing_forgets_only_what_is_there(world):
    def script():
        pool = Pool("there")
        pool.storeSet(p=1)
        try:
            pool.storeDel("p", "q")
        except KeyError as error:
            return str(error), pool.map(store_and_cache, ["p"])

    told, kept = world(script)
    assert "'q'" in told
    assert kept == [1]


def test_what_is_stored_is_listed(world):
    def script():
        pool = Pool("listed")
        pool.storeSet(p=1, q="two")
        return heard(pool.storeList)

    assert "(listed): {'p': 1, 'q': 'two'}" in world(script)


def test_caches_are_listed_with_their_processes_and_can_be_cleared(world):
    def script():
        pool = Pool("caches")
        pool.map(root_of, [4, 9])
        before = heard(pool.cacheList)
        pool.cacheClear()
        return before, heard(pool.cacheList)

    before, after = world(script)
    assert "0: Cache(root=2.0, args=(), kwargs={})" in before
    assert "1: Cache(root=3.0" in before
    assert after.endswith("(caches): {}\n")


def test_cleared_caches_are_gone(world):
    def script():
        pool = Pool("cleared")
        pool.map(root_of, [4])
        pool.cacheClear()
        return pool.mapToPrevious(lambda cache, x: hasattr(cache, "root"), [4])

    assert world(script) == [False]


def test_a_function_in_the_pool_may_map_itself(world):
    def script():
        def exposure(cache, visit):
            cache.visit = visit
            inner = Pool("ccds")
            inner.storeSet(offset=cache.offset + visit)
            inner.map(lambda cache, ccd: setattr(cache, "value", cache.offset + ccd), range(4))
            found = inner.mapToPrevious(lambda cache, ccd: cache.value, range(4))
            return found, cache.visit, cache.offset

        outer = Pool("exposures")
        outer.storeSet(offset=100)
        return outer.map(exposure, [10, 20, 30])

    assert world(script) == [
        ([100 + visit + ccd for ccd in range(4)], visit, 100) for visit in (10, 20, 30)
    ]


def test_a_pool_may_be_an_argument(world):
    def script():
        def task(cache, item, pool):
            return pool.map(double, [item])

        return Pool("outer").map(task, [1, 2], Pool(None))

    assert world(script) == [[2], [4]]


def test_a_failed_call_fails_alone_and_its_exception_arrives(world, tmp_path):
    def script():
        def task(cache, item):
            if item == 1:
                raise LookupError(f"no item {item}")
            (tmp_path / str(item)).touch()

        try:
            Pool("failing").map(task, range(4))
        except LookupError as error:
            return str(error), sorted(os.listdir(tmp_path))

    assert world(script) == ("no item 1", ["0", "2", "3"])


def test_bound_methods_are_sent_with_their_object(world):
    class Task:
        factor = 3

        def times(self, cache, item):
            return self.factor * item

    assert world(lambda: Pool("bound").map(Task().times, [1, 2])) == [3, 6]


def test_the_cache_says_on_which_rank_it_is(world):
    def script():
        def where(cache, item):
            time.sleep(0.1)  # long enough that the other ranks take their share
            return cache.comm.rank, cache.comm.Get_size()

        return Pool("where").map(where, range(9))

    found = world(script)
    assert {rank for rank, _ in found} == {0, 1, 2}
    assert {size for _, size in found} == {3}


def test_a_task_has_no_messages_and_is_told_what_to_do_instead(world):
    def script():
        def send(cache, item):
            cache.comm.send(1, 0)

        try:
            Pool("messages").map(send, [1])
        except UsageError as error:
            return str(error)

    assert "return what is to be sent" in world(script)


def test_a_pool_has_the_attributes_of_the_one_pool(world):
    def script():
        pool = Pool()
        return pool.rank, pool.size, pool.root, pool.isMaster(), pool.comm.rank, dir(pool)

    *facts, names = world(script)
    assert facts == [0, 3, 0, True, 0]
    assert {"map", "mapToPrevious", "storeSet", "exit"} <= set(names)


def test_the_one_pool_takes_contexts_as_first_argument(world):
    def script():
        pool = startPool()
        assert pool is PoolMaster()
        pool.storeSet("direct", p=5)
        return pool.map(None, double, [1]), pool.map("direct", store_and_cache, ["p"])

    assert world(script) == ([2], [5])


def test_exit_ends_nothing_that_is_still_wanted(world):
    def script():
        startPool().exit()
        return Pool(None).map(double, [1])

    assert world(script) == [2]


def test_the_script_can_not_go_on_in_another_rank():
    with pytest.raises(UsageError, match="root=0"):
        startPool(root=1)


def test_a_communicator_of_some_ranks_is_refused(world):
    class Some:
        def Dup(self):
            return self

        def Get_rank(self):
            return 0

        def Get_size(self):
            return 2

    def script():
        PoolMaster._only = None
        try:
            startPool(Comm(Some()))
        except UsageError as error:
            return str(error)

    assert "of 2 ranks, but there are 3" in world(script)


def test_the_debugger_tells_what_the_pool_is_asked_for(world):
    def script():
        Debugger().out, Debugger().enabled = io.StringIO(), True
        try:
            Pool("seen").map(root_of, [1, 2])
            return Debugger().out.getvalue()
        finally:
            Debugger().enabled = False

    assert "Master: map root_of over 2 items, context seen\n" in world(script)
