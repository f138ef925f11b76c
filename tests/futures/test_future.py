"""A future by itself: one of the standard library's, only smaller."""

import asyncio
import concurrent.futures
import pickle
import threading
import tracemalloc

import pytest

from mpipool import Future, UsageError
from mpipool.futures.future import settle


def later(action):
    """Do something soon, in another thread."""
    thread = threading.Timer(0.05, action)
    thread.start()
    return thread


def test_it_is_one_of_the_standard_library():
    assert isinstance(Future(), concurrent.futures.Future)


def test_a_pending_one_is_small():
    tracemalloc.start()
    try:
        before, _ = tracemalloc.get_traced_memory()
        futures = [Future() for _ in range(10_000)]
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (after - before) / len(futures) < 250


def test_a_result_which_comes_later_is_waited_for():
    future = Future()
    assert not future.done()
    later(lambda: settle([(future, 42, None)]))
    assert future.result(timeout=10) == 42
    assert future.exception() is None
    assert future.done()
    assert not future.cancelled()


def test_an_exception_is_raised_and_can_be_asked_for():
    future = Future()
    later(lambda: settle([(future, None, KeyError("x"))]))
    assert isinstance(future.exception(timeout=10), KeyError)
    with pytest.raises(KeyError):
        future.result()


@pytest.mark.parametrize("ask", [Future.result, Future.exception])
def test_what_does_not_come_in_time_is_a_timeout(ask):
    with pytest.raises(TimeoutError):
        ask(Future(), timeout=0.01)
    with pytest.raises(TimeoutError):
        ask(Future(), timeout=0)


@pytest.mark.parametrize("ask", [Future.result, Future.exception])
def test_a_cancelled_one_raises_that(ask):
    future = Future()
    assert future.cancel()
    assert future.cancelled()
    assert future.done()
    assert future.cancel()
    with pytest.raises(concurrent.futures.CancelledError):
        ask(future)


def test_a_finished_one_can_not_be_cancelled():
    future = Future()
    settle([(future, 1, None)])
    assert not future.cancel()
    assert not future.cancelled()


def test_it_is_settled_once():
    future = Future()
    assert settle([(future, 1, None)]) == 1
    assert settle([(future, 2, None)]) == 0
    assert future.result() == 1


def test_callbacks_are_called_once_each_and_their_errors_are_no_ones(caplog):
    future, called = Future(), []
    future.add_done_callback(lambda _: 1 / 0)
    future.add_done_callback(called.append)
    settle([(future, 1, None)])
    future.add_done_callback(called.append)
    assert called == [future, future]
    assert "exception calling callback" in caplog.text


def test_a_callback_may_look_at_the_result_and_settle_others():
    first, second = Future(), Future()
    first.add_done_callback(lambda done: settle([(second, done.result() + 1, None)]))
    settle([(first, 1, None)])
    assert second.result(timeout=0) == 2


@pytest.mark.parametrize("when", ["FIRST_COMPLETED", "FIRST_EXCEPTION", "ALL_COMPLETED"])
def test_wait_takes_it(when):
    futures = [Future() for _ in range(3)]
    later(lambda: settle([(futures[0], 0, None)]))
    later(lambda: settle([(futures[1], None, KeyError())]))
    if when == "ALL_COMPLETED":
        later(lambda: settle([(futures[2], 2, None)]))
    done, pending = concurrent.futures.wait(futures, timeout=10, return_when=when)
    assert done
    assert done | pending == set(futures)
    assert (pending == set()) == (when == "ALL_COMPLETED")


def test_wait_mixes_it_with_the_standard_librarys():
    ours, theirs = Future(), concurrent.futures.Future()
    later(lambda: theirs.set_result(1))
    later(lambda: settle([(ours, 2, None)]))
    done, _ = concurrent.futures.wait([theirs, ours], timeout=10)
    assert done == {theirs, ours}


def test_as_completed_gives_those_which_are_over_first():
    futures = [Future() for _ in range(3)]
    settle([(futures[2], 2, None)])
    later(lambda: settle([(futures[0], 0, None), (futures[1], 1, None)]))
    results = [future.result() for future in concurrent.futures.as_completed(futures, timeout=10)]
    assert results[0] == 2
    assert sorted(results) == [0, 1, 2]


def test_asyncio_wraps_it():
    async def main():
        future = Future()
        later(lambda: settle([(future, 42, None)]))
        return await asyncio.wait_for(asyncio.wrap_future(future), timeout=10)

    assert asyncio.run(main()) == 42


def test_several_threads_wait_for_one():
    future, results = Future(), []
    threads = [
        threading.Thread(target=lambda: results.append(future.result(timeout=10))) for _ in range(5)
    ]
    for thread in threads:
        thread.start()
    settle([(future, "x", None)])
    for thread in threads:
        thread.join()
    assert results == ["x"] * 5


def test_it_can_not_be_sent_away():
    with pytest.raises(UsageError, match="argument of submit"):
        pickle.dumps(Future())
