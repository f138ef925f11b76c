"""Who reads the messages of a process, and who waits for them."""

import threading
import time

import pytest

from mpipool.errors import WorldLost
from mpipool.executor import post as posts
from mpipool.executor.channel import BlockingChannel, socketpair
from mpipool.executor.post import Post
from mpipool.messages import Answer, Forget, Results


class Taker:
    def __init__(self, expects=True):
        self.taken, self.threads, self.lost = [], set(), None
        self.expects = expects
        self.on_take = lambda: None

    def take(self, message):
        self.taken.append(message)
        self.threads.add(threading.current_thread())
        self.on_take()

    def tick(self):
        return None

    def lose(self, error):
        self.lost = error


@pytest.fixture
def ends():
    ours, theirs = socketpair()
    yield BlockingChannel(ours), BlockingChannel(theirs)
    for end in (ours, theirs):
        end.close()


def answer(request):
    return Answer(request=request, ok=True)


def soon(action, *arguments):
    thread = threading.Timer(0.05, action, arguments)
    thread.start()
    return thread


def readers():
    return [thread for thread in threading.enumerate() if thread.name == "mpipool-post"]


def until(there):
    end = time.monotonic() + 30
    while not there():
        assert time.monotonic() < end, "it does not come"
        time.sleep(0.005)


def test_who_waits_reads_and_keeps_what_is_about_other_requests(ends):
    ours, agent = ends
    post = Post(ours)
    for request in (1, 2):
        post.expect(request)
    for request in (2, 3, 1):
        agent.send(answer(request))
    assert post.next(1).request == 1
    assert post.has(2)
    assert post.next(2).request == 2
    assert readers() == []


def test_threads_get_each_its_own_whoever_reads(ends):
    ours, agent = ends
    post, found = Post(ours), {}
    for request in range(1, 6):
        post.expect(request)

    def wait(request):
        found[request] = post.next(request).request

    threads = [threading.Thread(target=wait, args=(request,)) for request in range(1, 6)]
    for thread in threads:
        thread.start()
    for request in (3, 5, 1, 2, 4):
        time.sleep(0.01)
        agent.send(answer(request))
    for thread in threads:
        thread.join(30)
    assert found == {request: request for request in range(1, 6)}


def test_what_is_for_the_executor_is_served_by_who_is_blocked_and_by_nobody_else(ends):
    ours, agent = ends
    served = []
    post = Post(ours, served.append)
    for request in (1, 2):
        post.expect(request)
    agent.send(Forget(scope=7))
    agent.send(answer(1))
    post.next(1)
    assert served == []
    agent.send(answer(2))
    post.next(2, serving=True)
    assert [message.scope for message in served] == [7]


def test_the_executor_gets_its_messages_in_their_order(ends):
    ours, agent = ends
    post = Post(ours, print)
    for scope in range(3):
        agent.send(Forget(scope=scope))
    assert [post.next_for_executor().scope for _ in range(3)] == [0, 1, 2]


def test_a_taker_gets_messages_while_nobody_waits_and_its_thread_ends_when_it_is_done(
    ends, monkeypatch
):
    monkeypatch.setattr(posts, "LINGER", 0.05)
    ours, agent = ends
    post, taker = Post(ours), Taker()
    post.expect(1, taker)
    post.have_read()
    agent.send(Results(request=1, first=0, count=0))
    until(lambda: taker.taken)
    assert {thread.name for thread in taker.threads} == {"mpipool-post"}
    time.sleep(0.2)
    assert len(readers()) == 1, "it still expects something"
    taker.expects = False
    until(lambda: not readers())
    post.expect(2)
    soon(agent.send, answer(2))
    assert post.next(2).request == 2


def test_a_thread_that_reads_takes_over_from_who_waits(ends):
    ours, agent = ends
    post, taker = Post(ours), Taker()
    post.expect(1)
    waiting = threading.Thread(target=post.next, args=(1,))
    waiting.start()
    time.sleep(0.05)
    post.expect(2, taker)
    post.have_read()
    agent.send(Results(request=2, first=0, count=0))
    until(lambda: taker.taken)
    agent.send(answer(1))
    waiting.join(30)
    assert not waiting.is_alive()
    taker.expects = False


def test_a_taker_may_wait_itself(ends):
    ours, agent = ends
    post, taker, found = Post(ours), Taker(), []
    post.expect(1, taker)
    post.expect(2)
    taker.on_take = lambda: found.append(post.next(2).request)
    post.have_read()
    agent.send(Results(request=1, first=0, count=0))
    until(lambda: taker.taken)
    agent.send(answer(2))
    until(lambda: found)
    taker.expects = False


def test_a_wait_has_a_timeout(ends):
    ours, _ = ends
    post = Post(ours)
    assert not post.wait_until(lambda: False, timeout=0.01)
    assert post.wait_until(lambda: True, timeout=0)


def test_a_lost_world_is_told_to_all(ends):
    ours, agent = ends
    post, taker = Post(ours), Taker()
    post.expect(1, taker)
    post.expect(2)
    post.have_read()
    soon(agent.end.shutdown, 2)
    with pytest.raises(WorldLost):
        post.next(2)
    until(lambda: taker.lost)
    with pytest.raises(WorldLost):
        post.next(2)


@pytest.fixture
def yields(monkeypatch, ends):
    """How often who waits has looked without sleeping; at the first time an answer comes."""
    _, agent = ends
    yielded = []

    def sched_yield():
        if not yielded:
            agent.send(answer(1))
        yielded.append(None)

    monkeypatch.setattr(posts.os, "sched_yield", sched_yield)
    monkeypatch.setattr(posts, "SPIN", 30.0)
    return yielded


def asking(ours, **kind):
    post = Post(ours, **kind)
    post.expect(1)
    post.send(Forget(scope=1))
    return post


def test_an_answer_that_comes_soon_is_taken_by_a_script_that_does_not_sleep(ends, yields):
    post = asking(ends[0])
    assert post.wait_until(lambda: post.has(1), timeout=60)
    assert len(yields) == 1
    post.next(1)
    assert not post.wait_until(lambda: post.has(1), timeout=0.01)
    assert len(yields) == 1  # nothing was asked since


def test_an_executor_sleeps_at_once(ends, yields):
    post = asking(ends[0], on_inbox=print)
    assert not post.wait_until(lambda: post.has(1), timeout=0.01)
    assert yields == []


def test_a_thread_that_reads_for_others_sleeps_at_once(ends, yields):
    post = asking(ends[0])
    post.expect(2, Taker())
    assert not post.wait_until(lambda: post.has(1), timeout=0.01)
    assert yields == []
