"""One outcome of those of a gang's members."""

import json
import os

from mpipool.errors import UsageError
from mpipool.executor.pickling import loads
from mpipool.ids import ChunkId, LeaseId, Rank, ScatterId
from mpipool.joining import item_of, joined, refusal_of
from mpipool.messages import RunTasks
from mpipool.outcomes import Outcomes
from mpipool.task import DONE, FAILED, Entry, Outcome, dump_details, load_details


def end(state=DONE, result=b"", started=10.0, wall=1.0, cpu=0.5, peak=100, **details) -> Outcome:
    encoded = dump_details(details) if details else b""
    row = Entry(state, len(encoded), started, wall, cpu, peak, len(result))
    return Outcome(row, memoryview(encoded), memoryview(result))


def chunk(count: int, parts=()) -> RunTasks:
    return RunTasks(
        lease=LeaseId(1), chunk=ChunkId(2), scatter=ScatterId(3), path=(ScatterId(3),), digest=b"d",
        first=5, count=count, attempt=1, cores=(Rank(1), Rank(2)), parts=parts,
    )  # fmt: skip


def details_of(outcome: Outcome):
    return load_details(outcome.details)


def test_the_first_members_result_counts():
    one = joined([end(result=b"first"), end(result=b"second")])
    assert (one.entry.state, bytes(one.result), bytes(one.details)) == (DONE, b"first", b"")
    assert one.entry.result == len(b"first")


def test_the_lowest_failure_counts_whoever_has_returned():
    failures = [end(FAILED, b"two", error="Two"), end(FAILED, b"three", error="Three")]
    one = joined([end(result=b"first"), *failures])
    assert (one.entry.state, bytes(one.result), details_of(one)) == (
        FAILED, b"two", {"error": "Two"},
    )  # fmt: skip
    assert one.entry.details == len(one.details)


def test_times_span_all_members_and_their_cpu_adds_up():
    one = joined([end(started=5.0, wall=2.0, cpu=1.0, peak=7), end(started=4.0, wall=3.0, peak=9)])
    assert one.entry[2:6] == (4.0, 3.0, 1.5, 9)


def test_a_metric_of_several_members_is_the_lowest_ones():
    one = joined([end(), end(metrics={"a": 1, "b": 2}), end(metrics={"a": 3, "c": 4})])
    assert details_of(one) == {"metrics": {"a": 1, "b": 2, "c": 4}}
    assert one.entry.details == len(one.details) > 0


def test_what_all_members_put_out_is_published():
    one = joined([end(outputs=[["a.part", "a"]]), end(), end(outputs=[["b.part", "b"]])])
    assert details_of(one) == {"outputs": [["a.part", "a"], ["b.part", "b"]]}


def test_what_was_put_out_beside_a_failure_is_removed(tmp_path):
    part = tmp_path / ".a.part"
    part.write_text("half a result")
    one = joined([end(outputs=[[os.fspath(part), "a"]]), end(FAILED, error="E")])
    assert not part.exists()
    assert details_of(one) == {"error": "E"}


def test_the_key_of_the_task_stays():
    said = {"digest": "ab", "data_id": "7", "attempt": 1}
    assert details_of(joined([end(**said), end(**said)])) == said


def test_an_item_is_cut_out_of_its_chunk():
    sizes = b"".join(size.to_bytes(8, "little") for size in (2, 0, 3))
    several = chunk(3, (sizes, b"aabbb"))
    cut = [item_of(several, task) for task in (5, 6, 7)]
    assert [bytes(item) for _, item in cut] == [b"aa", b"", b"bbb"]
    assert [bytes(size)[0] for size, _ in cut] == [2, 0, 3]


def test_a_refusal_fails_each_task_with_a_usage_error():
    report = refusal_of(chunk(2), "gangs need mpiexec")
    assert (report.first, report.count, report.back, report.failures) == (5, 2, 0, 2)
    ends = list(Outcomes(report.first, report.parts))
    for one in ends:
        error = loads(one.result)
        assert (type(error), str(error)) == (UsageError, "gangs need mpiexec")
        assert json.loads(bytes(one.details))["message"] == "gangs need mpiexec"
    assert [one.entry.state for one in ends] == [FAILED, FAILED]
