"""The recipes of docs/checkpoint.md do what their titles say."""

import re
from pathlib import Path

import pytest

from checkpoint.run_builders import failure, key, opened, query, record, scatter

DOCUMENT = Path(__file__).parents[2] / "docs" / "checkpoint.md"
RECIPES = dict(
    re.findall(r"^([^\n]+):\n\n```sql\n(.*?)```$", DOCUMENT.read_text(), re.MULTILINE | re.DOTALL)
)

EXPECTED = {
    "Which CCDs of visit 1228 failed, and why": [
        (2, "ValueError", "no stars"),
        (10, "MemoryError", "too large"),
    ],
    "How far each stage is": [("frame", "done", 2), ("frame", "failed", 3), ("frame", "lost", 1)],
    "A metric, from what tasks recorded": [
        ('{"ccd":1,"visit":1228}', 0.9),
        ('{"ccd":0,"visit":1228}', 0.6),
    ],
    "The story of one task, through all sessions": [
        (1, 1, "failed", "node1", "OSError", 2.0),
        (2, 2, "failed", "node2", "ValueError", 5.5),
    ],
    "What was slowest, and what needed most memory (MiB)": [("frame", 5.5, 512)],
    "Which errors there are, most frequent first": [
        ("ValueError", 2, "no stars"),
        ("MemoryError", 1, "too large"),
    ],
    "Which ranks worked on which scatter, and when": [
        (8, 1, 1, 1004.0, 1009.5),
        (8, 0, 2, 1010.0, 1015.0),
    ],
    "Which hosts failures came from, in each session": [
        (1, "node1", 3),
        (2, "node2", 1),
    ],
}


def data_id(ccd, visit=1228):
    return f'{{"ccd":{ccd},"visit":{visit}}}'


@pytest.fixture
def run(path):
    held = opened(path)
    held.add_ranks([(1, "node1", 11)])
    held.open_scatter(scatter(7))
    held.append([
        record(0, digest=key(0), data_id=data_id(0), metrics='{"seeing":0.6}'),
        failure(2, digest=key(2), data_id=data_id(2), error="OSError"),
        failure(3, digest=key(3), data_id=data_id(3, 1229), peak_memory=512 * 1024),
        failure(9, digest=key(9), data_id=data_id(10), error="MemoryError", message="too large"),
    ])  # fmt: skip
    held.close("failed")
    held = opened(path)
    held.add_ranks([(1, "node2", 12)])
    held.open_scatter(scatter(8))
    held.append([
        failure(4, scatter=8, digest=key(2), data_id=data_id(2), attempt=2, finished=1009.5),
        record(10, scatter=8, digest=key(1), data_id=data_id(1), rank=0, metrics='{"seeing":0.9}'),
        record(13, scatter=8, digest=key(1), data_id=data_id(1), rank=0, state="failed"),
    ])  # fmt: skip
    held.append([record(13, scatter=8, rank=0, state="lost", error=None)])
    held.close("done")
    return path


@pytest.mark.parametrize("title", RECIPES)
def test_a_recipe_answers_its_question(run, title):
    assert query(run, RECIPES[title]) == EXPECTED[title]


def test_there_is_an_expectation_for_each_recipe():
    assert RECIPES.keys() == EXPECTED.keys()
