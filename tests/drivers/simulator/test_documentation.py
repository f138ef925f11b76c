"""The page on the simulated survey says what the code does."""

import re
from pathlib import Path

import pytest

from drivers.make_survey import parse
from drivers.simulator.photometry import COLOUR_TERMS
from drivers.simulator.reference import HALF_COMPLETE, REFERENCE
from drivers.simulator.survey import EFFECTS

PAGE = (Path(__file__).parents[3] / "docs" / "simulated-survey.md").read_text()


def test_each_effect_is_described():
    assert not [effect for effect in EFFECTS if f"[`{effect}`]" not in PAGE]
    assert set(re.findall(r"\[`(\w+)`\]", PAGE)) == set(EFFECTS)


def test_the_defaults_are_those_of_the_command():
    rows = re.findall(r"^\| `(--[a-z-]+)`(?:, `(--\w+)`)? \| ([^|]+) \|", PAGE, re.MULTILINE)
    said = {}
    for first, second, values in rows:
        values = values.strip()
        if second:
            values, said[second] = values.split(", ")
        said[first] = values
    said = {option: value for option, value in said.items() if value}
    assert len(said) == 12
    words = [word for option, value in said.items() for word in (option, value)]
    assert parse(["repo", *words]) == parse(["repo"])


def test_the_colour_terms_are_those_of_the_filters():
    rows = re.findall(r"^\| ([a-z]) \| (-?0\.\d+) \| (-?0\.\d+) \|$", PAGE, re.MULTILINE)
    assert {band: (float(a), float(b)) for band, a, b in rows} == dict(COLOUR_TERMS)


@pytest.mark.parametrize("name", ["id", "ra", "ra_err", "pm_ra", "epoch", "ref_g", "ref_g_err"])
def test_the_columns_of_the_reference_are_named(name):
    assert name in REFERENCE.names
    assert f"`{name}`" in PAGE
    assert f"missing at {HALF_COMPLETE}" in PAGE.replace("\n", " ")
