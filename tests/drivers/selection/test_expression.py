"""--where: what it selects, what it refuses, and that nothing typed gets into a statement."""

import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.selection.expression import (
    Column,
    Comparison,
    ExpressionError,
    IsNull,
    Joined,
    Not,
    Value,
    as_sql,
    parse_expression,
)

KINDS = {"visit": int, "seeing": float, "n_sources": int, "filter": str}
ROWS = [
    (visit, seeing, n, band)
    for visit, (seeing, n, band) in enumerate(
        (seeing, n, band)
        for seeing in (0.5, 0.9, 1.3, None)
        for n in (0, 50, 51)
        for band in ("g", "r", "it's")
    )
]


def selected(expression):
    where, values = as_sql(expression)
    connection = sqlite3.connect(":memory:")
    connection.execute(
        "CREATE TABLE t (visit INTEGER, seeing REAL, n_sources INTEGER, filter TEXT)"
    )
    connection.executemany("INSERT INTO t VALUES (?, ?, ?, ?)", ROWS)
    rows = connection.execute(f"SELECT visit FROM t WHERE {where} ORDER BY visit", values)
    return [visit for (visit,) in rows]


@pytest.mark.parametrize(
    ("text", "fits"),
    [
        ("seeing < 0.9 and n_sources > 50", lambda s, n, b: s is not None and s < 0.9 and n > 50),
        ("seeing<=.9 AND NOT filter='g'", lambda s, n, b: s is not None and s <= 0.9 and b != "g"),
        (
            "filter = 'g' or filter = 'r' and n_sources = 0",
            lambda s, n, b: b == "g" or (b == "r" and n == 0),
        ),
        ("(filter = 'g' or filter = 'r') and n_sources = 0", lambda s, n, b: b in "gr" and n == 0),
        ("seeing is null", lambda s, n, b: s is None),
        ("seeing is not null and n_sources <> 5e1", lambda s, n, b: s is not None and n != 50),
        ('filter == "it\'s"', lambda s, n, b: b == "it's"),
        ("-1 < n_sources and n_sources >= visit", None),
        ("not (seeing > 1)", lambda s, n, b: s is not None and s <= 1),
    ],
)  # fmt: skip
def test_what_is_true_is_selected(text, fits):
    expected = [
        visit for visit, seeing, n, band in ROWS if (fits(seeing, n, band) if fits else n >= visit)
    ]
    assert selected(parse_expression(text, KINDS)) == expected


def test_and_binds_closer_than_or_and_not_closest():
    tree = parse_expression("not visit = 1 and visit = 2 or seeing is null", KINDS)
    one, two = (Comparison(Column("visit"), "=", Value(n)) for n in (1, 2))
    assert tree == Joined("OR", (Joined("AND", (Not(one), two)), IsNull(Column("seeing"))))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("seing < 1", "at 'seing < 1': there is no column 'seing' (a text stands in quotes); "
                      "there are visit, seeing, n_sources, filter"),
        ("filter = g", "there is no column 'g'"),
        ("visit = 1; DROP TABLE raw", "at '; DROP TABLE raw': this is neither a column"),
        ("visit", "a comparison is missing"),
        ("visit <", "a column or a value is missing"),
        ("(visit < 3", "')' is missing"),
        ("visit < 3)", "'and' or 'or' is missing"),
        ("visit < 3 seeing > 1", "'and' or 'or' is missing"),
        ("", "a column or a value is missing"),
        ("filter < 3", "filter is a text: compare it with one in quotes"),
        ("'a' = seeing", "seeing is a number"),
        ("visit is 3", "only 'null' can stand behind 'is'"),
        ("visit = 3x", "this is neither a column"),
        ("visit = (SELECT 1)", "a column or a value is missing"),
        ("(" * 80 + "visit = 1" + ")" * 80, "too many brackets"),
        ("not " * 3000 + "visit = 1", "too many brackets"),
    ],
)  # fmt: skip
def test_what_can_not_be_understood_is_a_sentence(text, says):
    with pytest.raises(ExpressionError) as caught:
        parse_expression(text, KINDS)
    assert says in str(caught.value)


@given(st.text(alphabet="avisting <>=()'\"0.5;-*/%", max_size=40))
def test_anything_is_read_or_refused_and_is_a_legal_condition(text):
    try:
        tree = parse_expression(text, KINDS)
    except ExpressionError:
        return
    selected(tree)


@given(st.text(max_size=20).filter(lambda text: "'" not in text))
def test_a_text_is_a_parameter(text):
    where, values = as_sql(parse_expression(f"filter = '{text}'", KINDS))
    assert (where, values) == ("filter = ?", [text])
