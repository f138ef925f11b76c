"""Single calls with a key: a graph which grows call by call is resumed like a map."""

import pytest

import mpipool
from pool.test_resume import ran, session


def work(folder, x, before=0):
    from pathlib import Path

    with open(Path(folder, "log"), "a") as log:
        log.write(f"{x}\n")
    if x == 13:
        raise ValueError("unlucky")
    with mpipool.output(Path(folder, f"{x}.txt")) as part:
        part.write_text(str(x * x))
    return x * x + before


def chain(folder, config=None, last=3):
    """Square numbers one after the other, each call given the result of the one before it."""
    from pathlib import Path

    from mpipool import Pool

    with Pool(checkpoint=Path(folder, "run.db")) as pool:
        future = 0
        for x in range(1, last + 1):
            options = {"stage": "square", "key": {"x": x}, "config": config, "cost": 1.0}
            future = pool.submit(work, folder, x, future, **options)
        return future.result()


def in_script(new_world, folder, function):
    world = new_world()
    result = world(lambda path: function(path), str(folder))
    assert world.close() == 0
    return result


def test_a_keyed_call_which_is_done_is_not_made_again(new_world, tmp_path):
    assert in_script(new_world, tmp_path, chain) == 14
    assert ran(tmp_path) == [1, 2, 3]
    assert in_script(new_world, tmp_path, chain) == 14
    assert ran(tmp_path) == []
    assert in_script(new_world, tmp_path, lambda path: chain(path, last=5)) == 55
    assert ran(tmp_path) == [4, 5]
    records = [(r.stage, r.data_id, r.state) for r in mpipool.read_records(tmp_path / "run.db")]
    assert sorted(records, key=str) == [("square", {"x": x}, "done") for x in range(1, 6)]


def test_another_configuration_or_a_lost_output_has_the_call_made_again(new_world, tmp_path):
    in_script(new_world, tmp_path, chain)
    ran(tmp_path)
    (tmp_path / "2.txt").unlink()
    assert in_script(new_world, tmp_path, chain) == 14
    assert ran(tmp_path) == [2]
    assert in_script(new_world, tmp_path, lambda path: chain(path, {"sigma": 3})) == 14
    assert ran(tmp_path) == [1, 2, 3]


def test_a_map_and_a_call_with_the_same_key_are_the_same_task(new_world, tmp_path):
    session(new_world, tmp_path)  # squares 0 to 11 in stage "square", of the same function's name
    ran(tmp_path)
    assert in_script(new_world, tmp_path, lambda path: chain(path, last=2)) == 4
    assert ran(tmp_path) == []


def test_a_keyed_call_that_failed_is_made_again_and_its_record_has_the_attempt(new_world, tmp_path):
    def unlucky(path):
        from pathlib import Path

        with mpipool.Pool(checkpoint=Path(path, "run.db")) as pool:
            call = pool.submit(work, path, 13, stage="square", key={"x": 13})
            return repr(call.exception())

    for attempt in (1, 2):
        assert in_script(new_world, tmp_path, unlucky) == "ValueError('unlucky')"
        assert ran(tmp_path) == [13]
        (record,) = mpipool.read_records(tmp_path / "run.db")
        assert (record.data_id, record.state, record.attempt) == ({"x": 13}, "failed", attempt)


def test_two_calls_with_one_key_at_once_are_refused(new_world, tmp_path):
    def twice(path):
        from pathlib import Path

        with mpipool.Pool(checkpoint=Path(path, "run.db")) as pool:
            first = pool.submit(work, path, 2, stage="square", key={"x": 2}, timeout=50)
            try:
                pool.submit(work, path, 2, stage="square", key={"x": 2})
            except mpipool.UsageError as error:
                first.result()
                again = pool.submit(work, path, 2, stage="square", key={"x": 2})
                return str(error), again.result(), first.reused, again.reused

    message, *result = in_script(new_world, tmp_path, twice)
    assert message == 'a call of square with the data ID {"x":2} is not over yet'
    assert result == [4, False, True]
    assert ran(tmp_path) == [2]


def test_keys_which_are_none_are_refused(world):
    def ask():
        from mpipool import Pool, UsageError

        said = []
        for options in ({"key": abs}, {"key": {"x": {1}}}, {"key": {"x": 1}, "keep": True}):
            try:
                Pool().submit(abs, 1, stage="square", **options)
            except UsageError as error:
                said.append(str(error))
        try:
            Pool().map(abs, [1], stage="square", key={"x": 1})
        except UsageError as error:
            said.append(str(error))
        return said

    single, json, keep, of_map = world(ask)
    assert single == "key= of a single call is its data ID, like {'visit': 1228}"
    assert "data ID of square" in json
    assert keep.startswith("keep= with key=")
    assert of_map == "key= of square is a function which makes the data ID of an item"


def test_what_is_done_can_be_asked_for_without_running_anything(new_world, tmp_path):
    def ask(path):
        from pathlib import Path

        with mpipool.Pool(checkpoint=Path(path, "run.db")) as pool:
            known = [pool.recorded(stage="square", key={"x": x}) for x in (3, 4)]
            return [future and (future.result(), future.reused) for future in known]

    in_script(new_world, tmp_path, chain)
    ran(tmp_path)
    assert in_script(new_world, tmp_path, ask) == [(14, True), None]
    assert ran(tmp_path) == []


def test_another_configuration_of_the_run_is_taken_over_if_that_is_said(new_world, tmp_path):
    def attach(path, config, **options):
        from pathlib import Path

        try:
            with mpipool.Pool(checkpoint=Path(path, "run.db"), config=config, **options) as pool:
                return pool.submit(work, path, 3, stage="square", key={"x": 3}).result()
        except mpipool.CheckpointMismatch as error:
            return str(error)

    def first(path):
        return attach(path, {"sigma": 3})

    def second(path):
        return attach(path, {"sigma": 4})

    def clobber(path):
        return attach(path, {"sigma": 4}, clobber_config=True)

    assert in_script(new_world, tmp_path, first) == 9
    assert "sigma: 3 → 4" in in_script(new_world, tmp_path, second)
    assert in_script(new_world, tmp_path, clobber) == 9
    assert ran(tmp_path) == [3], "what is done stays done"
    assert in_script(new_world, tmp_path, second) == 9
    assert "sigma: 4 → 3" in in_script(new_world, tmp_path, first)


def test_another_run_can_take_over_results(new_world, tmp_path):
    def large(folder):
        from pathlib import Path

        import numpy

        def make(x):
            with mpipool.output(Path(folder, f"{x}.txt")) as part:
                part.write_text("made")
            return numpy.full(100_000, x)

        with mpipool.Pool(checkpoint=Path(folder, "run.db")) as pool:
            pool.map(make, [5, 6], stage="large", key=lambda x: {"x": x, "inputs": "7f"})

    in_script(new_world, tmp_path, large)
    run = mpipool.RecordedRun(tmp_path / "run.db")
    assert sorted(key["x"] for key in run.data_ids("large")) == [5, 6]
    assert run.result("large", {"inputs": "7f", "x": 5}).sum() == 500_000
    with pytest.raises(KeyError):
        run.result("large", {"x": 5})
    (tmp_path / "5.txt").unlink()
    with pytest.raises(KeyError, match="an output of large"):
        run.result("large", {"x": 5, "inputs": "7f"})
    (tmp_path / "run.db").chmod(0o666)
    with pytest.raises(mpipool.CheckpointError, match="others may write to it"):
        mpipool.RecordedRun(tmp_path / "run.db")
