"""The page on solutions names what there is."""

from pathlib import Path

import pytest

from drivers.configuration import ExposureConfig, MosaicConfig

PAGE = Path(__file__).parents[3].joinpath("docs", "solutions.md").read_text()
SETTINGS = [
    (section, name, field.get_default(call_default_factory=True))
    for section, config in (("exposure", ExposureConfig), ("mosaic", MosaicConfig))
    for name, field in config.model_fields.items()
]


@pytest.mark.parametrize(("section", "name", "default"), SETTINGS)
def test_every_setting_is_in_its_table_with_its_default(section, name, default):
    text = "none" if default == {} else f"{default:g}"
    table = PAGE.split(f"| of `{section}` |")[1].split("\n\n")[0]
    assert f"\n| `{name}` | {text} |" in table
