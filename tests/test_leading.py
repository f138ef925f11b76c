"""What a leader does with what comes too late."""

from array import array

from builders import batch
from mpipool.group import Member
from mpipool.ids import BROKER, ChunkId, DataId, ExecutorId, LeaseId, Rank
from mpipool.leading import Leading
from mpipool.messages import Items, Lend, Open, Recall, Release, RunTasks, TasksDone
from mpipool.task import DONE, KEPT

SCRIPT, MEMBER = ExecutorId(0), Rank(1)


class Wire:
    """A transport which keeps what is sent."""

    rank = BROKER

    def __init__(self):
        self.sent = []

    def send(self, to, message):
        self.sent.append((to, message))

    def of(self, kind):
        return [(to, message) for to, message in self.sent if isinstance(message, kind)]


def leader(shared, tasks):
    """Make a leader with one scatter, of which a member has the first task."""
    wire = Wire()
    made = Leading(wire, Member(), lambda executor, message: None)
    opening = Open(
        request=1, digest=b"d" * 16, stage="", retries=0, recorded=False, keyed=False,
        parts=(shared, b"f"),
    )  # fmt: skip
    made.open(SCRIPT, opening)
    sizes = array("Q", [1] * tasks).tobytes()
    made.extend(SCRIPT, Items(request=1, last=True, parts=(sizes, b"x" * tasks)), 0.0)
    (scatter,) = made.scatters
    made.lent(Lend(lease=LeaseId(1), scatter=scatter, rank=MEMBER, quantum=0.1), 0.0)
    ((_, chunk),) = wire.of(RunTasks)
    return made, wire, chunk


def outcome(chunk, result):
    return TasksDone(
        lease=chunk.lease, chunk=ChunkId(chunk.chunk), scatter=chunk.scatter, first=chunk.first,
        count=1, back=0, failures=0, busy=0.0, leave=False, executor=ExecutorId(3),
        parts=batch((DONE, b"", result)),
    )  # fmt: skip


def test_results_which_were_kept_for_a_scatter_that_was_given_up_are_let_go_where_they_are():
    made, wire, chunk = leader(b'{"keep": true}', tasks=2)
    made.abandon(SCRIPT, 1, 0.0)
    assert wire.of(Recall) == [(MEMBER, Recall(lease=chunk.lease))]
    made.done(MEMBER, outcome(chunk, KEPT.pack(77, 1000)), 0.0)
    assert wire.of(Release) == [(MEMBER, Release(data=(DataId(77),)))]
    assert not made.scatters


def test_other_results_of_such_a_scatter_are_just_dropped():
    made, wire, chunk = leader(b"{}", tasks=2)
    made.abandon(SCRIPT, 1, 0.0)
    made.done(MEMBER, outcome(chunk, b"result"), 0.0)
    assert wire.of(Release) == []
    assert not made.scatters
