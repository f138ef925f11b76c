"""What may start when, what is left out, and what is let go: the graph by itself."""

import random

import pytest

from drivers.graph.graph import ENDED, Graph, GraphError, State
from drivers.graph.node import Call, Done, Empty, Failed, Node, NodeId


def name(stage, *place):
    return NodeId(stage, place)


def call(*arguments):
    return Call(function=print, arguments=arguments, key={})


def node(identity, *needs, order=(), prepare=None):
    def values(outcomes):
        there = [outcome.value for outcome in outcomes.values() if isinstance(outcome, Done)]
        return call(*there) if there or not needs else Empty("no input")

    return Node(id=identity, needs=needs, prepare=prepare or values, order=order)


A, B, C = name("a", 1), name("b", 1), name("c", 1)


def graph(*nodes):
    made = Graph()
    for each in nodes:
        made.add(each)
    return made


def finish(made, identity, value=None):
    made.end(identity, Done(value, {}))


def test_a_node_starts_when_all_that_it_needs_has_ended():
    made = graph(node(A), node(B), node(C, A, B))
    assert made.next() == (A, call())
    assert made.next() == (B, call())
    assert made.next() is None
    finish(made, B, 2)
    assert made.next() is None
    finish(made, A, 1)
    assert made.next() == (C, call(1, 2))
    finish(made, C)
    assert made.is_over


def test_a_failed_node_is_left_out_by_those_behind_it():
    made = graph(node(A), node(B), node(C, A, B))
    made.next(), made.next()
    made.end(A, Failed(ValueError("dead CCD")))
    finish(made, B, 2)
    assert made.next() == (C, call(2))
    assert (made.state(A), made.state(C)) == (State.FAILED, State.RUNNING)


def test_without_any_input_a_node_ends_empty_and_so_do_those_behind_it():
    made = graph(node(A), node(B, A), node(C, B))
    made.next()
    made.end(A, Failed(ValueError()))
    assert made.next() is None
    assert (made.state(B), made.state(C)) == (State.EMPTY, State.EMPTY)
    assert made.reasons == {("b", "no input"): 1, ("c", "no input"): 1}
    assert made.is_over


def test_the_smaller_order_goes_first_and_equal_ones_as_they_became_ready():
    first, second, third = (name("a", n) for n in range(3))
    made = graph(node(first, order=(2,)), node(second, order=(1,)), node(third, order=(2,)))
    assert [made.next()[0] for _ in range(3)] == [second, first, third]


def test_the_graph_grows_while_it_runs():
    made = graph(node(A), node(C, A))
    made.next()
    made.add(node(B, A))
    finish(made, A, 1)
    assert {made.next()[0], made.next()[0]} == {B, C}


def test_outcomes_are_let_go_when_nobody_needs_them_any_more():
    made = graph(node(A), node(B, A), node(C, A))
    made.next()
    finish(made, A, "large")
    assert dict(made.outcomes("a")) == {A: Done("large", {})}
    made.next(), made.next()
    finish(made, B)
    assert dict(made.outcomes("a"))
    finish(made, C)
    assert not dict(made.outcomes("a"))
    with pytest.raises(GraphError, match="let go"):
        made.add(node(name("d", 1), A))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda made: made.add(node(A)), "stands in the graph already"),
        (lambda made: made.add(node(B, C)), "which is not in the graph"),
        (lambda made: finish(made, A), "ends, but it is ready"),
    ],
)
def test_the_impossible_is_refused(change, message):
    made = graph(node(A))
    with pytest.raises(GraphError, match=message):
        change(made)
    assert made.next() == (A, call()), "and nothing has changed"


def test_counts_are_by_stage_and_state():
    made = graph(node(A), node(name("a", 2)), node(B, A))
    made.next()
    assert made.counts() == {
        "a": {State.RUNNING: 1, State.READY: 1},
        "b": {State.WAITING: 1},
    }


@pytest.mark.parametrize("seed", range(200))
def test_any_graph_ends_with_each_node_begun_after_all_that_it_needs(seed):
    chance = random.Random(seed)
    names = [name(chance.choice("abc"), n) for n in range(chance.randint(1, 40))]
    needs = {
        each: tuple(chance.sample(names[:at], min(at, chance.randint(0, 3))))
        for at, each in enumerate(names)
    }
    made = Graph()
    later = [node(each, *needs[each], order=(chance.random(),)) for each in names]
    running, begun = [], []
    while later or not made.is_over:
        if later and (made.is_over or chance.random() < 0.5):
            try:
                made.add(later[0])
            except GraphError:  # what it needs was let go
                needs[later[0].id] = ()
                made.add(node(later[0].id))
            later.pop(0)
        elif started := made.next():
            assert all(made.state(need) in ENDED for need in needs[started[0]])
            begun.append(started[0])
            running.append(started[0])
        elif running:
            over = running.pop(chance.randrange(len(running)))
            made.end(over, Failed(ValueError()) if chance.random() < 0.2 else Done(0, {}))
    assert len(begun) == len(set(begun))
    assert all(made.state(each) in ENDED for each in names)
    assert not [*made.outcomes("a"), *made.outcomes("b"), *made.outcomes("c")]
