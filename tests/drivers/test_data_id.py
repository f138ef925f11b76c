"""What --id selects."""

import contextlib
import sqlite3

import pytest
from hypothesis import given
from hypothesis import strategies as st

from drivers.data_id import DataIdError, One, Span, compact, condition, parse_selection

KINDS = {"visit": int, "ccd": int, "filter": str, "exptime": float}

numbers = st.integers(-20, 60)
spans = st.tuples(numbers, numbers, st.none() | st.integers(1, 7)).filter(lambda s: s[0] <= s[1])
terms = st.lists(numbers | spans, min_size=1, max_size=4)


def text_of(term):
    if isinstance(term, int):
        return str(term)
    first, last, step = term
    return f"{first}..{last}" + (f":{step}" if step else "")


def members(term):
    if isinstance(term, int):
        return {term}
    first, last, step = term
    return set(range(first, last + 1, step or 1))


def selected(selections, rows):
    connection = sqlite3.connect(":memory:")
    connection.execute("CREATE TABLE raw (visit INTEGER, ccd INTEGER, filter TEXT, exptime REAL)")
    connection.executemany("INSERT INTO raw VALUES (?, ?, ?, ?)", rows)
    where, values = condition(selections)
    return connection.execute(f"SELECT * FROM raw WHERE {where}", values).fetchall()


@given(terms, terms)
def test_a_selection_has_the_frames_of_which_every_key_fits_an_alternative(visits, ccds):
    words = [
        "visit=" + "^".join(map(text_of, visits)),
        "ccd=" + "^".join(map(text_of, ccds)),
    ]
    rows = [(visit, ccd, "g", 1.0) for visit in range(-21, 62, 3) for ccd in range(-2, 30, 5)]
    expected = [
        row
        for row in rows
        if any(row[0] in members(term) for term in visits)
        and any(row[1] in members(term) for term in ccds)
    ]
    assert selected([parse_selection(words, KINDS)], rows) == expected


@given(st.sets(st.integers(-50, 50), min_size=1))
def test_what_compact_writes_is_read_as_the_same_values(values):
    text = compact(sorted(values), limit=1000)
    selection = parse_selection([f"visit={text}"], KINDS)
    rows = [(visit, 0, "g", 1.0) for visit in range(-60, 60)]
    assert {row[0] for row in selected([selection], rows)} == values


@given(st.text(max_size=30))
def test_any_text_is_either_understood_or_refused(text):
    with contextlib.suppress(DataIdError):
        where, values = condition([parse_selection([f"visit={text}"], KINDS)])
        assert where.count("?") == len(values) >= 1


def test_the_example_of_the_manual():
    assert parse_selection(["visit=1228^1230..1236:2", "ccd=0..103", "filter=g"], KINDS) == {
        "visit": (One(1228), Span(1230, 1236, 2)),
        "ccd": (Span(0, 103),),
        "filter": (One("g"),),
    }


def test_several_ids_select_what_any_of_them_does_and_none_selects_all():
    rows = [(1, 0, "g", 30.0), (2, 0, "r", 60.0), (3, 1, "i", 90.0)]
    two = [parse_selection(["visit=1"], KINDS), parse_selection(["filter=i", "ccd=1"], KINDS)]
    assert selected(two, rows) == [rows[0], rows[2]]
    assert selected([], rows) == rows
    assert selected([parse_selection([], KINDS)], rows) == rows
    assert selected([parse_selection(["exptime=50..95"], KINDS)], rows) == rows[1:]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["visit"], "not of the form"),
        (["visit="], "not of the form"),
        (["=3"], "not of the form"),
        (["vist=3"], "there is no 'vist'; there are visit, ccd"),
        (["visit=3", "visit=4"], "stands twice"),
        (["visit=3^"], "a value is empty"),
        (["visit=abc"], "'abc' is not a whole number"),
        (["filter=g..r"], "text has no ranges"),
        (["visit=3..1"], "ends before it begins"),
        (["visit=1..9:0"], "not a positive whole number"),
        (["visit=1..9:x"], "not a positive whole number"),
        (["visit=1.."], "not a whole number"),
        (["visit=1_0"], "not a whole number"),
        (["exptime=x"], "not a number"),
        (["exptime=1..5:2"], "not a positive whole number"),
        (["visit=99999999999999999999"], "not a whole number"),
    ],
)
def test_a_bad_id_is_refused_with_what_is_wrong(words, says):
    with pytest.raises(DataIdError, match="--id") as caught:
        parse_selection(words, KINDS)
    assert says in str(caught.value)


def test_compact_shortens_long_lists():
    assert compact([1, 2, 3, 7, 9, 10]) == "1..3^7^9..10"
    assert compact(["g", "r"]) == "g^r"
    assert compact(list(range(0, 60, 2)), limit=3) == "0^2^4 and 27 more"
