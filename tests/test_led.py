"""The items of a scatter, as they came in and as they go out."""

from array import array

from hypothesis import given
from hypothesis import strategies as st

from builders import led_by
from mpipool.group import Scatter
from mpipool.ids import BROKER, ExecutorId, Rank, leader_of, scatter_id
from mpipool.led import Backlog, Led
from mpipool.messages import Open

BLOCKS = st.lists(st.lists(st.binary(max_size=4), max_size=5), max_size=5)


def sizes(items: list[bytes]) -> bytes:
    return array("Q", map(len, items)).tobytes()


def backlog(*blocks: list[bytes]) -> Backlog:
    made = Backlog()
    for items in blocks:
        assert made.add(sizes(items), b"".join(items)) == len(items)
    return made


@given(BLOCKS, st.data())
def test_any_run_of_items_can_be_cut_across_blocks(blocks, data):
    items = [item for block in blocks for item in block]
    start = data.draw(st.integers(0, len(items)))
    end = data.draw(st.integers(start, len(items)))
    made = backlog(*blocks)
    assert made.count == len(items)
    cut_sizes, cut = made.cut(start, end - start)
    assert cut_sizes == sizes(items[start:end])
    assert bytes(cut) == b"".join(items[start:end])


def test_items_of_one_block_are_not_copied():
    packed = bytearray(b"abbccc")
    made = Backlog()
    made.add(memoryview(sizes([b"a", b"bb", b"ccc"])), packed)
    _, cut = made.cut(1, 2)
    packed[5:] = b"C"
    assert bytes(cut) == b"bbccC"


def test_items_of_several_blocks_are_put_together():
    made = backlog([b"a", b"bb"], [], [b"ccc"], [b"d", b"e"])
    assert made.cut(1, 3) == (sizes([b"bb", b"ccc", b"d"]), b"bbcccd")
    assert made.cut(2, 1) == (sizes([b"ccc"]), b"ccc")
    assert made.cut(0, 0) == (b"", b"")


def test_a_scatter_begins_without_items_and_with_its_owner_waiting():
    opening = Open(
        request=1, digest=b"f", stage="frame", retries=0, recorded=True, keyed=True,
        parts=(b"{}", b"function"),
    )  # fmt: skip
    led = Led(led_by(1), (led_by(1),), ExecutorId(1), opening, Scatter())
    assert (led.backlog.count, led.waited_for, led.own_lease) == (0, True, None)
    another = Led(led_by(1), (led_by(1),), ExecutorId(1), opening, Scatter())
    assert another.backlog is not led.backlog
    assert another != led


@given(st.integers(0, 2**22), st.integers(0, 2**40 - 1))
def test_the_id_of_a_scatter_holds_its_leader(leader, serial):
    scatter = scatter_id(Rank(leader), serial)
    assert leader_of(scatter) == leader
    assert scatter == leader * 2**40 + serial


def test_rank_0_is_the_broker():
    assert BROKER == 0
