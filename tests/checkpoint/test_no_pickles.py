"""Anybody may look at a run: what only reads loads no pickle."""

import os
import pickle

import pytest

from checkpoint.run_builders import failure, key, opened, record, scatter
from mpipool.checkpoint.results import publish_result
from mpipool.cli import VERBS, main


class Bomb:
    def __init__(self, sign):
        self.sign = sign

    def __reduce__(self):
        return os.mkdir, (self.sign,)


@pytest.fixture
def mined(path, tmp_path):
    """A run with a pickle that leaves a sign in each column that can hold it, and each file."""
    sign = str(tmp_path / "went off")
    bomb = pickle.dumps(Bomb(sign))
    results = str(tmp_path / "results")
    held = opened(path)
    held.open_scatter(scatter(7))
    held.add_ranks([(0, "node1", 11)])
    text = bomb.decode("latin-1")
    said = {"error": text, "message": text, "traceback": text, "stderr": text}
    held.append([
        record(0, digest=key(0), result=bomb, data_id='{"ccd":0}'),
        record(1, digest=key(1), result_file=publish_result(results, "ab.1", bomb)),
        failure(2, digest=key(2), result=bomb, **said),
    ])  # fmt: skip
    held.close("exit 1")
    pickle.loads(bomb)
    os.rmdir(sign)  # so it is one
    return path, sign


READING = {
    "status": [[], ["--json"]],
    "failed": [[], ["--json"], ["--traceback"], ["--stage", "frame"]],
}


def test_every_verb_that_reads_a_run_is_tried_here():
    assert {verb.NAME for verb in VERBS} - {"run", "submit", "plan"} == set(READING)


@pytest.mark.parametrize(
    "words", [[verb, *more] for verb, every in READING.items() for more in every], ids=" ".join
)
def test_verbs_which_only_read_load_no_pickle(mined, words, capsys):
    path, sign = mined
    verb, *more = words
    assert main([verb, path, *more]) == 0
    assert capsys.readouterr().out
    assert not os.path.exists(sign)
