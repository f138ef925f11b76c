"""A graph on a pool: here a pool that is played, with which anything can be made to happen."""

import threading
from concurrent import futures

import pytest

from drivers.graph.graph import Graph, State
from drivers.graph.node import Call, Done, Node, NodeId
from drivers.graph.running import AHEAD, LOOK, NOT_DONE, run
from mpipool import BrokenPool, Drained


class Future(futures.Future):
    reused = False


class Pool:
    """Ends the oldest call whenever it has as many as it takes, or is told to."""

    size = 2

    def __init__(self, results):
        self.results = results
        self.known = set()
        self.submitted = []
        self.most = 0
        self._out = []

    def submit(self, function, *arguments, stage, key, **options):
        future = Future()
        self.submitted.append((stage, key, options))
        result = self.results.get(key["n"], key["n"])
        if key["n"] in self.known:
            future.set_result(result)
            future.reused = True
            return future
        self._out.append((future, result))
        self.most = max(self.most, len(self._out))
        if len(self._out) > AHEAD * self.size or key["n"] == self.results.get("last"):
            threading.Timer(0.01, self.end_all).start()
        return future

    def recorded(self, *, stage, key):
        if key["n"] not in self.known:
            return None
        return self.submit(abs, stage=stage, key=key)

    def end_all(self):
        for future, result in self._out:
            if isinstance(result, BaseException):
                future.set_exception(result)
            else:
                future.set_result(result)
        self._out.clear()


def graph(count, cost=None, run=True):
    made = Graph()
    for n in range(count):
        call = Call(
            function=abs, arguments=(n,), key={"n": n}, cost=cost, options={"memory": 7}, run=run
        )
        made.add(Node(id=NodeId("s", (n,)), needs=(), prepare=lambda _, call=call: call))
    return made


def test_a_graph_is_run_to_its_end_with_few_calls_out_at_a_time():
    pool, made, told = Pool({"last": 49}), graph(50, cost=1.5), []
    run(pool, made, lambda node, outcome: told.append((node.place[0], outcome)))
    assert made.is_over
    assert sorted(n for n, _ in told) == list(range(50))
    assert pool.most == AHEAD * pool.size + 1
    assert pool.submitted[0] == ("s", {"n": 0}, {"cost": 1.5, "memory": 7})
    assert dict(told)[3] == Done(3, {"n": 3}, reused=False)


def test_what_was_done_before_is_said_to_be_reused():
    pool, made = Pool({"last": 2}), graph(3)
    pool.known = {0, 1}
    run(pool, made, lambda *_: None)
    assert made.counts() == {"s": {State.REUSED: 2, State.DONE: 1}}


def test_a_failure_leaves_the_rest_running_unless_it_is_to_be_the_end():
    pool, made = Pool({3: ValueError("bad"), "last": 49}), graph(50)
    run(pool, made, lambda *_: None)
    assert made.counts() == {"s": {State.DONE: 49, State.FAILED: 1}}
    pool, made = Pool({3: ValueError("bad"), "last": 49}), graph(50)
    run(pool, made, lambda *_: None, fail_fast=True)
    assert made.counts()["s"][State.FAILED] == 1
    assert made.counts()["s"][State.READY] >= 50 - 2 * (AHEAD * pool.size + 1)


@pytest.mark.parametrize("end", [Drained("s", "SIGTERM", 1, 0, 1, 75), BrokenPool("lost")])
def test_what_ends_the_whole_run_is_raised(end):
    pool, made = Pool({0: end, "last": 1}), graph(2)
    with pytest.raises(type(end)):
        run(pool, made, lambda *_: None)


def test_of_what_is_not_to_be_run_only_what_is_done_is_used():
    pool, made, told = Pool({}), graph(3, run=False), []
    pool.known = {1}
    run(pool, made, lambda node, outcome: told.append(outcome))
    assert made.counts() == {"s": {State.REUSED: 1, State.EMPTY: 2}}
    assert told == [NOT_DONE, NOT_DONE, Done(1, {"n": 1}, reused=True)]


def test_what_is_recalled_is_not_run():
    pool, made, told = Pool({"last": 2}), graph(3), {}

    def recall(node, call):
        return (
            Done("old", {"n": 1, "of": "another run"}, reused=True) if call.key["n"] == 1 else None
        )

    run(pool, made, lambda node, outcome: told.update({node.place[0]: outcome}), recall=recall)
    assert [key["n"] for _, key, _ in pool.submitted] == [0, 2]
    assert told[1] == Done("old", {"n": 1, "of": "another run"}, reused=True)


def test_a_graph_grows_as_long_as_there_may_be_more():
    pool, made, rounds = Pool({"last": 3}), graph(1), []
    pool.known = {0, 1, 2}

    def poll(seconds):
        rounds.append(seconds)
        if len(rounds) < 4:
            call = Call(function=abs, arguments=(), key={"n": len(rounds)})
            made.add(Node(id=NodeId("s", (len(rounds),)), needs=(), prepare=lambda _: call))
        return len(rounds) < 5

    run(pool, made, lambda *_: None, poll=poll)
    assert made.counts() == {"s": {State.REUSED: 3, State.DONE: 1}}
    # It may wait for as long as nothing is out.
    assert rounds[:3] == [LOOK] * 3
