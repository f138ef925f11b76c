"""Records on their way to the broker."""

from builders import batch, led_by
from mpipool.group import Scatter
from mpipool.ids import BROKER, ExecutorId, Rank
from mpipool.led import Led
from mpipool.messages import Ask, Open, Records, decode, encode
from mpipool.outcomes import Outcomes
from mpipool.recording import EVERY, RecordBuffer, pass_on, unpack
from mpipool.task import DONE, FAILED, KEPT_IN_RECORD, LOST, REDO, Record, dump_details

S, T = led_by(3, 1), led_by(3, 2)
LIMIT = b"x" * KEPT_IN_RECORD


def led(scatter, keyed: bool, above=()) -> Led:
    opening = Open(request=1, digest=b"f", stage="s", retries=0, recorded=True, keyed=keyed)
    return Led(scatter, (*above, scatter), ExecutorId(1), None, opening, Scatter())


def sent(buffer: RecordBuffer) -> list[Record]:
    """Return the records as the broker sees them."""
    [(rank, message)] = buffer.take()
    assert rank == BROKER
    return list(unpack(decode(b"".join(encode(message))), "/a/b"))


def record(scatter, task: int, **changes) -> Record:
    values = {
        "scatter": scatter, "task": task, "attempt": 1, "digest": None, "data_id": None,
        "state": "done", "rank": 4, "started": 1000.0, "finished": 1002.0, "cpu": 1.5,
        "peak_memory": 2048, "error": None, "message": None, "traceback": None, "stderr": None,
        "metrics": None, "outputs": None, "result": None, "result_file": None,
    }  # fmt: skip
    return Record(**{**values, **changes})


def test_nothing_is_sent_while_there_is_nothing_to_record():
    buffer = RecordBuffer()
    assert list(buffer.take()) == []
    buffer.add(led(S, False), 4, 1, Outcomes(0, batch((DONE, b"", b"r"))))
    assert len(list(buffer.take())) == 1
    assert list(buffer.take()) == []


def test_a_message_of_records_holds_batch_after_batch():
    buffer = RecordBuffer()
    kept, dropped = batch((DONE, b"", b"r")), batch((DONE, b"{}", b"r"), (FAILED, b"", b"e"))
    buffer.add(led(S, True), 4, 2, Outcomes(7, kept))
    buffer.add(led(T, False), 5, 1, Outcomes(0, dropped))
    told = Records(batches=(S, 4, 7, 2, 1, T, 5, 0, 1, 0), parts=(*kept, *dropped[:2], b""))
    assert list(buffer.take()) == [(BROKER, told)]


def test_records_go_by_way_of_the_leader_of_the_task_above():
    buffer = RecordBuffer(Rank(3))
    one = Outcomes(0, batch((DONE, b"", b"r")))
    script, above = led_by(0, 1), led_by(5, 1)
    buffer.add(led(S, False, (script, above)), 4, 1, one)
    [(rank, told)] = buffer.take()
    assert (rank, told.by) == (5, (script, above))
    # Which sends them on before the record of the task above, on the same way.
    rank, passed = pass_on(decode(b"".join(encode(told))), Rank(5))
    assert (rank, passed.by, passed.batches) == (BROKER, (), told.batches)


def test_not_by_way_of_rank_0_nor_of_this_rank():
    buffer = RecordBuffer(Rank(3))
    one = Outcomes(0, batch((DONE, b"", b"r")))
    buffer.add(led(S, False, (led_by(0, 1),)), 4, 1, one)
    buffer.add(led(S, False, (led_by(3, 7),)), 4, 1, one)
    buffer.add(led(S, False, (led_by(0, 1), led_by(3, 7))), 4, 1, one)
    [(rank, told)] = buffer.take()
    assert (rank, told.by, len(told.batches)) == (BROKER, (), 15)


