"""When calls are sent: at once while few are out, together when many are."""

import pickle
import threading
from array import array
from contextlib import nullcontext

import pytest

from builders import batch
from mpipool.executor.stream import Call
from mpipool.futures import lane as lanes
from mpipool.futures.entries import Entry, Terms
from mpipool.futures.future import CANCELLED, FINISHED, RUNNING, BrokenPool, Future
from mpipool.futures.lane import Lane
from mpipool.messages import Abandon, Began, Cancel, Cancelled, Items, Refused, Results
from mpipool.task import DONE, FAILED

RANKS = 3
FEW = lanes.FEW * RANKS


class Post:
    """Answers cancellations as an agent that has given nothing out, or everything."""

    def __init__(self):
        self.rings = 0
        self.on_wait = lambda: None
        self.is_read_here = True

    def ring(self):
        self.rings += 1

    def poke(self):
        pass

    def wait_until(self, there, timeout=None, serving=False):
        self.on_wait()
        assert there()
        return True


class Caller:
    """Keeps what is sent."""

    size = RANKS

    def __init__(self):
        self.sent = []
        self.post = Post()
        self.forgotten = []

    def open(self, call, taker):
        self.sent.append("open")
        return 7

    def send(self, message, payload=None):
        self.sent.append(message)

    def forget(self, request):
        self.forgotten.append(request)

    @property
    def batches(self):
        """How many calls each message of items has brought."""
        return [len(array("Q", m.parts[0])) for m in self.sent if isinstance(m, Items)]


class Group:
    """Keeps what it is told."""

    def __init__(self):
        self.ended = []
        self.broken = None

    def waits(self):
        return nullcontext()

    def over(self, lane):
        self.ended.append(lane)

    def break_down(self, error):
        self.broken = error


@pytest.fixture
def caller():
    return Caller()


@pytest.fixture
def group():
    return Group()


def knowing(mean, lane):
    """Let a lane know how long its calls take, in seconds."""
    lane._unpacker.mean = mean
    return lane


@pytest.fixture
def lane(caller, group):
    """One whose calls are short."""
    return knowing(0.0, Lane(caller, Call(function=abs), group))


def entry(argument, **terms):
    return Entry((abs, (argument,), {}), "abs", Terms(**terms))


def add(lane, count, **options):
    futures = [Future() for _ in range(count)]
    for number, future in enumerate(futures):
        assert lane.add(future, entry(number, **options))
    return futures


def done(lane, first, *results):
    parts = batch(*((DONE, b"", pickle.dumps(result)) for result in results))
    lane.take(Results(request=7, first=first, count=len(results), parts=parts))


# --- sending -------------------------------------------------------------------------------------


def test_few_calls_are_sent_one_by_one_and_many_together(lane, caller):
    add(lane, FEW + 5)
    assert caller.batches == [1] * FEW
    assert caller.post.rings == 1, "the first which is not sent is to be sent soon"
    lane.flush()
    assert caller.batches == [1] * FEW + [5]
    lane.flush()
    assert caller.batches == [1] * FEW + [5]


def test_as_long_as_nothing_is_known_of_calls_they_go_one_by_one(lane, caller):
    knowing(None, lane)
    add(lane, lanes.BLOCK + 5)
    assert caller.batches == [1] * lanes.BLOCK


def test_of_long_calls_all_that_ranks_need_soon_go_one_by_one(lane, caller):
    knowing(0.1, lane)
    soon = int(lanes.AHEAD * RANKS / 0.1)
    add(lane, soon + 5)
    assert caller.batches == [1] * soon


def test_how_long_calls_take_is_learnt_from_those_which_have_ended(lane, caller):
    add(lane, FEW)
    done(lane, 0, *range(FEW))  # two seconds each
    add(lane, FEW + 3)
    assert caller.batches == [1] * (2 * FEW + 3)


def test_a_flood_is_sent_in_blocks(lane, caller):
    add(lane, FEW + 2 * lanes.BLOCK + 1)
    assert caller.batches == [1] * FEW + [lanes.BLOCK] * 2


def test_once_few_are_out_again_the_next_is_sent_at_once_with_those_before_it(lane, caller):
    add(lane, FEW + 2)
    done(lane, 0, *range(FEW))
    add(lane, 1)
    assert caller.batches == [1] * FEW + [3]


def test_the_thread_that_reads_sends_what_has_waited_a_moment(lane, caller):
    assert lane.tick() is None
    add(lane, FEW + 2)
    assert lane.tick() == lanes.FLUSH
    assert caller.batches == [1] * FEW
    assert lane.tick() is None
    assert caller.batches == [1] * FEW + [2]


def test_a_large_call_goes_by_itself_behind_those_before_it(lane, caller):
    add(lane, FEW + 2)
    lane.add(Future(), Entry((len, (bytes(2_000_000),), {}), "len"))
    assert caller.batches == [1] * FEW + [2, 1]


