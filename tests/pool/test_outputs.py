"""Files through `mpipool.output`: whole under their own name, or not there."""

import mpipool
from mpipool import Pool


def test_an_output_has_its_name_when_the_map_returns(world, tmp_path):
    def script(folder):
        from pathlib import Path

        def work(x):
            final = Path(folder, "deep", f"{x}.txt")
            with mpipool.output(final) as part:
                assert part.parent == final.parent
                assert part.name.startswith(f".{x}.txt.")
                part.write_text(str(x))
                assert not final.exists()

        Pool().map(work, range(20))
        return sorted(path.name for path in Path(folder, "deep").iterdir())

    assert world(script, str(tmp_path)) == sorted(f"{x}.txt" for x in range(20))


def test_a_task_that_fails_leaves_no_file_whether_it_was_written_or_not(world, tmp_path):
    def script(folder):
        from pathlib import Path

        def work(x):
            with mpipool.output(Path(folder, f"{x}-first")) as part:
                part.write_text("whole")
            with mpipool.output(Path(folder, f"{x}-second")) as part:
                part.write_text("ha")
                if x == 1:
                    raise ValueError(x)
            if x == 2:
                raise ValueError(x)

        Pool().map(work, range(3), errors="return")

    world(script, str(tmp_path))
    assert {path.name for path in tmp_path.iterdir()} == {"0-first", "0-second"}


def test_an_older_file_stays_as_it_is_until_the_new_one_is_accepted(world, tmp_path):
    (tmp_path / "product").write_text("old")

    def script(folder):
        import os
        from pathlib import Path

        def work(_):
            with mpipool.output(Path(folder, "product")) as part:
                part.write_text("ne")
                os._exit(1)

        Pool().map(work, [0], errors="return")

    world(script, str(tmp_path))
    assert (tmp_path / "product").read_text() == "old"


def test_what_a_dead_attempt_left_is_removed_by_the_next(new_world, tmp_path):
    """Attempts are told apart only in runs which have a checkpoint."""

    def script(folder):
        import os
        from pathlib import Path

        def work(x):
            with mpipool.output(Path(folder, "product")) as part:
                part.write_text("new")
                if not Path(folder, "died").exists():
                    Path(folder, "died").touch()
                    os._exit(1)

        with Pool(checkpoint=Path(folder, "run.db")) as pool:
            pool.map(work, [0], retries=1, stage="s", key=lambda x: x)

    new_world()(script, str(tmp_path))
    assert (tmp_path / "product").read_text() == "new"
    assert not list(tmp_path.glob(".product*"))


def test_without_a_checkpoint_too_a_crash_leaves_nothing_under_the_final_name(world, tmp_path):
    def script(folder):
        import os
        from pathlib import Path

        def work(x):
            with mpipool.output(Path(folder, "product")) as part:
                part.write_text("whole, but the task goes on")
            os._exit(1)

        Pool().map(work, [0], errors="return")

    world(script, str(tmp_path))
    assert not (tmp_path / "product").exists()


def test_outside_of_a_task_the_file_is_renamed_at_the_end_of_the_block(tmp_path):
    with mpipool.output(tmp_path / "product") as part:
        part.write_text("whole")
        assert not (tmp_path / "product").exists()
    assert (tmp_path / "product").read_text() == "whole"
    assert [path.name for path in tmp_path.iterdir()] == ["product"]


def test_an_output_that_can_not_have_its_name_fails_the_task_now_and_is_made_when_it_can(
    new_world, tmp_path
):
    def script():
        import mpipool

        def work(x):
            with mpipool.output(f"{x}.txt") as part:
                part.write_text("whole")
            return x

        with Pool(checkpoint="run.db") as pool:
            return pool.map(work, range(3), stage="s", key=lambda x: {"x": x}, errors="return")

    (tmp_path / "1.txt").mkdir()
    first, second = new_world(1), new_world(1)
    zero, error, two = first(script)
    first.close()
    assert (zero, two) == (0, 2)
    assert "1.txt can't be published: Is a directory" in str(error)
    assert not list(tmp_path.glob(".*.part"))
    (tmp_path / "1.txt").rmdir()
    assert second(script) == [0, 1, 2]
    assert (tmp_path / "1.txt").read_text() == "whole"


def test_a_moved_folder_keeps_what_was_done(new_world, tmp_path):
    def script(folder):
        import mpipool

        def work(x):
            with mpipool.output(f"{folder}/out/{x}.txt") as part:
                part.write_text("whole")
            return x

        with Pool(checkpoint=f"{folder}/run.db") as pool:
            pool.map(work, range(3), stage="s", key=lambda x: {"x": x})
            return pool.last_map.reused

    (tmp_path / "one").mkdir()
    first = new_world(1)
    assert first(script, "one") == 0
    first.close()
    (tmp_path / "one").rename(tmp_path / "two")
    assert new_world(1)(script, "two") == 3
