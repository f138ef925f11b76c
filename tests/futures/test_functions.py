"""Which functions are pickled once for all calls, and which each time."""

import functools
import math
import types

import pytest

from mpipool.futures.functions import packable


def defined(text, **names):
    """Define function ``f`` in a module of its own, which nobody can import."""
    module = types.ModuleType("__main__")
    module.__dict__.update(names)
    exec(text, module.__dict__)
    return module.f


@pytest.mark.parametrize("function", [math.sin, len, functools.reduce, dict, functools.partial])
def test_what_is_imported_is_pickled_once(function):
    assert packable(function) is packable(function)
    assert isinstance(packable(function), bytes)


@pytest.mark.parametrize(
    "text",
    [
        "def f(): pass",
        "def f(x, y=1): return x + y",
        "def f(x): return math.sin(x) + LIMIT",
        "f = lambda x: len(x)",
    ],
)
def test_what_refers_to_nothing_that_changes_is_pickled_once(text):
    function = defined(text, math=math, LIMIT=3)
    assert isinstance(packable(function), bytes)
    assert packable(function) is packable(function)


@pytest.mark.parametrize(
    "text",
    [
        "def f(): return table",
        "def f(x=[]): return x",
        "def f(): return g()",
        "def f(*, x={}): return x",
        "def make():\n    x = 1\n    return lambda: x\nf = make()",
    ],
)
def test_what_refers_to_something_that_may_change_is_pickled_each_time(text):
    function = defined(text, table={}, g=lambda: 1)
    assert packable(function) is function


def test_what_has_attributes_is_pickled_each_time():
    function = defined("def f(): pass")
    function.calls = 0
    assert packable(function) is function


def test_a_name_that_means_something_else_now_is_seen():
    function = defined("def f(): return number", number=1)
    first = packable(function)
    function.__globals__["number"] = 2
    second = packable(function)
    assert isinstance(second, bytes)
    assert first != second
    function.__globals__["number"] = [2]
    assert packable(function) is function


def test_new_code_is_seen():
    function = defined("def f(): return 1")
    first = packable(function)
    function.__code__ = defined("def f(): return 2").__code__
    assert packable(function) != first


@pytest.mark.parametrize("function", [[].append, "x".join, functools.partial(len), print().__eq__])
def test_methods_and_objects_are_pickled_each_time(function):
    assert packable(function) is function
