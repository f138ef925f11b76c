"""Batches of outcomes are counted, cut and completed without being unpickled."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builders import batch, entry
from mpipool.outcomes import Outcomes, notice, pack
from mpipool.task import (
    BLOCKED,
    DONE,
    ENTRY,
    FAILED,
    INTERRUPTED,
    KEPT,
    KEPT_IN_RECORD,
    LOST,
    REDO,
    SIZE,
    STARVED,
    STATE_NAMES,
    cut_key,
    dump_details,
    key_prefix,
    load_details,
)

STATES = st.sampled_from([DONE, FAILED, LOST, REDO])
TASKS = st.lists(st.tuples(STATES, st.binary(max_size=5), st.binary(max_size=5)), max_size=8)


def plain(outcomes: Outcomes) -> list[tuple[int, bytes, bytes]]:
    return [(one.entry.state, bytes(one.details), bytes(one.result)) for one in outcomes]


def said(**details) -> bytes:
    return dump_details(details)


def test_the_layout_of_outcomes_and_sizes():
    assert (ENTRY.size, SIZE.size) == (40, 8)
    assert (DONE, FAILED, LOST, REDO, BLOCKED, INTERRUPTED, STARVED) == (0, 1, 2, 3, 4, 5, 6)
    assert STATE_NAMES == {
        DONE: "done", FAILED: "failed", LOST: "lost", BLOCKED: "blocked",
        INTERRUPTED: "interrupted", STARVED: "failed",
    }  # fmt: skip
    assert KEPT.pack(1, 2) == b"\x01" + b"\0" * 7 + b"\x02" + b"\0" * 7
    packed = ENTRY.pack(*entry(FAILED, 3, 4, started=1.0, wall=2.0, cpu=3.0, peak=9))
    assert packed == (
        b"\x01\0\0\0" + b"\x03\0\0\0"
        + b"\0\0\0\0\0\0\xf0\x3f" + b"\0\0\0\x40" + b"\0\0\x40\x40"
        + b"\x09\0\0\0" + b"\0\0\0\0" + b"\x04" + b"\0" * 7
    )  # fmt: skip


@given(TASKS)
def test_a_batch_is_taken_apart_and_put_together_again(tasks):
    outcomes = Outcomes(7, batch(*tasks))
    assert len(outcomes) == len(tasks)
    assert plain(outcomes) == tasks
    assert pack(outcomes) == outcomes.parts


@given(TASKS, st.data())
def test_any_run_of_tasks_can_be_cut_out(tasks, data):
    start = data.draw(st.integers(0, len(tasks)))
    end = data.draw(st.integers(start, len(tasks)))
    cut = Outcomes(7, batch(*tasks)).cut(7 + start, end - start)
    assert cut == Outcomes(7 + start, batch(*tasks[start:end]))


def test_the_tasks_in_each_state_are_found():
    outcomes = Outcomes(7, batch(*[(state, b"", b"") for state in (DONE, STARVED, DONE, LOST)]))
    assert outcomes.by_state() == {DONE: (7, 9), STARVED: (8,), LOST: (10,)}
    assert Outcomes(7, (b"", b"", b"")).by_state() == {}


def test_a_batch_which_is_wanted_whole_is_not_copied():
    outcomes = Outcomes(7, batch((DONE, b"", b"a"), (DONE, b"", b"b")))
    assert outcomes.cut(7, 2) is outcomes
    assert plain(outcomes.cut(7, 1)) == [(DONE, b"", b"a")]
    assert plain(outcomes.cut(8, 1)) == [(DONE, b"", b"b")]


@given(TASKS)
def test_tasks_are_found_by_their_state(tasks):
    outcomes = Outcomes(7, batch(*tasks))
    for wanted in (DONE, FAILED, LOST, REDO):
        found = tuple(7 + at for at, (state, _, _) in enumerate(tasks) if state == wanted)
        assert outcomes.in_state(wanted) == found


def test_only_short_results_of_tasks_which_succeeded_are_kept_in_records():
    limit = b"x" * KEPT_IN_RECORD
    outcomes = Outcomes(
        0,
        batch(
            (DONE, b"{}", b"a"), (FAILED, b"{}", b"error"), (DONE, b"", limit),
            (DONE, b"", limit + b"x"), (LOST, b"", b"lost"), (REDO, b"", b""), (DONE, b"", b"z"),
        ),
    )  # fmt: skip
    assert KEPT_IN_RECORD == 65536
    assert outcomes.kept_results() == (*outcomes.parts[:2], b"a" + limit + b"z")
    assert outcomes.without_results() == (*outcomes.parts[:2], b"")


def test_a_task_which_died_before_it_could_say_its_key_is_given_it():
    outcomes = Outcomes(
        5,
        batch(
            (DONE, b"", b"result"),
            (FAILED, said(error="SIGSEGV"), b"died"),
            (FAILED, said(digest="own", error="ValueError"), b"raised"),
            (FAILED, b"", b""),
        ),
    )
    keys = {index: {"digest": f"d{index}", "error": "?"} for index in (6, 7, 8)}
    completed = outcomes.completed(keys)
    assert completed.first == 5
    assert plain(completed) == [
        (DONE, b"", b"result"),
        (FAILED, said(digest="d6", error="SIGSEGV"), b"died"),
        (FAILED, said(digest="own", error="ValueError"), b"raised"),
        (FAILED, said(digest="d8", error="?"), b""),
    ]
    assert outcomes.completed({}) == outcomes


def test_the_files_of_tasks_which_succeeded_are_published():
    outputs = [["/a/.x.1.part", "/a/x"], ["/a/.y.1.part", "/a/y"]]
    outcomes = Outcomes(
        0,
        batch(
            (DONE, said(outputs=outputs[:1]), b"r"),
            (FAILED, said(outputs=[["/a/.z.1.part", "/a/z"]]), b""),
            (DONE, b"", b"r"),
            (DONE, said(metrics={}), b"r"),
            (DONE, said(outputs=outputs[1:]), b"r"),
        ),
    )
    published = []
    plainly = plain(outcomes.published(lambda *names: published.append(list(names))))
    assert plainly == plain(outcomes)
    assert published == outputs
    without = Outcomes(0, batch((DONE, b"", b"r")))
    assert without.published(lambda *names: published.append(names)) is without


def test_a_task_whose_output_can_not_be_published_has_failed():
    def refuse(part, final):
        if final == "/a/x":
            raise IsADirectoryError(21, "Is a directory")

    kept = {"digest": "ab", "attempt": 2}
    outcomes = Outcomes(
        4,
        batch(
            (DONE, said(**kept, outputs=[["/a/.x.part", "/a/x"]]), b"result"),
            (DONE, said(outputs=[["/a/.y.part", "/a/y"]]), b"other"),
        ),
    ).published(refuse)
    failed, done = outcomes
    assert (failed.entry.state, bytes(failed.result)) == (FAILED, b"")
    assert load_details(failed.details) == kept | {
        "error": "IsADirectoryError",
        "message": "its output /a/x can't be published: Is a directory",
        "traceback": "",
    }
    assert (done.entry.state, bytes(done.result)) == (DONE, b"other")


@pytest.mark.parametrize("redo", [0, 1, 3])
def test_the_notice_of_a_death_names_the_task_that_ran_and_those_which_must_run_again(redo):
    running = entry(FAILED, details=99, peak=7)
    outcomes = Outcomes(0, notice(redo, running, {"error": "SIGKILL"}))
    assert plain(outcomes) == [(REDO, b"", b"")] * redo + [(FAILED, said(error="SIGKILL"), b"")]
    *again, died = [outcome.entry for outcome in outcomes]
    assert again == [(REDO, 0, 0.0, 0.0, 0.0, 0, 0)] * redo
    assert died == running._replace(details=len(said(error="SIGKILL")))


def test_details_are_compact_json_and_may_be_missing():
    assert dump_details({"a": 1, "b": [2]}) == b'{"a":1,"b":[2]}'
    assert load_details(memoryview(b'{"a":1}')) == {"a": 1}
    assert load_details(b"") == {}


def test_the_key_of_an_item_is_cut_off_again():
    prefix = key_prefix(b"\xab\xcd", '{"visit":1}', 2)
    encoded = json.dumps(
        {"digest": "abcd", "data_id": '{"visit":1}', "attempt": 2}, separators=(",", ":")
    ).encode()
    assert prefix == len(encoded).to_bytes(4, "little") + encoded
    key, item = cut_key(memoryview(prefix + b"pickle"))
    assert key == {"digest": "abcd", "data_id": '{"visit":1}', "attempt": 2}
    assert bytes(item) == b"pickle"


def test_kept_results_are_replaced_by_where_they_are():
    outcomes = Outcomes(
        3, batch((DONE, b"", b"large"), (FAILED, b"{}", b"error"), (DONE, b"", b""))
    )
    kept = []

    def keep(result):
        kept.append(bytes(result))
        return len(kept)

    states = [(o.entry.state, bytes(o.result)) for o in Outcomes(3, outcomes.kept(keep))]
    assert kept == [b"large", b""]
    assert list(Outcomes(3, outcomes.kept(lambda _: 7)).where_kept()) == [(3, 7), (5, 7)]
    assert states == [(DONE, KEPT.pack(1, 5)), (FAILED, b"error"), (DONE, KEPT.pack(2, 0))]
