"""How kept results were made: who knows it, for how long, and who may be asked."""

from array import array

from builders import batch
from mpipool.ids import DataId, ExecutorId, Rank, data_id
from mpipool.led import Led
from mpipool.messages import HowMade, Made, Open
from mpipool.outcomes import Outcomes
from mpipool.recipes import Recipes
from mpipool.task import DONE, FAILED, KEPT

HERE, THERE = Rank(1), Rank(2)
OWNER, ASKER = ExecutorId(4), ExecutorId(5)
FIRST, SECOND = (data_id(THERE, serial) for serial in (1, 2))


class Wire:
    rank = HERE

    def __init__(self):
        self.sent, self.gone = [], set()

    def send(self, to, message):
        self.sent.append((to, message))


def world():
    """Make the recipes of a rank whose process has had two results kept elsewhere."""
    wire, told = Wire(), []
    recipes = Recipes(wire, lambda executor, message: told.append((executor, message)))
    opening = Open(
        request=1, digest=b"d" * 16, stage="sum", retries=2, recorded=False, keyed=False,
        keep=True, parts=(b"shared", b"function"),
    )  # fmt: skip
    led = Led(None, (), OWNER, None, opening, None)
    led.backlog.add(array("Q", [1, 2, 3]).tobytes(), b"abbccc")
    kept = [KEPT.pack(data, 10) for data in (FIRST, SECOND)]
    table = batch((DONE, b"", kept[0]), (FAILED, b"{}", b"error"), (DONE, b"", kept[1]))
    recipes.note(led, Outcomes(0, table))
    return recipes, wire, told


def ask(data: DataId, maker: Rank = HERE) -> HowMade:
    return HowMade(request=7, data=data, maker=maker)


def how(recipes: Recipes, wire: Wire, data: DataId) -> tuple[bytes, ...]:
    recipes.asked(THERE, ask(data))
    to, made = wire.sent.pop()
    assert (to, made.request) == (THERE, 7)
    return tuple(map(bytes, made.parts))


def test_another_rank_is_told_function_and_item():
    recipes, wire, _ = world()
    assert how(recipes, wire, FIRST) == (b"shared", b"function", b"a")
    assert how(recipes, wire, SECOND) == (b"shared", b"function", b"ccc")


def test_what_was_let_go_is_forgotten():
    recipes, wire, _ = world()
    recipes.release([FIRST])
    assert how(recipes, wire, FIRST) == ()
    assert how(recipes, wire, SECOND) != ()
    assert recipes.let_go(ASKER) == []
    assert recipes.let_go(OWNER) == [SECOND]
    assert how(recipes, wire, SECOND) == ()
    assert len(recipes) == 0


def test_a_process_of_this_rank_gets_the_answer_of_the_rank_which_it_has_asked():
    recipes, wire, told = world()
    recipes.ask(ASKER, ask(FIRST, THERE))
    ((to, asked),) = wire.sent
    assert (to, asked.data) == (THERE, FIRST)
    recipes.answered(Made(request=asked.request, stage="sum", retries=2, parts=(b"s", b"f", b"i")))
    assert told == [(ASKER, Made(request=7, stage="sum", retries=2, parts=(b"s", b"f", b"i")))]


def test_a_rank_that_is_lost_answers_nothing_and_says_so():
    recipes, wire, told = world()
    recipes.ask(ASKER, ask(FIRST, THERE))
    recipes.lose(THERE)
    assert told == [(ASKER, Made(request=7))]
    wire.gone.add(THERE)
    recipes.ask(ASKER, ask(FIRST, THERE))
    assert told == [(ASKER, Made(request=7))] * 2
