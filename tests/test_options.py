"""What each keyword argument of a call may be, and which make no sense together."""

from collections import OrderedDict
from concurrent.futures import Future
from math import inf, nan

import pytest

from mpipool.errors import UsageError
from mpipool.needs import PLAIN, Needs
from mpipool.options import LAZY, OPTIONS, SUBMIT, check


def visit(item):
    return {"visit": item}


def refusal(call: str = "map", allowed=OPTIONS, **options) -> str:
    with pytest.raises(UsageError) as caught:
        check(call, options, allowed)
    return str(caught.value)


# --- names ---------------------------------------------------------------------------------------


def test_the_options_of_all_calls():
    assert {
        "context", "previous", "keep", "ranks", "threads", "memory", "memory_growth",
        "memory_cap", "resources", "timeout",
        "retries", "cost", "key", "after", "stage", "version", "config", "isolation", "errors",
        "progress",
    } == OPTIONS  # fmt: skip
    keyed = {"key", "version", "config", "errors", "progress"}
    assert keyed == OPTIONS - LAZY
    assert {"previous", "errors", "progress"} == OPTIONS - SUBMIT


def test_an_unknown_name_is_told_with_those_which_there_are():
    said = refusal("imap", LAZY, tries=3, retries=3)
    assert said.startswith("imap has no tries=; it has after, context, cost, ")
    assert "key" not in said


@pytest.mark.parametrize("name", ["key", "version", "config", "errors", "progress"])
def test_what_makes_no_sense_item_by_item_is_refused_there(name):
    assert refusal("imap", LAZY, **{name: None}) == f"{name}= makes no sense for imap"


@pytest.mark.parametrize("name", ["previous", "errors", "progress"])
def test_what_makes_no_sense_for_a_single_call_is_refused_there(name):
    assert refusal("submit", SUBMIT, **{name: None}) == f"{name}= makes no sense for submit"


def test_a_single_task_has_no_previous_one():
    assert refusal("submit", SUBMIT, previous=True) == "previous= makes no sense for submit"
    assert check("imap", {"previous": True}, LAZY)["previous"] is True


# --- values --------------------------------------------------------------------------------------

LEGAL = {
    "context": ["", "tracts"],
    "previous": [True, False],
    "keep": [True, False],
    "ranks": [1, 16, (2, 2), (8, 112)],
    "threads": [1, 64],
    "memory": [1, 5e9, "1", "12 GB", " 500MiB ", "1.5t", ".5 g", "2. kB", "7b"],
    "memory_growth": [1, 1.5, 4],
    "memory_cap": [2**34, "64 GB"],
    "resources": [{}, {"io": 1}, OrderedDict(io=2, gpu=1)],
    "timeout": [1, 0.5, inf],
    "retries": [0, 5],
    "cost": [1, 0.5, [1.0, 2.0], (), range(3), float],
    "after": [(), [Future()], iter(())],
    "stage": ["", "frame"],
    "isolation": ["process", "none"],
    "errors": ["raise", "return"],
    "progress": [print],
}
ILLEGAL = {
    "context": [1, b"tracts", ["tracts"]],
    "previous": [1, "yes"],
    "keep": [1, "yes"],
    "ranks": [0, -1, True, 1.5, "2", (2,), (1, 2, 3), (3, 2), (0, 2), (True, 2), [2, 3]],
    "threads": [0, -1, True, 1.5, "2", (1, 2)],
    "memory": [
        0, -1, True, 0.5, nan, inf, "", "GB", ".", "1.2.3 GB", "-1 GB", "12 parsecs", "1e9", "0 GB",
        [1],
    ],
    "memory_growth": [0, 0.5, -2, inf, nan, True, "2"],
    "memory_cap": [0, -1, True, "", "64 parsecs"],
    "resources": [{"io": 0}, {"io": -1}, {"io": True}, {"io": 1.5}, {1: 1}, [("io", 1)], "io"],
    "timeout": [0, -1.0, nan, True, "1 h"],
    "retries": [-1, True, 1.5, "2"],
    "cost": [0, -1.0, nan, True, "1", b"1", {"a": 1.0}],
    "key": ["visit", 1],
    "after": [1, "visit", Future()],
    "stage": [1, b"frame"],
    "version": [1, b"1"],
    "isolation": ["thread", True, ["none"], {}],
    "errors": ["ignore", True, ["raise"]],
    "progress": [True, "yes"],
}  # fmt: skip


def pairs(table):
    return [(name, value) for name, values in table.items() for value in values]


@pytest.mark.parametrize(("name", "value"), pairs(LEGAL))
def test_a_legal_value_is_what_the_call_is_made_with(name, value):
    assert check("map", {name: value})[name] is value


@pytest.mark.parametrize(("name", "value"), pairs(ILLEGAL))
def test_an_illegal_value_is_refused_with_what_there_should_be(name, value):
    options = {"stage": "frame", "key": visit, name: value} if name == "version" else {name: value}
    said = refusal(**options)
    assert said.startswith(f"{name}={value!r}: ")
    assert len(said) > len(f"{name}={value!r}: ") + 5


def test_every_option_with_values_of_its_own_is_tested():
    assert ILLEGAL.keys() == OPTIONS - {"config"}
    assert ILLEGAL.keys() - LEGAL.keys() == {"key", "version"}


