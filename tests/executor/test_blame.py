"""What was it that could not be pickled?"""

import collections
import functools
import operator
import sys
import threading
import time

import numpy as np
import pytest

from mpipool.errors import UnpicklableError
from mpipool.executor import blame
from mpipool.executor.pickling import CALL, Packer, dump_call, dump_pieces, dump_result

LOCK = threading.Lock()
KIND = "_thread.lock"


class Thing:
    def __init__(self, **attributes):
        vars(self).update(attributes)

    def method(self, x):
        return x


class Slotted:
    __slots__ = ("_lock", "a")

    def __init__(self):
        self.a, self._lock = 1, LOCK


class Secretive(Thing):
    def __getstate__(self):
        raise KeyError("not my state")


class Unlisted(dict):
    pass


def blamed(value):
    with pytest.raises(UnpicklableError) as caught:
        dump_result(value)
    assert caught.value.what == "the result"
    return caught.value.path, caught.value.kind


@pytest.mark.parametrize(
    ("value", "path"),
    [
        (LOCK, "result"),
        (Thing(catalog=Thing(_lock=LOCK)), "result.catalog._lock"),
        ({"wcs": Thing(callback=LOCK)}, "result['wcs'].callback"),
        ([1, (2, [3, LOCK])], "result[1][1][1]"),
        ({"a": {1: {(2, 3): LOCK}}}, "result['a'][1][(2, 3)]"),
        (Slotted(), "result._lock"),
        (collections.deque([0, LOCK]), "result[1]"),
        (collections.OrderedDict(a=1, b=LOCK), "result['b']"),
        (collections.defaultdict(LOCK.acquire), "result.__reduce__()[1][0].__self__"),
        (Unlisted(a=LOCK), "result['a']"),
        (ValueError("text", LOCK), "result.args[1]"),
        (functools.partial(max, LOCK), "result.args[0]"),
        (functools.partial(max, key=LOCK), "result.keywords['key']"),
        (Thing(lock=LOCK).method, "result.__self__.lock"),
        (LOCK.acquire, "result.__self__"),
        (np.array([1, LOCK], dtype=object), "result.tolist()[1]"),
        ({frozenset([LOCK.acquire]): 1}, None),
        ((number for number in range(3)), "result"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_the_way_to_the_object_at_fault(value, path):
    found, kind = blamed(value)
    if path is None:
        assert found.startswith("result (the key frozenset({<built-in method acquire")
    else:
        assert found == path
    assert kind == ("generator" if path == "result" and value is not LOCK else KIND)


def test_an_object_whose_own_state_raises_is_at_fault():
    kind = f"{__name__}.Secretive"
    assert blamed([Secretive()]) == ("result[0]", kind)
    assert blamed(Thing(a=Secretive(b=1))) == ("result.a", kind)
    itself = Secretive()
    itself.me = itself
    assert blamed({"x": itself}) == ("result['x']", kind)


def test_an_object_which_names_something_that_is_not_there():
    class Lost:
        def __reduce__(self):
            return "nothing_of_this_name"

    path, kind = blamed([1, Lost()])
    assert path == "result[1]"
    assert kind.endswith(".Lost")


def test_cycles_end_and_the_shortest_way_is_told():
    one, other = Thing(), Thing()
    one.other, other.one = other, one
    other.list = [one, other, LOCK]
    one.far = [[[[LOCK]]]]
    assert blamed(one) == ("result.other.list[2]", KIND)
    diamond = LOCK
    for _ in range(40):  # so many ways to it as no one could go
        diamond = [diamond, [diamond]]
    assert blamed(diamond) == ("result" + "[0]" * 40, KIND)
    loop = [1]
    loop.append(loop)
    assert blamed([loop, LOCK]) == ("result[1]", KIND)


def _functions():
    lock = LOCK
    nested = Thing(lock=LOCK)
    yield (lambda x: lock), ": closure variable 'lock'"
    yield (lambda x: nested), ": closure variable 'nested'.lock"
    yield (lambda x, y=LOCK: x), ": default of 'y'"
    yield (lambda x, *, z=LOCK: x), ": default of 'z'"
    namespace = {"LOCK": LOCK, "__name__": "__main__"}
    for code in ("lambda x: LOCK", "lambda x: [LOCK for _ in x]", "lambda x: (lambda: LOCK)"):
        yield eval(code, namespace), ": global 'LOCK'"
    with_attribute = lambda x: x  # noqa: E731 - not to be found by its name
    with_attribute.lock = LOCK
    yield with_attribute, ".lock"
    yield Thing(lock=LOCK).method, ".__self__.lock"


@pytest.mark.parametrize(("function", "way"), list(_functions()))
def test_what_a_function_takes_along(function, way):
    with pytest.raises(UnpicklableError) as caught:
        dump_call(function, (1,), {"a": 2})
    assert caught.value.what == "the function"
    assert caught.value.path == "the function" + way
    assert blamed([function])[0] == "result[0]" + way


def test_further_arguments_of_a_function():
    for arguments, keywords, path in (
        ((1, LOCK), {}, "arguments[1]"),
        ((1,), {"wcs": [LOCK]}, "keywords['wcs'][0]"),
    ):
        with pytest.raises(UnpicklableError) as caught:
            dump_call(max, arguments, keywords)
        assert caught.value.path == path


def test_items_and_stored_values():
    with pytest.raises(UnpicklableError) as caught:
        Packer().add({"wcs": Thing(callback=LOCK)}, "the item of task 3 of measure")
    assert str(caught.value) == (
        "the item of task 3 of measure can't be sent to another process: TypeError: cannot pickle "
        f"'{KIND}' object (at fault is item['wcs'].callback, of type {KIND})"
    )
    with pytest.raises(UnpicklableError) as caught:
        Packer().pack((max, (1, [LOCK]), {}), "the call of max", names=CALL)
    assert (caught.value.what, caught.value.path) == ("the call of max", "arguments[1][0]")
    with pytest.raises(UnpicklableError) as caught:
        dump_pieces([LOCK], "skymap")
    assert caught.value.path == "skymap[0]"


def test_a_class_that_goes_by_value_and_holds_something():
    namespace = {"__name__": "__main__", "LOCK": LOCK}
    exec("class Holder:\n lock = LOCK\n def method(self): return LOCK", namespace)
    path, kind = blamed([namespace["Holder"]()])
    assert path.startswith("result[0]")
    assert path.endswith((".Holder.lock", ".lock", ": global 'LOCK'")), path
    assert kind == KIND


def test_what_is_nested_too_deeply_is_told_as_that():
    nested = []
    for _ in range(sys.getrecursionlimit() * 20):
        nested = [nested]
    with pytest.raises(UnpicklableError, match="nested too deeply") as caught:
        dump_result(nested)
    assert caught.value.path == ""


def test_the_search_gives_up_in_time(monkeypatch):
    monkeypatch.setattr(blame, "SECONDS", 0.1)
    pickled = []

    class Slow:
        def __reduce__(self):
            pickled.append(1)
            time.sleep(0.01)
            return bytes, (bytes(100_000),)

    assert blame.find([("result", [[Slow() for _ in range(500)], LOCK])]) is None
    assert len(pickled) < 100


def test_many_that_fail_are_not_all_tried():
    calls = []

    class Counting:
        def __reduce__(self):
            calls.append(1)
            return Thing, (LOCK,)

    assert blamed([Counting() for _ in range(10_000)])[0].startswith("result[0]")
    assert len(calls) < 1000


class Hostile:
    def __getattr__(self, name):
        raise RuntimeError("do not touch")

    def __repr__(self):
        raise RuntimeError("do not show")

    def __hash__(self):
        return 1

    def __reduce__(self):
        return Hostile, ()


def test_objects_which_do_not_like_to_be_looked_at():
    assert blamed({Hostile(): LOCK}) == ("result[<Hostile>]", KIND)
    assert blamed([Hostile(), Thing(a=Hostile(), b=LOCK)]) == ("result[1].b", KIND)


def test_a_long_way_is_cut():
    value = LOCK
    for _ in range(100):
        value = {"a long name for a key": value}
    path, _ = blamed(value)
    assert path.startswith("result['a long name for a key']")
    assert path.endswith("…")


def test_the_error_survives_pickling_with_all_it_knows():
    import pickle

    error = UnpicklableError("the result", "TypeError: no", "result.a", KIND)
    copied = pickle.loads(pickle.dumps(error))
    assert operator.attrgetter("what", "reason", "path", "kind")(copied) == (
        "the result",
        "TypeError: no",
        "result.a",
        KIND,
    )
    assert str(copied) == str(error)
    assert "at fault" not in str(UnpicklableError("the result", "TypeError: no"))
