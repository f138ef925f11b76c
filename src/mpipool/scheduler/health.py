"""Which nodes and ranks are bad: they fail what succeeds elsewhere, or take much longer for it.

Theory of operation. Each rank has counts of chunks by function, how many of them failed, and of
how long its tasks took against what was expected of them, in steps of a fourth of an octave. A
*suspect* (a node, or a rank of a sound node) is compared with all others. It fails too much if so
many failures would be too improbable (`IMPROBABLE`) at the others' rates for the same functions; it
is too slow if its median is twice that of the others, and improbably many of its tasks are above
that. Bounds after Chernoff, so that there is no table and no tuning. What is found bad stays so.

Never the last node or rank is bad, nor more than a quarter of the nodes; single ranks only while no
more than a quarter of all ranks is. One always may be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import exp, log
from typing import Final, TypeVar

from mpipool.ids import Rank

IMPROBABLE: Final = 1e-5
"""As it is looked at again and again, less than the 1e-4 which one look could afford."""
FEWEST: Final = 5
"""Failures of a suspect, and chunks of the others, which a judgement needs."""
FEWEST_TIMES: Final = 20
"""Tasks of the suspect, and of the others, of which the times are compared."""
TWICE: Final = 4
"""Steps of a factor of two."""
SHARE: Final = 4
"""One in so many may be bad."""

T = TypeVar("T")


@dataclass(slots=True)
class Account:
    """How the tasks of a rank have fared."""

    node: str
    chunks: Counter[str] = field(default_factory=Counter)
    """By function."""
    failed: Counter[str] = field(default_factory=Counter)
    tasks: int = 0
    failures: int = 0
    steps: Counter[int] = field(default_factory=Counter)


@dataclass(frozen=True, slots=True)
class Verdict:
    """These ranks are to be lent no more."""

    ranks: tuple[Rank, ...]
    sentence: str


class Health:
    """See the module's docstring."""

    def __init__(self) -> None:
        self._accounts: dict[Rank, Account] = {}
        self._nodes: dict[str, list[Rank]] = {}
        self._bad: set[Rank] = set()
        self._bad_nodes: set[str] = set()

    def join(self, rank: Rank, node: str) -> None:
        """Open the account of a rank."""
        self._accounts[rank] = Account(node)
        self._nodes.setdefault(node, []).append(rank)

    def leave(self, rank: Rank) -> None:
        """Close the account of a rank which is gone."""
        account = self._accounts.pop(rank, None)
        if account:
            self._nodes[account.node].remove(rank)

    def saw_chunks(self, rank: Rank, kind: str, counts: Sequence[int]) -> None:
        """Take in chunks of a function: how many, how many failed; tasks, how many failed."""
        account = self._accounts.get(rank)
        if account:
            account.chunks[kind] += counts[0]
            account.failed[kind] += counts[1]
            account.tasks += counts[2]
            account.failures += counts[3]

    def saw_time(self, rank: Rank, step: int) -> None:
        """Take in how long a task took against what was expected."""
        account = self._accounts.get(rank)
        if account:
            account.steps[step] += 1

    def judge(self) -> list[Verdict]:
        """Return which nodes and ranks have turned out to be bad, now."""
        return [*self._judge_nodes(), *self._judge_ranks()]

    def _judge_nodes(self) -> list[Verdict]:
        verdicts = []
        for node, ranks in self._nodes.items():
            sound = len(self._nodes) - len(self._bad_nodes)
            if (
                node in self._bad_nodes
                or sound < 2
                or not self._allows_more(len(self._bad_nodes), len(self._nodes))
            ):
                continue
            why = self._find_fault(ranks)
            if why:
                self._bad_nodes.add(node)
                condemned = tuple(rank for rank in ranks if rank not in self._bad)
                self._bad.update(condemned)
                verdicts.append(Verdict(condemned, f"node {node} is quarantined: {why}"))
        return verdicts

    def _judge_ranks(self) -> list[Verdict]:
        verdicts = []
        for rank, account in self._accounts.items():
            if rank in self._bad or len(self._accounts) - len(self._bad) < 2:
                continue
            if not self._allows_more(len(self._bad), len(self._accounts)):
                break
            why = self._find_fault([rank])
            if why:
                self._bad.add(rank)
                sentence = f"rank {rank} on node {account.node} is quarantined: {why}"
                verdicts.append(Verdict((rank,), sentence))
        return verdicts

    @staticmethod
    def _allows_more(bad: int, of: int) -> bool:
        return bad < max(1, of // SHARE)

    def _find_fault(self, suspects: Iterable[Rank]) -> str:
        """Say what is wrong with some ranks together; empty if nothing is."""
        theirs = [self._accounts[rank] for rank in suspects]
        accused = {id(account) for account in theirs}
        others = [
            account
            for rank, account in self._accounts.items()
            if rank not in self._bad and id(account) not in accused
        ]
        return _fails_too_much(theirs, others) or _is_too_slow(theirs, others)


def _fails_too_much(theirs: list[Account], others: list[Account]) -> str:
    if not any(account.failures for account in theirs):
        return ""
    chunks, failed = _total(a.chunks for a in theirs), _total(a.failed for a in theirs)
    all_chunks, all_failed = _total(a.chunks for a in others), _total(a.failed for a in others)
    known = [kind for kind in chunks if all_chunks[kind] >= FEWEST]
    tried, failures = sum(chunks[k] for k in known), sum(failed[k] for k in known)
    if failures < FEWEST:
        return ""
    # As if the others had had one more, which failed: a rate of 0 would make anything improbable.
    expected = sum(chunks[k] * (all_failed[k] + 1) / (all_chunks[k] + 1) for k in known)
    if _at_least(failures, tried, expected) > IMPROBABLE:
        return ""
    return (
        f"{sum(a.failures for a in theirs)} of {sum(a.tasks for a in theirs)} tasks failed there, "
        f"{sum(a.failures for a in others)} of {sum(a.tasks for a in others)} elsewhere"
    )


def _is_too_slow(theirs: list[Account], others: list[Account]) -> str:
    steps, all_steps = _total(a.steps for a in theirs), _total(a.steps for a in others)
    count = steps.total()
    if count < FEWEST_TIMES or all_steps.total() < FEWEST_TIMES:
        return ""
    usual = _median(all_steps)
    slower = _median(steps) - usual
    above = sum(number for step, number in steps.items() if step > usual)
    if slower < TWICE or _at_least(above, count, count / 2) > IMPROBABLE:
        return ""
    times = 2 ** (slower / TWICE)
    return f"the median of {count} tasks took {times:.1f} times as long as elsewhere"


def _total(counters: Iterable[Counter[T]]) -> Counter[T]:
    total: Counter[T] = Counter()
    for counter in counters:
        total.update(counter)
    return total


def _median(steps: Counter[int]) -> int:
    left = steps.total() // 2
    for step in sorted(steps):
        left -= steps[step]
        if left < 0:
            return step
    raise AssertionError("there is no median of nothing")


def _at_least(hits: int, tries: int, expected: float) -> float:
    """Bound the probability of so many hits where ``expected`` are; 1 if that is no surprise."""
    seen, usual = hits / tries, min(expected / tries, 1.0)
    if seen <= usual:
        return 1.0
    divergence = seen * log(seen / usual)
    if seen < 1:
        divergence += (1 - seen) * log((1 - seen) / (1 - usual))
    return exp(-tries * divergence)