@pytest.mark.parametrize("name", sorted(OPTIONS))
def test_none_is_the_same_as_nothing(name):
    given, nothing = check("map", {name: None}), check("map", {})
    assert given[name] == nothing[name]
    assert (given.needs, given.shared) == (nothing.needs, nothing.shared) == (PLAIN, {})


def test_what_is_meant_where_nothing_is_said():
    wanted = check("map", {})
    assert {name: wanted[name] for name in OPTIONS} == dict.fromkeys(OPTIONS) | {
        "previous": False,
        "keep": False,
        "after": (),
        "retries": 0,
        "stage": "",
        "version": "",
        "errors": "raise",
    }


def test_futures_which_come_by_and_by_are_not_taken_by_the_check():
    after = iter([Future()])
    assert len(list(check("map", {"after": after})["after"])) == 1


# --- what executors, agents and the scheduler are told -------------------------------------------


@pytest.mark.parametrize(
    ("options", "needs"),
    [
        ({"ranks": 16}, Needs(ranks=(16, 16), in_place=True)),
        ({"ranks": 1}, Needs(in_place=True)),
        ({"ranks": (8, 112)}, Needs(ranks=(8, 112), in_place=True)),
        ({"isolation": "none"}, Needs(in_place=True)),
        ({"isolation": "none", "ranks": 2}, Needs(ranks=(2, 2), in_place=True)),
        ({"isolation": "process"}, PLAIN),
        ({"threads": 4}, Needs(threads=4)),
        ({"resources": {"io": 2, "gpu": 1}}, Needs(tokens=(("gpu", 1), ("io", 2)))),
        ({"resources": {}}, PLAIN),
        ({"memory": 2**20}, Needs(memory=1)),
        ({"memory": 2**20 + 1}, Needs(memory=2)),
        ({"memory": 1}, Needs(memory=1)),
        ({"memory": "12 GiB"}, Needs(memory=12 * 1024)),
        ({"memory": "12 gb"}, Needs(memory=11445)),
        ({"memory": "1.5 TiB"}, Needs(memory=3 * 2**19)),
        ({"memory": "2t", "threads": 2}, Needs(memory=1907349, threads=2)),
        ({"memory": "500 KiB"}, Needs(memory=1)),
        ({"memory": 3e9}, Needs(memory=2862)),
    ],
)
def test_what_a_task_needs(options, needs):
    assert check("map", options).needs == needs


@pytest.mark.parametrize(
    ("options", "shared"),
    [
        ({"keep": True}, {"keep": True}),
        ({"timeout": 2}, {"timeout": 2.0}),
        ({"threads": 1}, {}),
        ({"threads": 4}, {"threads": 4}),
        ({"ranks": (2, 5)}, {"in_place": True, "fewest": 2}),
        ({"isolation": "none"}, {"in_place": True, "fewest": 1}),
        ({"retries": 2, "stage": "frame", "memory": 1, "cost": 3.0, "previous": True}, {}),
    ],
)
def test_what_is_shared_by_the_tasks(options, shared):
    told = check("map", options).shared
    assert told == shared
    assert all(type(told[name]) is type(value) for name, value in shared.items())


# --- what makes no sense together ----------------------------------------------------------------

PLACES = [{"ranks": 2}, {"ranks": (1, 2)}, {"isolation": "none"}]
CONFLICTS = [
    ({"key": visit}, "key= needs stage="),
    ({"key": visit, "stage": ""}, "key= needs stage="),
    ({"version": "2", "stage": "frame"}, "version= or config= without key="),
    ({"config": {}, "stage": "frame"}, "version= or config= without key="),
    ({"key": visit, "stage": "frame", "keep": True}, "keep= with key="),
    ({"key": visit, "stage": "frame", "previous": True}, "previous= with key="),
    ({"ranks": 2, "isolation": "process"}, "ranks= with isolation='process'"),
    *[({"threads": 2, **place}, "threads= with ranks=") for place in PLACES],
    *[({"previous": True, **place}, "previous= with ranks=") for place in PLACES],
    *[({"timeout": 9.0, **place}, "timeout= with ranks=") for place in PLACES],
]


@pytest.mark.parametrize(("options", "said"), CONFLICTS)
def test_options_which_make_no_sense_together_are_refused_with_the_reason(options, said):
    told = refusal(**options)
    assert told.startswith(said)
    assert ": " in told


@pytest.mark.parametrize(
    "options",
    [
        {"key": visit, "stage": "frame", "version": "2", "config": {"a": 1}},
        {"key": visit, "stage": "frame", "keep": False, "previous": False},
        {"stage": "frame", "version": "", "config": None},
        *[{"threads": 1, "previous": False, "timeout": None, "keep": True, **p} for p in PLACES],
        {"isolation": "process", "threads": 2, "previous": True, "timeout": 9.0, "keep": True},
        {"ranks": 2, "isolation": "none"},
    ],
)
def test_options_which_go_together_are_not_refused(options):
    check("map", options)


def test_of_a_long_value_only_the_beginning_is_shown():
    assert len(refusal(key=[{"visit": number} for number in range(100_000)])) < 500
