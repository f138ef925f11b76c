"""The page on these names runs, and prints what it says."""

from __future__ import annotations

import pytest

from test_docs import BLOCK, PRINTS, ROOT, run

BLOCKS = BLOCK.findall((ROOT / "docs" / "ctrl_pool.md").read_text())


@pytest.mark.parametrize("block", range(len(BLOCKS)))
def test_the_page_prints_what_it_says(block, tmp_path):
    code, after = BLOCKS[block]
    said = PRINTS.search(after.strip())
    assert run(code, tmp_path) == (said[1] or said[2]).strip()
