"""What the loop does when several descriptors are ready in the same round."""

import os
import select
import socket
import time

from mpipool.executor.channel import Channel
from mpipool.executor.output import LIMIT, Output, Writer
from mpipool.executor.watch import Watch
from mpipool.ganging import NotHere
from mpipool.launcher import Launcher
from mpipool.loop import Loop
from mpipool.messages import Abandon, Stop
from mpipool.transport.doorbell import Doorbell


def test_a_channel_may_be_dropped_in_the_round_in_which_it_becomes_writable():
    """An executor dies while a large item is on its way to it."""
    watch = Watch()
    guard, guard_end = socket.socketpair()
    end, executor = socket.socketpair()
    channel, heard = Channel(end), []

    def bury():
        heard.append(guard.recv(1))
        watch.drop(channel.fileno())

    watch.add(guard.fileno(), bury)
    watch.add(channel.fileno(), lambda: None)
    watch.send(channel, Abandon(request=1, parts=(bytes(10_000_000),)))
    assert channel.unsent
    guard_end.send(b"x")
    while not _writable(end):
        executor.recv(1 << 20)
    assert watch.poll()
    assert heard == [b"x"]


def test_a_bell_that_rings_while_its_owner_is_awake_does_not_keep_it_from_sleeping():
    """A sender may see the owner asleep, be delayed, and ring when that is up again."""
    bell = Doorbell()
    agent = _IdleAgent(bell)
    loop = Loop([agent], Watch(), Launcher({}, 0))
    os.write(bell.address.bell, b"!")
    loop.run()
    assert agent.transport.rounds < 1000


class _IdleTransport:
    rank, size, rings, longest_sleep, unsent = 0, 1, True, 0.05, False

    def __init__(self, bell):
        self.doorbell, self.wakes, self.rounds = bell.descriptor, bell.wakes, 0

    def may_sleep(self):
        return True

    def receive(self):
        self.rounds += 1
        return iter(())


class _IdleAgent:
    """Has nothing to do, and leaves after some time, or when it went round too often."""

    def __init__(self, bell):
        self.transport, self.stop, self.released = _IdleTransport(bell), None, False
        self.here, self.may_leave, self.outcast = NotHere(""), True, ""
        self._end = time.monotonic() + 0.5

    def tick(self):
        if time.monotonic() > self._end or self.transport.rounds >= 1000:
            self.stop, self.released = Stop(exit_code=0, orderly=True), True

    def say_goodbye(self):
        pass


def _writable(end):
    return bool(select.select([], [end], [], 0)[1])


def test_output_is_over_at_its_end_and_not_when_there_is_nothing_to_read_now():
    """An event may be that of a dead executor's pipe, whose number a living one's has now."""
    reader, writer = os.pipe()
    null = os.open(os.devnull, os.O_WRONLY)
    output = Output(reader, null, Writer())
    assert output.drain(), "more can come"
    os.write(writer, b"text")
    assert output.drain()
    assert output.tail == b"text"
    os.close(writer)
    assert not output.drain()
    assert output.tail == b"text"
    os.close(reader)
    os.close(null)


def test_a_reader_that_does_not_read_stops_nobody_and_is_told_what_it_missed():
    reader, target = os.pipe()
    writer = Writer()
    flood = bytes(1 << 20)
    for _ in range(3 * LIMIT // len(flood)):
        writer.write(target, flood)  # would block for ever if it wrote here
    received = 0
    while received < LIMIT:
        received += len(os.read(reader, 1 << 20))
    writer.finish()
    writer.write(target, b"the end")
    writer.finish()
    os.set_blocking(reader, False)
    assert b"bytes of output were dropped here\nthe end" in os.read(reader, 1 << 20)
    os.close(reader)
    os.close(target)
