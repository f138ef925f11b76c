"""The blocking end of a channel: what goes together, and what is cut where."""

import socket

import pytest

from mpipool.executor.channel import BlockingChannel, Channel, socketpair
from mpipool.messages import Abandon, Items, LetGo, Resume, Wait


@pytest.fixture
def ends():
    ours, theirs = socketpair()
    yield BlockingChannel(ours), Channel(theirs)
    ours.close()
    theirs.close()


def test_a_message_that_others_follow_waits_for_them_and_goes_first(ends):
    caller, agent = ends
    caller.send(Wait(request=1), more=True)
    caller.send(Resume(request=1), more=True)
    assert agent.read() == ([], True)
    caller.send(Abandon(request=1))
    assert agent.read()[0] == [Wait(request=1), Resume(request=1), Abandon(request=1)]
    caller.send(Wait(request=2))
    assert agent.read()[0] == [Wait(request=2)]


def test_what_others_follow_keeps_its_further_part(ends):
    caller, agent = ends
    caller.send(Items(request=1, last=False, parts=(b"sizes",)), [b"a", b"b" * 100_000], more=True)
    caller.send(Wait(request=1))
    messages = []
    while len(messages) < 2:
        messages += agent.read()[0]
    items, wait = messages
    assert [bytes(part) for part in items.parts] == [b"sizes", b"a" + b"b" * 100_000]
    assert wait == Wait(request=1)


@pytest.mark.parametrize("step", [1, 7, 60])
def test_messages_are_found_wherever_the_stream_is_cut(ends, step):
    _, agent = ends
    sent = [LetGo(within=5, task=n, context="c" * n) for n in range(4)]
    left, right = socket.socketpair()
    writer = BlockingChannel(left)
    for message in sent:
        writer.send(message)
    stream = right.recv(10_000)
    left.close()
    right.close()
    arrived = []
    for at in range(0, len(stream), step):
        arrived += agent._assembly.feed(memoryview(stream[at : at + step]))
    assert arrived == sent
