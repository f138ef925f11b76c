"""Breaks the decisions on purpose: ``python -m simulation.mutants [COUNT [SEED [MODULE ...]]]``.

Each mutant is one small change in one module: a comparison or condition turned round, a statement
left out, a number off by one. It runs seeds until one fails, in a process of its own; if none does,
the unit tests, which also notice what only costs time. Printed is what no seed notices, and whether
a test does. What neither does is dead code, or a gap in what is checked, unless `mutants_known`
says why not.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import io
import linecache
import random
import signal
import sys
from collections import Counter
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Final, NamedTuple

import pytest

from simulation.cases import Case
from simulation.mutants_known import KNOWN
from simulation.plans import KINDS
from simulation.shrinking import failure_of

MODULES: Final = (
    "mpipool.scheduler.machine", "mpipool.scheduler.cores", "mpipool.scheduler.spots",
    "mpipool.scheduler.stores", "mpipool.scheduler.holdings", "mpipool.scheduler.stall",
    "mpipool.group.scatter", "mpipool.group.waiting", "mpipool.group.member", "mpipool.group.gang",
    "mpipool.leading", "mpipool.serving",
)  # fmt: skip
SEEDS: Final = 30
"""Of each kind of plan, for a mutant."""
DEFAULTS: Final = ("60", "1")
"""How many mutants, and the seed by which they are drawn."""
SECONDS: Final = 60
"""For a mutant, which then counts as noticed: it goes on for ever."""
TESTS: Final = {
    "mpipool.scheduler": ["tests/scheduler"],
    "mpipool.group": ["tests/group", "tests/test_serving.py", "tests/test_leading.py"],
    "mpipool": ["tests/test_serving.py", "tests/test_leading.py", "tests/test_ganging.py"],
}
"""By package, the unit tests which are to notice what no seed does."""
NONE: Final = -1
FEW: Final = 3
"""Seeds of each kind with nothing changed."""
UNNOTICED: Final = "nothing notices it"
TURNED: Final = {
    ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE, ast.LtE: ast.Gt, ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot, ast.IsNot: ast.Is,
}  # fmt: skip


class Mutant(NamedTuple):
    """One change."""

    module: str
    line: int
    what: str
    number: int
    """Which of the changes of the module it is."""


def changes(tree: ast.Module) -> Iterator[tuple[ast.AST, str]]:
    """Make the changes of a module one after the other, each undone before the next one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Compare) and type(node.ops[0]) in TURNED:
            before, node.ops = node.ops, [TURNED[type(node.ops[0])](), *node.ops[1:]]
            yield node, "comparison turned round"
            node.ops = before
        elif isinstance(node, ast.If):
            test, node.test = node.test, ast.UnaryOp(ast.Not(), node.test)
            yield node, "condition turned round"
            node.test = test
        elif isinstance(node, ast.BoolOp):
            op, node.op = node.op, ast.And() if isinstance(node.op, ast.Or) else ast.Or()
            yield node, "and/or exchanged"
            node.op = op
        elif isinstance(node, ast.AugAssign) and isinstance(node.op, ast.Add | ast.Sub):
            op, node.op = node.op, ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
            yield node, "+= and -= exchanged"
            node.op = op
        elif isinstance(node, ast.FunctionDef):
            yield from _left_out(node)


def _left_out(function: ast.FunctionDef) -> Iterator[tuple[ast.AST, str]]:
    for at, statement in enumerate(function.body):
        is_call = isinstance(statement, ast.Expr) and isinstance(statement.value, ast.Call)
        if is_call or isinstance(statement, ast.AugAssign):
            function.body[at] = ast.Pass()
            yield statement, "left out"
            function.body[at] = statement


def mutants_of(module: str) -> list[Mutant]:
    """List the changes of a module."""
    return [
        Mutant(module, node.lineno, what, number)
        for number, (node, what) in enumerate(changes(_tree(module)))
    ]


