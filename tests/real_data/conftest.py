"""The real frames are read in place; where there are none, the tests skip with that reason."""

from pathlib import Path

import pytest

DATA = Path(__file__).resolve().parents[2].parent / "shared" / "data"


def pytest_collection_modifyitems(items):
    here = Path(__file__).parent
    for item in items:
        if here in item.path.parents:
            item.add_marker(pytest.mark.real_data)
            if not DATA.is_dir():
                item.add_marker(pytest.mark.skip(reason="no real frames in ../shared/data"))


@pytest.fixture(scope="session")
def data():
    return DATA