def test_a_question_goes_the_way_of_the_records_of_what_its_task_has_scattered():
    buffer = RecordBuffer(Rank(3))
    path = (led_by(0, 1), led_by(5, 1), led_by(6, 1), led_by(3, 7))
    buffer.add(led(S, False, path), 4, 1, Outcomes(0, batch((DONE, b"", b"r"))))
    [(rank, records)] = buffer.take()
    ask = Ask(request=1, question="sync", rank=Rank(3), by=path, parts=(b"{}",))
    for at in (3, 6, 5):
        (to, asked), (also, passed) = pass_on(ask, Rank(at)), pass_on(records, Rank(at))
        assert (to, asked.by) == (also, passed.by)
        ask, records, rank = decode(b"".join(encode(asked))), passed, to
    assert (rank, ask) == (BROKER, Ask(request=1, question="sync", rank=3, parts=(b"{}",)))


def test_how_many_messages_were_taken_is_known():
    buffer = RecordBuffer(Rank(3))
    assert buffer.sent == 0
    for path in ((led_by(5, 1),), (led_by(5, 1),), ()):
        buffer.add(led(S, False, path), 4, 1, Outcomes(0, batch((DONE, b"", b"r"))))
    assert len(list(buffer.take())) == buffer.sent == 2


def test_whose_records_wait_is_known_until_they_are_sent():
    buffer = RecordBuffer()
    assert not buffer.are_of(ExecutorId(1))
    buffer.add(led(S, False), 4, 1, Outcomes(0, batch((DONE, b"", b"r"))))
    assert buffer.are_of(ExecutorId(1))
    assert not buffer.are_of(ExecutorId(2))
    list(buffer.take())
    assert not buffer.are_of(ExecutorId(1))


def test_a_record_holds_all_that_a_task_has_said():
    details = {
        "digest": "abcd", "data_id": '{"visit":1}', "attempt": 3, "error": "ValueError",
        "message": "no stars", "traceback": "Traceback …", "stderr": "warning",
        "metrics": {"seeing": 0.5},
        "outputs": [["/a/.x.part", "/a/x"], ["/a/b/.y.part", "/a/b/c/y"]],
        "result_file": "abcd.3:9:ff",
    }  # fmt: skip
    buffer = RecordBuffer()
    buffer.add(led(S, True), 4, 1, Outcomes(7, batch((FAILED, dump_details(details), b"e"))))
    assert sent(buffer) == [
        record(
            S, 7, attempt=3, digest=b"\xab\xcd", data_id='{"visit":1}', state="failed",
            error="ValueError", message="no stars", traceback="Traceback …", stderr="warning",
            metrics='{"seeing": 0.5}', outputs='["/a/x", "c/y"]', result_file="abcd.3:9:ff",
        )
    ]  # fmt: skip


def test_short_results_of_keyed_tasks_are_recorded_and_no_others():
    buffer = RecordBuffer()
    tasks = batch(
        (DONE, b"", b"first"), (FAILED, b"", b"error"), (DONE, b"", LIMIT + b"x"),
        (REDO, b"", b""), (DONE, b"", LIMIT), (LOST, b"", b""), (DONE, b"{}", b"last"),
    )  # fmt: skip
    buffer.add(led(S, True), 4, 2, Outcomes(10, tasks))
    buffer.add(led(T, False), 5, 1, Outcomes(0, batch((DONE, b"", b"a"), (DONE, b"", b"b"))))
    assert sent(buffer) == [
        record(S, 10, attempt=2, result=b"first"),
        record(S, 11, attempt=2, state="failed"),
        record(S, 12, attempt=2),
        record(S, 14, attempt=2, result=LIMIT),
        record(S, 15, attempt=2, state="lost"),
        record(S, 16, attempt=2, result=b"last"),
        record(T, 0, rank=5),
        record(T, 1, rank=5),
    ]


def test_metrics_are_recorded_though_there_are_none_in_them():
    buffer = RecordBuffer()
    said = dump_details({"metrics": {}, "outputs": []})
    buffer.add(led(S, False), 4, 1, Outcomes(0, batch((DONE, said, b""))))
    assert sent(buffer) == [record(S, 0, metrics="{}")]


def test_records_are_sent_twenty_times_a_second():
    assert EVERY == 0.05