def verdict(mutant: Mutant) -> tuple[Mutant, str]:
    """Run seeds with a mutant, in this process; return what there is to say if none has failed.

    With the number `NONE` nothing is changed, and no seed may fail.
    """
    tree = _tree(mutant.module)
    for number, _ in enumerate(changes(tree)):
        if number == mutant.number:
            break
    code = compile(ast.fix_missing_locations(tree), f"<{mutant.module}>", "exec")
    _replace(mutant.module, code)
    if mutant.number == NONE:
        return mutant, "" if _fails_with_a_seed(FEW) else UNNOTICED
    if _fails_with_a_seed(SEEDS):
        return mutant, ""
    return mutant, _known(mutant) or _test_that_fails(mutant.module) or UNNOTICED


def _fails_with_a_seed(seeds: int) -> bool:
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SECONDS)
    try:
        return any(failure_of(Case(kind, seed)) for seed in range(seeds) for kind in KINDS)
    except BaseException:  # TimeoutError among them: it goes on for ever
        return True
    finally:
        signal.alarm(0)


def _known(mutant: Mutant) -> str:
    """Return why it is known that no seed notices it."""
    path = str(importlib.import_module(mutant.module).__file__)
    line = linecache.getline(path, mutant.line).strip()
    reason = KNOWN.get((mutant.module, line, mutant.what))
    return f"known: {reason}" if reason else ""


class _FirstFailure:
    """A plugin of pytest which notes what fails."""

    name = ""

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.failed and not self.name:
            self.name = report.nodeid


def _test_that_fails(module: str) -> str:
    package = module.rpartition(".")[0]
    plain, first = ["-x", "-q", "-p", "no:cacheprovider", "-p", "no:randomly"], _FirstFailure()
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pytest.main([*plain, *TESTS[package]], plugins=[first])
    return f"but by {first.name}" if first.name else ""


def _tree(module: str) -> ast.Module:
    with open(str(importlib.import_module(module).__file__), encoding="utf-8") as source:
        return ast.parse(source.read())


def _replace(module: str, code: object) -> None:
    """Let the classes of a module have the functions of the changed one."""
    original = importlib.import_module(module)
    changed = dict(vars(original))
    exec(code, changed)
    for name, made in list(changed.items()):
        there = getattr(original, name, None)
        if not isinstance(made, type) or there is made or not isinstance(there, type):
            if callable(made) and getattr(made, "__module__", "") == module and there is not made:
                there.__code__ = made.__code__
                changed[name] = there
            continue
        for attribute, value in vars(made).items():
            if callable(value) or isinstance(value, property):
                setattr(there, attribute, value)
        changed[name] = there  # what it makes is of the class that everybody knows


def _give_up(*_: object) -> None:
    raise TimeoutError


def main(arguments: list[str]) -> int:
    """Try so many mutants, and print those which no seed has noticed; return 1 if nothing has."""
    count, seed = (int(text) for text in (*arguments[:2], *DEFAULTS[len(arguments) :]))
    every = [mutant for module in arguments[2:] or MODULES for mutant in mutants_of(module)]
    chosen = random.Random(seed).sample(every, min(count, len(every)))
    left: Counter[str] = Counter()
    with Pool(2, maxtasksperchild=1) as workers:
        same = [Mutant(module, 0, "nothing changed", NONE) for module in MODULES]
        for mutant, said in workers.imap_unordered(verdict, same, 1):
            assert said, f"seeds fail with {mutant.module} as it is: try them without mutants first"
        for mutant, said in workers.imap_unordered(verdict, chosen, 1):
            left[said.partition(" ")[0]] += 1
            if said:
                print(f"{mutant.module}:{mutant.line} {mutant.what}: {said}", flush=True)
    print(
        f"{left['']} of {len(chosen)} mutants were noticed by a seed, {left['but']} by a test, "
        f"{left['known:']} are known not to be, {left['nothing']} were not noticed"
    )
    return left["nothing"] > 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
