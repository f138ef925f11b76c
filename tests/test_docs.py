"""The documentation's Python runs, and prints what it says."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"```python\n(.*?)```(.*?)(?=```python|\Z)", re.DOTALL)
PRINTS = re.compile(r"\Aprints `([^`]+)`|\Aprints\s+```text\n(.*?)```", re.DOTALL)


def run(code, folder):
    script = folder / "script.py"
    script.write_text(code)
    done = subprocess.run(
        [sys.executable, script], cwd=folder, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.long
def test_the_tutorial_prints_what_it_says(tmp_path):
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    blocks = BLOCK.findall(tutorial)
    assert len(blocks) >= 5
    for code, after in blocks:
        said = PRINTS.search(after.strip())
        assert said, f"nothing is said of what this prints:\n{code}"
        assert run(code, tmp_path) == (said[1] or said[2]).strip()


@pytest.mark.long
def test_the_tutorials_checkpoint_is_resumed_as_it_says(tmp_path):
    tutorial = (ROOT / "docs" / "tutorial.md").read_text()
    code = next(code for code, _ in BLOCK.findall(tutorial) if "checkpoint" in code)
    assert run(code, tmp_path) == "5 done, 0 before"
    assert run(code, tmp_path) == "0 done, 5 before"
    (tmp_path / "out" / "3.txt").unlink()
    assert run(code, tmp_path) == "1 done, 4 before"


def test_the_readmes_script_runs(tmp_path):
    ((code, _),) = BLOCK.findall((ROOT / "README.md").read_text())
    assert run(code, tmp_path) == "[406, 806, 1206]"


@pytest.mark.parametrize("page", ["README.md", *map(str, Path(ROOT, "docs").rglob("*.md"))])
def test_links_lead_somewhere(page):
    path = ROOT / page
    for target in re.findall(r"\]\((?!http)([^)#]+)", path.read_text()):
        assert (path.parent / target).exists(), f"{page} links to {target}"


def test_the_page_how_it_works_names_every_module():
    page = (ROOT / "docs" / "how-it-works.md").read_text()
    for module in (ROOT / "src" / "mpipool").iterdir():
        if module.suffix == ".py" and module.stem != "__init__":
            assert f"`{module.stem}`" in page, f"{module.name} is missing"
        elif (module / "__init__.py").exists():
            assert f"`{module.name}/`" in page, f"{module.name}/ is missing"