def test_expected_seconds_go_along_with_calls_that_have_some(caller, group):
    lane = knowing(0.0, Lane(caller, Call(function=abs, cost=lambda *_: 0.0), group))
    add(lane, FEW, cost=2.5)
    assert caller.sent[1].parts[1] == array("d", [2.5]).tobytes()
    futures = add(lane, 3, cost=1.0)
    futures[1].cancel()
    lane.flush()
    assert caller.sent[-1].parts[1] == array("d", [1.0, 1.0]).tobytes()


def test_what_can_not_be_pickled_is_not_sent_and_has_no_place(lane, caller):
    future = Future()
    lane.add(future, entry(threading.Lock()))
    assert "can't be sent" in str(future.exception(timeout=0))
    (good,) = add(lane, 1)
    done(lane, 0, 42)
    assert good.result(timeout=0) == 42


def test_a_lane_takes_so_many_calls_and_no_more(lane, monkeypatch):
    monkeypatch.setattr(lanes, "LONGEST", 10)
    add(lane, 10)
    assert lane.full
    assert not lane.add(Future(), entry(1))


# --- what comes back -----------------------------------------------------------------------------


def test_futures_run_and_are_settled_by_their_places(lane):
    first, second, third = add(lane, 3)
    lane.take(Began(request=7, first=0, count=2))
    assert [future._state for future in (first, second)] == [RUNNING] * 2
    assert not third.running()
    parts = batch((FAILED, b'{"error":"E","message":"m","traceback":"t"}', b""))
    lane.take(Results(request=7, first=1, count=1, parts=parts))
    done(lane, 2, "three")
    assert (third.result(timeout=0), lane.out) == ("three", 1)
    assert "E: m" in str(second.exception(timeout=0))
    assert not first.done()


def test_a_closed_lane_says_so_once_when_its_last_call_is_over(lane, caller, group):
    add(lane, 2)
    lane.close()
    assert (caller.sent[-1].last, group.ended) == (True, [])
    done(lane, 0, 1)
    assert group.ended == []
    done(lane, 1, 2)
    assert (group.ended, caller.forgotten) == ([lane], [7])
    assert not lane.expects


def test_what_is_refused_is_an_error_in_each_future(lane):
    futures = add(lane, 3)
    lane.take(Refused(request=7, reason="there is no memory for it"))
    assert all("no memory" in str(future.exception(timeout=0)) for future in futures)
    assert lane.full


def test_a_lost_world_is_an_error_in_each_future(lane):
    futures = add(lane, 3)
    done(lane, 0, 0)
    lane.lose(BrokenPool("gone"))
    assert futures[0].result(timeout=0) == 0
    assert all(isinstance(f.exception(timeout=0), BrokenPool) for f in futures[1:])


# --- cancelling ----------------------------------------------------------------------------------


def test_what_was_not_sent_is_cancelled_here_and_those_behind_it_move_up(lane, caller):
    futures = add(lane, FEW + 4)
    assert futures[FEW + 1].cancel()
    assert not [m for m in caller.sent if isinstance(m, Cancel)]
    lane.flush()
    assert caller.batches == [1] * FEW + [3]
    done(lane, FEW, "first", "third", "fourth")
    left = futures[FEW], futures[FEW + 2], futures[FEW + 3]
    assert [future.result(timeout=0) for future in left] == ["first", "third", "fourth"]


@pytest.mark.parametrize("dropped", [True, False])
def test_of_what_was_sent_the_agent_says_what_was_cancelled(lane, caller, dropped):
    futures = add(lane, 3)
    answer = Cancelled(request=7, tasks=(1,) if dropped else ())
    caller.post.on_wait = lambda: lane.take(answer)
    assert futures[1].cancel() == dropped
    assert caller.sent[-1] == Cancel(request=7, first=1, count=1)
    assert (futures[1]._state == CANCELLED) == dropped


def test_many_are_cancelled_with_few_questions(lane, caller):
    add(lane, FEW)
    caller.post.on_wait = lambda: [
        lane.take(Cancelled(request=7, tasks=())) for m in caller.sent if isinstance(m, Cancel)
    ]
    lane.cancel_some([0, 1, 2, 4, 5])
    asked = [(m.first, m.count) for m in caller.sent if isinstance(m, Cancel)]
    assert asked == [(0, 3), (4, 2)]


def test_an_outcome_which_comes_after_the_lane_was_dropped_is_late(lane, caller):
    (future,) = add(lane, 1)
    lane.abandon()
    assert caller.sent[-1] == Abandon(request=7)
    done(lane, 0, 1)
    assert future._state == CANCELLED
    assert lane.out == 0


def test_a_result_that_came_first_counts(lane):
    (future,) = add(lane, 1)
    done(lane, 0, 1)
    lane.abandon()
    assert future._state == FINISHED
