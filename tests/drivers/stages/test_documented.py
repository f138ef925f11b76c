"""The page on single frames names what there is."""

import json
from pathlib import Path

import pytest

from drivers.configuration import SingleFrameConfig
from drivers.exposure import MASK_PLANES
from drivers.measurement.catalog import source_columns
from drivers.psf_fitting import _STARS_FOR
from drivers.psf_model import SIZE

PAGE = Path(__file__).parents[3].joinpath("docs", "single-frame.md").read_text()


def settings(section, prefix=""):
    for name, field in section.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from settings(field.annotation, f"{prefix}{name}.")
        else:
            yield prefix + name, field.get_default(call_default_factory=True)


@pytest.mark.parametrize(("name", "default"), list(settings(SingleFrameConfig)))
def test_every_setting_is_in_the_table_with_its_default(name, default):
    text = json.dumps(default).strip('"')
    if isinstance(default, tuple):
        text = ",".join(f"{value:g}" for value in default)
    if default == {}:
        text = "none"
    assert f"| `{name}` | {text} |" in PAGE


def test_every_column_and_every_mask_plane_is_described():
    assert [name for name in source_columns(1).names if f"`{name}`" not in PAGE] == []
    for plane, place in MASK_PLANES.items():
        assert f"| {plane} | {place} |" in PAGE


def test_numbers_of_stars_and_pixels_are_those_of_the_code():
    assert f"{SIZE} x {SIZE} pixels" in PAGE
    first, second = _STARS_FOR[1], _STARS_FOR[2]
    assert f"({first} stars for the first order, {second} for the second)" in PAGE
