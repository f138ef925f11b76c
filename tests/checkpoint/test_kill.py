"""Killed at any moment, nothing is missing that was acknowledged."""

import pytest

from checkpoint.run_builders import child, key, opened, query

WRITE = """
import mpipool.checkpoint.connection as connection
connection.shared_memory_works = lambda path: sys.argv[3] == "log"
held, number = opened(sys.argv[1]), int(sys.argv[2])
while True:
    batch = [record(task, digest=key(task)) for task in range(number, number + 5)]
    held.append(batch)
    print(number + 5, flush=True)
    number += 5
"""


@pytest.mark.parametrize("journal", ["log", "rollback"])
def test_a_writer_that_is_killed_loses_nothing_it_acknowledged(path, journal):
    done = 0
    for commits in (0, 1, 7, 40):
        writer = child(WRITE, path, done, journal)
        for _ in range(1 + commits):
            acknowledged = int(writer.stdout.readline())
        writer.kill()
        rest = writer.stdout.read().split("\n")[:-1]
        writer.wait()
        acknowledged = int(rest[-1]) if rest else acknowledged
        held = opened(path, wait=0.0)
        found = held.find([key(number) for number in range(acknowledged + 10)])
        held.close("done")
        # The batch that was being committed may be there too, and then as a whole.
        done = sum(item is not None for item in found)
        assert done in {acknowledged, acknowledged + 5}
        assert all(found[:done])
        assert query(path, "PRAGMA integrity_check") == [("ok",)]
    [(rows, different)] = query(path, "SELECT count(*), count(DISTINCT digest) FROM attempt")
    assert rows == different == done
