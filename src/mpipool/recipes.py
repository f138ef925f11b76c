"""How results were made which stay where they were made: what is lost can be made again.

A result that is kept (``keep=True``) is gone with its rank. The leader which had it made keeps the
item, and knows the function, for as long as the handle lives; who needs the value then asks that
leader, through its own agent, and runs the call once more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from mpipool.ids import DataId, ExecutorId, Rank
from mpipool.led import Led
from mpipool.messages import Buffer, HowMade, Made, Message, Open
from mpipool.outcomes import Outcomes
from mpipool.transport import Transport


class Recipes:
    """The calls which made what handles of this rank's processes stand for.

    Parameters
    ----------
    transport : Transport
        To the other ranks.
    to_caller : callable
        Sends a message to a process of this rank.
    """

    def __init__(
        self, transport: Transport, to_caller: Callable[[ExecutorId, Message], None]
    ) -> None:
        self._transport = transport
        self._to_caller = to_caller
        self._of: dict[DataId, tuple[ExecutorId, Open, Buffer]] = {}
        self._asked: dict[int, tuple[Rank, ExecutorId, HowMade]] = {}
        self._questions = 0

    def __len__(self) -> int:
        return len(self._of)

    def note(self, led: Led, outcomes: Outcomes) -> None:
        """Keep the items of results which were kept."""
        for index, data in outcomes.where_kept():
            _, item = led.backlog.cut(index, 1)
            self._of[data] = (led.owner, led.opening, item)

    def release(self, data: Iterable[DataId]) -> None:
        """Forget how data were made which are needed no more."""
        for released in data if self._of else ():
            self._of.pop(released, None)

    def let_go(self, owner: ExecutorId) -> list[DataId]:
        """Forget what a process had made which is gone, and its handles with it; return which."""
        theirs = [data for data, (made_for, *_) in self._of.items() if made_for == owner]
        self.release(theirs)
        return theirs

    def ask(self, executor: ExecutorId, question: HowMade) -> None:
        """Ask for a process of this rank."""
        self._questions += 1
        self._asked[self._questions] = (question.maker, executor, question)
        if question.maker in self._transport.gone:
            self.lose(question.maker)
            return
        asked = HowMade(request=self._questions, data=question.data, maker=question.maker)
        self._transport.send(question.maker, asked)

    def asked(self, rank: Rank, question: HowMade) -> None:
        """Tell another rank, or this one, what it asks for; nothing if that is forgotten."""
        made = Made(request=question.request)
        if question.data in self._of:
            _, opening, item = self._of[question.data]
            made = Made(
                request=question.request,
                stage=opening.stage,
                retries=opening.retries,
                needs=opening.needs,
                parts=(*opening.parts, item),
            )
        self._transport.send(rank, made)

    def answered(self, made: Made) -> None:
        """Pass an answer on."""
        if made.request not in self._asked:
            return  # who was asked was lost meanwhile
        _, executor, question = self._asked.pop(made.request)
        answer = Made(
            request=question.request,
            stage=made.stage,
            retries=made.retries,
            needs=made.needs,
            parts=made.parts,
        )
        self._to_caller(executor, answer)

    def lose(self, rank: Rank) -> None:
        """Answer what a rank was asked for which is gone."""
        for request, (maker, *_) in list(self._asked.items()):
            if maker == rank:
                self.answered(Made(request=request))
