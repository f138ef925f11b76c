"""Which nodes and ranks are found to be bad: counts in, verdicts out."""

import random

from mpipool.ids import Rank
from mpipool.scheduler.health import Health, Verdict


def health(nodes=4, ranks=4):
    made = Health()
    for rank in range(nodes * ranks):
        made.join(Rank(rank), f"n{rank // ranks}")
    return made


def saw(machine, ranks, good=0, bad=0, kind="f"):
    for rank in ranks:
        counts = (good + bad, bad, good + bad, bad)
        machine.saw_chunks(Rank(rank), kind, counts)


def test_a_node_which_fails_what_succeeds_elsewhere_is_bad_with_all_its_ranks():
    machine = health()
    saw(machine, range(12), good=30)
    saw(machine, [4], bad=3)
    saw(machine, range(12, 16), good=1, bad=3)
    assert machine.judge() == [
        Verdict(
            (12, 13, 14, 15),
            "node n3 is quarantined: 12 of 16 tasks failed there, 3 of 363 elsewhere",
        )
    ]
    assert machine.judge() == []


def test_what_fails_everywhere_makes_nobody_bad():
    machine = health()
    saw(machine, range(16), good=1, bad=20)
    saw(machine, range(12, 16), bad=50)
    assert machine.judge() == []


def test_functions_are_compared_each_with_itself():
    machine = health()
    saw(machine, range(12), good=100, kind="easy")
    saw(machine, range(12, 16), bad=10, kind="hard")  # of which the others had none
    saw(machine, range(12, 16), good=10, kind="easy")
    assert machine.judge() == []
    saw(machine, range(12), good=1, kind="hard")
    assert [verdict.ranks for verdict in machine.judge()] == [(12, 13, 14, 15)]


def test_a_few_tries_of_the_others_prove_nothing_either():
    machine = health()
    saw(machine, [0], good=4)
    saw(machine, range(12, 16), bad=50)
    assert machine.judge() == []


def test_what_is_bad_already_is_no_measure_for_the_others():
    machine = health(nodes=8, ranks=1)
    saw(machine, range(6), good=20)
    saw(machine, [6], bad=1000)
    assert [verdict.ranks for verdict in machine.judge()] == [(6,)]
    saw(machine, [7], bad=8)
    assert [verdict.ranks for verdict in machine.judge()] == [(7,)]


def test_a_few_failures_prove_nothing():
    machine = health()
    saw(machine, range(15), good=1000)
    saw(machine, [15], bad=4)
    assert machine.judge() == []


def test_one_bad_rank_of_a_node_goes_alone():
    machine = health(nodes=1)
    saw(machine, range(3), good=30)
    saw(machine, [3], bad=8)
    assert machine.judge() == [
        Verdict(
            (3,), "rank 3 on node n0 is quarantined: 8 of 8 tasks failed there, 0 of 90 elsewhere"
        )
    ]


def test_no_more_than_a_quarter_is_bad_and_one_always_may_be():
    machine = health(nodes=8, ranks=1)
    saw(machine, range(5), good=100)
    saw(machine, range(5, 8), bad=9)
    assert [verdict.ranks for verdict in machine.judge()] == [(5,), (6,)]
    assert machine.judge() == []
    pair = health(nodes=2, ranks=1)
    saw(pair, [0], good=100)
    saw(pair, [1], bad=50)
    assert [verdict.ranks for verdict in pair.judge()] == [(1,)]


def test_the_last_one_is_never_bad():
    machine = health(nodes=1, ranks=1)
    saw(machine, [0], bad=1000)
    assert machine.judge() == []


def test_a_slow_node_is_bad():
    machine = health(nodes=4, ranks=4)
    chance = random.Random(1)
    for rank in range(16):
        for _ in range(20):
            machine.saw_time(Rank(rank), round(chance.gauss(10 if rank >= 12 else 0, 3)))
    (verdict,) = machine.judge()
    assert verdict.ranks == (12, 13, 14, 15)
    assert "node n3 is quarantined: the median of 80 tasks took" in verdict.sentence


def test_a_node_which_is_a_little_slower_is_not():
    machine = health(nodes=4, ranks=4)
    chance = random.Random(2)
    for rank in range(16):
        for _ in range(200):
            machine.saw_time(Rank(rank), round(chance.gauss(3 if rank >= 12 else 0, 3)))
    assert machine.judge() == []


def test_chance_alone_condemns_nobody():
    """Many looks at many runs in which each task fails as probably anywhere, durations wild."""
    for seed in range(40):
        chance, machine = random.Random(seed), health(nodes=8, ranks=4)
        rate = chance.choice([0.01, 0.1, 0.5, 0.9])
        for _ in range(40):
            for rank in range(32):
                saw(machine, [rank], *((0, 1) if chance.random() < rate else (1, 0)))
                machine.saw_time(Rank(rank), round(chance.gauss(0, 9)))
            assert machine.judge() == [], seed


def test_a_lost_rank_is_not_judged_nor_compared_with():
    machine = health(nodes=2, ranks=2)
    saw(machine, [0, 1], good=50)
    saw(machine, [2, 3], bad=10)
    machine.leave(Rank(2))
    machine.leave(Rank(3))
    assert machine.judge() == []
    saw(machine, [2], bad=10)  # what was under way
