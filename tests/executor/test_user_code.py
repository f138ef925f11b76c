"""Functions, classes and exceptions as users write them, wherever they were defined."""

import pytest

from mpipool import Pool


def test_bound_methods_of_all_kinds(world):
    def script():
        class Scale:
            def __init__(self, factor):
                self.factor = factor

            def times(self, x):
                return self.factor * x

            @classmethod
            def named(cls, x):
                return cls.__name__, x

            @staticmethod
            def plain(x):
                return -x

            def __call__(self, x):
                return x + self.factor

        scale = Scale(3)
        functions = scale.times, scale.named, Scale.plain, scale, "abc".__add__, [1, 2].index
        arguments = 2, 2, 2, 2, "d", 2
        return [
            Pool().map(function, [argument])[0]
            for function, argument in zip(functions, arguments, strict=True)
        ]

    assert world(script) == [6, ("Scale", 2), -2, 5, "abcd", 1]


def test_functions_which_code_has_made(world):
    def script():
        namespace = {}
        exec("import math\ndef root(x):\n    return helper(x)\n", namespace)
        exec("def helper(x):\n    return math.sqrt(x)\n", namespace)
        return Pool().map(namespace["root"], [4, 9]), Pool().map(eval("lambda x: x + 1"), [1])

    assert world(script) == ([2.0, 3.0], [2])


def test_a_module_which_only_the_script_has(world):
    def script():
        import sys
        import types

        import cloudpickle

        module = types.ModuleType("made_up")
        exec("factor = 3\ndef triple(x): return factor * x", module.__dict__)
        sys.modules["made_up"] = module
        cloudpickle.register_pickle_by_value(module)
        try:
            return Pool().map(module.triple, [2])
        finally:
            cloudpickle.unregister_pickle_by_value(module)
            del sys.modules["made_up"]

    assert world(script) == [6]


INTERACTIVE = """\
import threading
from mpipool import Pool
factor = 2
class Star:
    def __init__(self, flux):
        self.flux = flux
    def __eq__(self, other):
        return type(self) is type(other) and self.flux == other.flux

class Faint(Exception):
    pass

def brighten(star):
    if star.flux < 0:
        raise Faint(star.flux)
    return Star(factor * star.flux)

def lead(star):
    return Pool().scatterGather(brighten, [star, star])

pool = Pool(workers=2)
print("stars", pool.map(brighten, [Star(1), Star(2)]) == [Star(2), Star(4)])
print("nested", pool.map(lead, [Star(1)]) == [[Star(2), Star(2)]])
factor = 10
print("factor", pool.map(brighten, [Star(1)])[0].flux)
try:
    pool.map(brighten, [Star(-1)])
except Faint as error:
    print("faint", error, error.__cause__ is not None)

lock = threading.Lock()
try:
    pool.map(lambda x: lock, [1])
except TypeError as error:
    print(error)

print("usable", pool.map(abs, [-1]))
"""
EXPECTED = [
    "stars True",
    "nested True",
    "factor 10",
    "faint -1 True",
    "the function can't be sent to another process: TypeError: cannot pickle '_thread.lock' object "
    "(at fault is the function: global 'lock', of type _thread.lock)",
    "usable [1]",
]


@pytest.mark.parametrize("interactive", [False, True], ids=["script", "session"])
def test_what_the_main_module_defines(python, interactive):
    done = python(INTERACTIVE, interactive)
    assert done.stdout.splitlines() == EXPECTED, done.stderr
    assert done.returncode == 0


def test_exceptions_that_do_not_arrive_are_told_in_their_words(world):
    def script():
        import threading

        from mpipool import RemoteTraceback, TaskError

        class TwoArguments(Exception):
            def __init__(self, one, two):
                super().__init__(f"{one} and {two}")

        class Holding(Exception):
            def __init__(self, text):
                super().__init__(text)
                self.lock = threading.Lock()

        class Irreducible(Exception):
            def __reduce__(self):
                raise RuntimeError("no")

        class Explosive(Exception):
            def __reduce__(self):
                return divmod, (1, 0)

        class Disguised(Exception):
            def __reduce__(self):
                return str, ("not an exception",)

        raised = [
            TwoArguments("salt", "pepper"),
            Holding("locked"),
            Irreducible("stuck"),
            Explosive("boom"),
            Disguised("masked"),
        ]

        def fail(x):
            raise [TwoArguments("salt", "pepper"), Holding("locked"), Irreducible("stuck"),
                   Explosive("boom"), Disguised("masked")][x]  # fmt: skip

        errors = Pool().map(fail, range(len(raised)), errors="return")
        assert {type(error) for error in errors} == {TaskError}
        assert all(isinstance(error.__cause__, RemoteTraceback) for error in errors)
        assert all(
            type(r).__name__ in str(e.__cause__) for r, e in zip(raised, errors, strict=True)
        )
        return [error.reason for error in errors]

    assert world(script) == [
        "TwoArguments: salt and pepper",
        "Holding: locked",
        "Irreducible: stuck",
        "Explosive: boom",
        "Disguised: masked",
    ]


def test_what_can_not_be_sent_is_named_in_the_caller_and_the_pool_goes_on(world):
    def script():
        import threading

        from mpipool import UnpicklableError

        class Catalog:
            def __init__(self):
                self._lock = threading.Lock()

        class Result:
            def __init__(self):
                self.catalog = Catalog()

        class Mute:
            def __getstate__(self):
                raise RuntimeError("no state")

        lock = threading.Lock()
        paths = []
        for call in (
            lambda: Pool().map(lambda x: lock, [1]),
            lambda: Pool().scatterGather(max, [1], 2, [lock]),
            lambda: Pool().scatterGather(max, [1], key=lock),
            lambda: Pool().map(abs, [*range(2000), {"wcs": Result()}, *range(5)]),
            lambda: Pool().map(lambda x: Result(), [1]),
            lambda: Pool().map(lambda x: [Mute()], [1]),
            lambda: list(Pool().imap(abs, [1, lock])),
        ):
            try:
                call()
            except UnpicklableError as error:
                paths.append((error.what, error.path, error.kind.rpartition(".")[2]))
            assert Pool().map(abs, [-1, -2]) == [1, 2]
        return paths

    assert world(script) == [
        ("the function", "the function: closure variable 'lock'", "lock"),
        ("the function", "arguments[1][0]", "lock"),
        ("the function", "keywords['key']", "lock"),
        ("the item of task 2000 of abs", "item['wcs'].catalog._lock", "lock"),
        ("the result", "result.catalog._lock", "lock"),
        ("the result", "result[0]", "Mute"),
        ("the item of task 1 of abs", "item", "lock"),
    ]
