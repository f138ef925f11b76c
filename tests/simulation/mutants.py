"""Breaks the decisions on purpose: ``python -m simulation.mutants [COUNT] [MODULE ...]``.

Each mutant is one small change in one module: a comparison or condition turned round, a statement
left out, a number off by one. It runs seeds until one fails, in a process of its own. What none
notices is printed: dead code, something that only costs time, or a gap in what is checked.
"""

from __future__ import annotations

import ast
import importlib
import random
import signal
import sys
from collections.abc import Iterator
from multiprocessing import Pool
from typing import Final, NamedTuple

from simulation.cases import Case
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
SECONDS: Final = 60
"""For a mutant, which then counts as noticed: it goes on for ever."""
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
    """Run seeds with a mutant, in this process; return what has noticed it, if anything has."""
    tree = _tree(mutant.module)
    for number, _ in enumerate(changes(tree)):
        if number == mutant.number:
            break
    code = compile(ast.fix_missing_locations(tree), f"<{mutant.module}>", "exec")
    _replace(mutant.module, code)
    signal.signal(signal.SIGALRM, _give_up)
    signal.alarm(SECONDS)
    try:
        for seed in range(SEEDS):
            for kind in KINDS:
                if failure_of(Case(kind, seed)):
                    return mutant, f"{kind} {seed}"
    except TimeoutError:
        return mutant, "it goes on for ever"
    except BaseException as error:
        return mutant, repr(error)
    finally:
        signal.alarm(0)
    return mutant, ""


def _tree(module: str) -> ast.Module:
    with open(str(importlib.import_module(module).__file__), encoding="utf-8") as source:
        return ast.parse(source.read())


def _replace(module: str, code: object) -> None:
    """Let the classes of a module have the functions of the changed one."""
    original = importlib.import_module(module)
    changed = dict(vars(original))
    exec(code, changed)
    for name, made in changed.items():
        there = getattr(original, name, None)
        if not isinstance(made, type) or there is made or not isinstance(there, type):
            if callable(made) and getattr(made, "__module__", "") == module and there is not made:
                there.__code__ = made.__code__
            continue
        for attribute, value in vars(made).items():
            if callable(value) or isinstance(value, property):
                setattr(there, attribute, value)


def _give_up(*_: object) -> None:
    raise TimeoutError


def main(arguments: list[str]) -> int:
    """Try so many mutants, and print those which nothing has noticed."""
    count = int(arguments[0]) if arguments else 60
    every = [mutant for module in arguments[1:] or MODULES for mutant in mutants_of(module)]
    chosen = random.Random(1).sample(every, min(count, len(every)))
    survivors = 0
    with Pool(2, maxtasksperchild=1) as workers:
        for mutant, noticed in workers.imap_unordered(verdict, chosen, 1):
            survivors += not noticed
            if not noticed:
                print(f"{mutant.module}:{mutant.line} {mutant.what}: not noticed", flush=True)
    print(f"{len(chosen) - survivors} of {len(chosen)} mutants were noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
