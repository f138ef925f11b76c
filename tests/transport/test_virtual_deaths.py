"""Ranks which die in simulated time."""

import random

import pytest

from mpipool.messages import Fetch
from mpipool.transport.virtual import VirtualClock, VirtualWorld


@pytest.fixture
def clock():
    return VirtualClock()


@pytest.fixture
def world(clock):
    return VirtualWorld(4, clock, random.Random(3), delay=1e-3)


def run(clock):
    while clock.step():
        pass


def fetch(number):
    return Fetch(request=number, data=0, copies=False)


def received(world, rank):
    return [(sender, message.request) for sender, message in world.transports[rank].receive()]


def test_everybody_else_notices_a_death_sooner_or_later(world, clock):
    told = []
    world.on_arrival = told.append
    world.kill(2, notice=0.5)
    run(clock)
    assert [sorted(transport.lost) for transport in world.transports] == [[2], [2], [], [2]]
    assert sorted(told) == [0, 1, 3]


def test_what_a_dead_rank_has_sent_arrives_up_to_some_message_and_not_after_it(clock):
    arrived = set()
    for seed in range(40):
        world = VirtualWorld(2, clock, random.Random(seed), delay=1e-3)
        for number in range(20):
            world.transports[0].send(1, fetch(number))
        world.kill(0)
        run(clock)
        got = received(world, 1)
        assert got == [(0, number) for number in range(len(got))]
        assert world.under_way == 0
        arrived.add(len(got))
    assert len(arrived) > 5


def test_nothing_comes_from_a_rank_that_was_given_up_nor_reaches_it(world, clock):
    ours, theirs = world.transports[1], world.transports[2]
    theirs.send(1, fetch(1))
    run(clock)
    theirs.send(1, fetch(2))
    world.transports[3].send(1, fetch(3))
    ours.give_up(2)
    run(clock)
    assert received(world, 1) == [(3, 3)]
    ours.send(2, fetch(4))
    assert world.under_way == 0
    assert ours.gone == {2}
    assert ours.lost == set()


def test_a_rank_given_up_in_the_middle_of_receiving_is_heard_no_more(world, clock):
    for number in range(3):
        world.transports[2].send(1, fetch(number))
    run(clock)
    ours, got = world.transports[1], []
    for sender, message in ours.receive():
        got.append(message.request)
        ours.give_up(sender)
    assert got == [0]


def test_a_rank_that_is_given_up_although_it_lives_dies_of_it(world, clock):
    world.transports[1].give_up(2)
    assert world.dead == {2}
    run(clock)
    assert world.transports[0].lost == {2}


def test_who_was_given_up_is_not_noticed_again(world, clock):
    world.kill(2)
    world.transports[0].give_up(2)
    run(clock)
    assert world.transports[0].lost == set()
