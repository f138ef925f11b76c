"""The tree's rules which no linter checks: lengths, names, and who imports mpi4py."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

SOURCE = Path(__file__).parent.parent / "src"
MODULES = sorted(SOURCE.rglob("*.py"))
MAX_MODULE = 400
MAX_FUNCTION = 40
MOST_FUNCTIONS = 25
FORBIDDEN_NAMES = {"utils", "util", "common", "core", "base", "helpers", "helper", "manager"}


def functions():
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield module, node


def length(node):
    docstring = ast.get_docstring(node, clean=False)
    lines = node.end_lineno - node.lineno + 1
    return lines - (docstring.count("\n") + 1 if docstring else 0)


def is_a_table(node):
    """A function which is hardly more than one match statement is a table, and may be long."""
    return any(
        isinstance(statement, ast.Match)
        and statement.end_lineno - statement.lineno + 1 > 0.8 * length(node)
        for statement in node.body
    )


def test_there_is_a_tree_to_look_at():
    assert len(MODULES) > 40


@pytest.mark.parametrize("module", MODULES, ids=lambda path: str(path.relative_to(SOURCE)))
def test_a_module_is_within_400_lines(module):
    assert len(module.read_text().splitlines()) <= MAX_MODULE


def test_no_function_is_longer_than_40_lines():
    long = [
        f"{module.relative_to(SOURCE)}:{node.lineno} {node.name}: {length(node)}"
        for module, node in functions()
        if length(node) > MAX_FUNCTION and not is_a_table(node)
    ]
    assert not long


def test_nine_functions_in_ten_are_within_25_lines():
    lengths = [length(node) for _, node in functions()]
    assert sum(lines <= MOST_FUNCTIONS for lines in lengths) >= 0.9 * len(lengths)


def test_modules_are_named_after_what_they_hold():
    assert not [module for module in MODULES if module.stem in FORBIDDEN_NAMES]


def test_one_module_imports_mpi4py():
    importers = [
        str(module.relative_to(SOURCE))
        for module in MODULES
        if re.search(r"^\s*(from|import) mpi4py", module.read_text(), re.MULTILINE)
    ]
    assert importers == ["mpipool/transport/mpi.py"]


def test_no_machine_path_stands_in_the_tree():
    root = SOURCE.parent
    suspicious = re.compile(r"/(work|root|home)/\w")
    found = [
        f"{path.relative_to(root)}: {match[0]}"
        for folder in ("src", "docs", "benchmarks", "batch")
        for path in sorted((root / folder).rglob("*"))
        if path.suffix in {".py", ".md", ".toml", ".sql"}
        for match in suspicious.finditer(path.read_text())
    ]
    assert not found
