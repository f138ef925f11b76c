"""Who is silent, by the broker's clock."""

import pytest

from mpipool.ids import Rank
from mpipool.liveness import HELD_UP, NOTHING, QUIET, SILENCE, Findings, Liveness

ONE, TWO = Rank(1), Rank(2)


class Watch:
    """Looks once a second, as the broker does."""

    def __init__(self, silence: float = SILENCE) -> None:
        self.liveness, self.now = Liveness(silence), 0.0
        self.found: list[tuple[float, Findings]] = []
        for rank in (ONE, TWO):
            self.liveness.heard(rank)
        self.step()

    def step(self) -> None:
        findings = self.liveness.look(self.now)
        if findings != NOTHING:
            self.found.append((self.now, findings))
        self.now += 1.0

    def pass_time(self, seconds: float, *heard: Rank) -> None:
        for _ in range(int(seconds)):
            for rank in heard:
                self.liveness.heard(rank)
            self.step()


def test_a_rank_that_says_something_is_alive():
    watch = Watch()
    watch.pass_time(SILENCE + 10, ONE, TWO)
    assert watch.found == []


def test_a_silent_rank_is_worth_a_line_once_and_is_given_up_after_a_while():
    watch = Watch()
    watch.pass_time(SILENCE + 10, ONE)
    times = [when for when, _ in watch.found]
    assert watch.found[0][1] == Findings(quiet=(TWO,))
    assert QUIET < times[0] <= QUIET + 2
    assert all(findings == Findings(dead=(TWO,)) for _, findings in watch.found[1:])
    assert SILENCE < times[1] <= SILENCE + 2


def test_a_rank_that_was_stopped_for_a_minute_is_there_again():
    watch = Watch()
    watch.pass_time(60, ONE)
    watch.pass_time(60, ONE, TWO)
    assert [findings for _, findings in watch.found] == [Findings((TWO,)), Findings(back=(TWO,))]


def test_nothing_is_expected_of_a_rank_that_has_left():
    watch = Watch()
    watch.liveness.forget(TWO)
    watch.pass_time(SILENCE + 10, ONE)
    assert watch.found == []


@pytest.mark.parametrize("away", [HELD_UP + 1, SILENCE * 3])
def test_while_the_broker_itself_was_held_up_nobody_was_silent(away):
    watch = Watch()
    watch.now += away
    watch.pass_time(5, ONE, TWO)
    assert watch.found == []


def test_it_can_be_told_to_wait_for_ever():
    watch = Watch(silence=0)
    watch.pass_time(3 * SILENCE, ONE)
    assert [findings for _, findings in watch.found] == [Findings(quiet=(TWO,))]
