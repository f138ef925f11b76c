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


def test_blocks_of_items_are_let_go_when_none_of_theirs_is_needed():
    made = backlog([b"a", b"bb"], [], [b"ccc"], [b"d", b"e"])
    blocks = made._blocks
    made.release(1, 3)
    assert [bytes(block._items) for block in blocks] == [b"abb", b"", b"", b"de"]
    assert made.cut(0, 1) == (sizes([b"a"]), b"a")
    assert made.cut(3, 2) == (sizes([b"d", b"e"]), b"de")
    made.release(4, 1)
    made.release(0, 1)
    assert [bytes(block._items) for block in blocks] == [b"", b"", b"", b""]
    assert made.count == 5
    assert made.add(sizes([b"f"]), b"f") == 1
    assert made.cut(5, 1) == (sizes([b"f"]), b"f")


@given(BLOCKS, st.data())
def test_what_is_not_released_can_still_be_cut(blocks, data):
    items = [item for block in blocks for item in block]
    made = backlog(*blocks)
    released = data.draw(st.sets(st.sampled_from(range(len(items))))) if items else set()
    for index in data.draw(st.permutations(sorted(released))):
        made.release(index, 1)
    for index in set(range(len(items))) - released:
        assert made.cut(index, 1) == (sizes([items[index]]), items[index])


def test_a_scatter_begins_without_items_and_with_nobody_waiting_for_it():
    opening = Open(
        request=1, digest=b"f", stage="frame", retries=0, recorded=True, keyed=True,
        parts=(b"{}", b"function"),
    )  # fmt: skip
    led, another = (
        Led(led_by(1), (led_by(1),), ExecutorId(1), None, opening, Scatter()) for _ in range(2)
    )
    assert (led.backlog.count, led.waited_for, led.scope, led.cores) == (0, False, None, {})
    assert another.backlog is not led.backlog
    assert another.cores is not led.cores
    assert another != led


@given(st.integers(0, 2**22), st.integers(0, 2**40 - 1))
def test_the_id_of_a_scatter_holds_its_leader(leader, serial):
    scatter = scatter_id(Rank(leader), serial)
    assert leader_of(scatter) == leader
    assert scatter == leader * 2**40 + serial


def test_rank_0_is_the_broker():
    assert BROKER == 0
