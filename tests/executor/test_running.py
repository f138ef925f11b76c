import json

from mpipool.executor.running import Running


def test_what_a_task_says_while_another_waits_is_its_own():
    """Both begin without anything said: then the containers must not be the same ones."""
    running = Running()
    running.begin(1, 1, 0, 0)
    aside = running.put_aside()
    running.begin(1, 1, 5, 3)
    running.metrics["stars"] = 7
    running.outputs.append(("a.part", "a"))
    running.become(aside)
    assert json.dumps([running.metrics, running.outputs, running.task]) == "[{}, [], 0]"


def test_what_a_task_has_said_is_there_after_another_one():
    running = Running()
    running.begin(1, 1, 0, 0)
    running.metrics["stars"] = 7
    aside = running.put_aside()
    running.begin(1, 1, 5, 3)
    running.become(aside)
    assert running.metrics == {"stars": 7}
