"""Pickles, and containers of a pickle and the buffers which it refers to."""

import pickle
import sys
import threading

import numpy as np
import pytest

from mpipool.errors import UnpicklableError
from mpipool.executor import pickling
from mpipool.executor.pickling import (
    LARGE,
    OUT_OF_BAND,
    Packer,
    Pieces,
    dump_call,
    dump_exception,
    dump_pieces,
    dump_result,
    dumps,
    loads,
)
from mpipool.messages import ALIGNMENT, Items, decode, encode

EDGES = [size + change for size in (0, OUT_OF_BAND, LARGE, 3 * LARGE + 7) for change in (-1, 0, 1)][
    1:
]


def numbers(size):
    return np.arange(size, dtype=np.uint32).astype(np.uint8)


def received(packed):
    """What the other side has: its own memory, aligned as malloc does it."""
    return memoryview(bytearray(bytes(packed)))


@pytest.mark.parametrize("size", EDGES)
@pytest.mark.parametrize("kind", ["array", "bytes", "bytearray", "several", "nested"])
def test_what_was_packed_is_loaded_whatever_its_size(size, kind):
    array = numbers(size)
    item = {
        "array": array,
        "bytes": array.tobytes(),
        "bytearray": bytearray(array.tobytes()),
        "several": [array, array[::-1].copy(), "between", array],
        "nested": {"a": (array, {"b": array.reshape(1, -1)})},
    }[kind]
    loaded = loads(received(dump_result(item)))
    assert type(loaded) is type(item)
    np.testing.assert_equal(loaded, item)


@pytest.mark.parametrize(
    "array",
    [
        numbers(2 * LARGE)[::2],
        np.asfortranarray(numbers(LARGE).reshape(1024, -1)),
        numbers(LARGE).view([("a", "u1"), ("b", "<u2"), ("c", "u1")]),
        np.array(["text", None] * OUT_OF_BAND, dtype=object),
        np.zeros((0, 5)),
        numbers(LARGE).view("datetime64[s]"),
    ],
    ids=["strided", "fortran", "structured", "objects", "empty", "dates"],
)
def test_all_kinds_of_arrays(array):
    loaded = loads(received(dump_result(array)))
    assert loaded.dtype == array.dtype
    assert loaded.flags.f_contiguous or not array.flags.f_contiguous
    np.testing.assert_array_equal(loaded, array)


def test_a_pickle_without_large_buffers_is_one_that_anybody_can_load():
    packed = dump_result({"small": numbers(OUT_OF_BAND - 1)})
    assert packed[0] == 0x80
    np.testing.assert_array_equal(pickle.loads(packed)["small"], numbers(OUT_OF_BAND - 1))


@pytest.mark.parametrize("size", [OUT_OF_BAND, LARGE])
def test_a_container_can_not_be_taken_for_a_pickle(size):
    packed = bytes(dump_result(numbers(size)))
    assert packed[0] != 0x80
    with pytest.raises(pickle.UnpicklingError):
        pickle.loads(packed)


def test_large_buffers_are_not_copied_by_the_sender():
    array, text = numbers(LARGE), b"x" * LARGE
    packed = dump_result([array, text])
    assert isinstance(packed, Pieces)
    assert any(np.shares_memory(np.frombuffer(p, np.uint8), array) for p in packed.buffers if p)
    assert any(piece is text for piece in packed.buffers)


@pytest.mark.parametrize("prefix", [b"", b"k", b"key" * 50])
def test_what_is_loaded_is_a_writeable_view_of_what_came(prefix):
    packed = Packer().pack([numbers(OUT_OF_BAND), numbers(LARGE + 5)], "the item", prefix)
    frame = received(packed)
    for array in loads(frame[len(prefix) :]):
        assert np.shares_memory(array, np.frombuffer(frame, np.uint8))
        assert array.flags.writeable
        array[0] = 77
        assert 77 in bytes(frame[len(prefix) :])


def test_items_one_behind_the_other_stay_aligned():
    packer = Packer()
    sizes = [packer.add(numbers(OUT_OF_BAND + n), "the item", b"key") for n in range(5)]
    assert not any(size % ALIGNMENT for size in sizes)
    assert sum(sizes) == packer.size
    frame, at = received(packer.take()), 0
    for n, size in enumerate(sizes):
        array = loads(frame[at + 3 : at + size])
        np.testing.assert_array_equal(array, numbers(OUT_OF_BAND + n))
        assert np.shares_memory(array, np.frombuffer(frame, np.uint8))
        at += size


@pytest.mark.parametrize("shift", [1, 3, 8])
def test_what_lies_askew_is_copied_and_so_aligned(shift):
    packed = bytes(dump_result(np.arange(LARGE, dtype=float)))
    frame = memoryview(bytearray(shift) + packed)[shift:]
    array = loads(frame)
    assert array.flags.aligned
    assert array.flags.writeable
    np.testing.assert_array_equal(array, np.arange(LARGE, dtype=float))


def test_what_came_read_only_is_copied_and_so_writeable():
    array = loads(bytes(dump_result(numbers(LARGE))))
    array[0] = 1


def test_an_array_that_was_read_only_still_is():
    array = numbers(LARGE)
    array.flags.writeable = False
    assert not loads(received(dump_result(array))).flags.writeable


def test_what_is_added_may_be_changed_afterwards():
    packer, arrays = Packer(), [numbers(OUT_OF_BAND), numbers(LARGE)]
    sizes = [packer.add(array, "the item") for array in arrays]
    for array in arrays:
        array[:] = 0
    frame = received(packer.take())
    np.testing.assert_array_equal(loads(frame[: sizes[0]]), numbers(OUT_OF_BAND))
    np.testing.assert_array_equal(loads(frame[sizes[0] :]), numbers(LARGE))


def test_medium_sized_pickles_are_whole_at_once():
    """Only what is sent by itself is sent from where it is."""
    array = numbers(OUT_OF_BAND)
    packed = Packer().pack(array, "the item")
    assert isinstance(packed, bytes)
    array[:] = 0
    np.testing.assert_array_equal(loads(packed), numbers(OUT_OF_BAND))


def test_a_packer_goes_on_after_an_item_that_fails():
    packer = Packer()
    first = packer.add(1, "the item")
    with pytest.raises(UnpicklableError):
        packer.add([numbers(LARGE), threading.Lock()], "the item")
    second = packer.add("two", "the item")
    frame = packer.take()
    assert (loads(frame[:first]), loads(frame[first:]), len(frame)) == (1, "two", first + second)


def test_pickling_in_the_middle_of_pickling():
    """As happens where objects call the pool while they are pickled."""
    packer = Packer()

    class Chatty:
        def __reduce__(self):
            assert loads(dump_result([1, 2])) == [1, 2]
            assert loads(packer.pack([numbers(OUT_OF_BAND), 4], "the item"))[1] == 4
            return int, (5,)

    for pack in (dump_result, lambda item: packer.pack(item, "the item")):
        assert loads(pack([0, numbers(OUT_OF_BAND), Chatty(), 1]))[2:] == [5, 1]


def test_a_result_for_a_file_is_one_plain_pickle():
    packed = bytes(dump_result(numbers(LARGE), in_band=True))
    np.testing.assert_array_equal(pickle.loads(packed), numbers(LARGE))


def test_functions_and_their_arguments():
    array = numbers(LARGE)
    function, arguments, keywords = loads(
        received(dump_call(lambda x, y, z: x + y + z, (array,), {"z": array}))
    )
    np.testing.assert_array_equal(function(array, *arguments, **keywords), array + array + array)


def test_pieces_and_whole_pickles_of_the_same():
    for value in ("short", numbers(LARGE)):
        np.testing.assert_equal(loads(b"".join(dump_pieces(value, "the value"))), value)
        np.testing.assert_equal(pickle.loads(dumps(value, "the value")), value)


def test_nothing_is_searched_for_while_nothing_fails(monkeypatch):
    monkeypatch.setattr(pickling.blame, "find", lambda _: pytest.fail("searched"))
    Packer().add(lambda: numbers, "the item")
    dump_result(lambda: 1)
    dump_call(lambda: 1, (), {})


def test_an_exception_which_would_not_arrive_is_empty():
    class Stubborn(Exception):
        def __init__(self, one, two):
            super().__init__(one)

    assert dump_exception(Stubborn(1, 2)) == b""
    assert dump_exception(ValueError(threading.Lock())) == b""
    assert pickle.loads(dump_exception(ValueError(1))).args == (1,)


@pytest.mark.parametrize("request_number", [1, 2**40])
@pytest.mark.parametrize("front", range(0, 100, 13))
def test_the_longest_part_of_a_message_is_aligned(front, request_number):
    message = Items(request=request_number, last=True, parts=(bytes(front),))
    payload = [b"ab", bytes(OUT_OF_BAND), b"c"]
    frame = memoryview(bytearray(b"".join(encode(message, payload))))
    decoded = decode(frame)
    assert [bytes(part) for part in decoded.parts] == [bytes(front), b"".join(payload)]
    assert (len(frame) - len(decoded.parts[1])) % ALIGNMENT == 0


def test_a_short_message_is_not_padded():
    message = Items(request=1, last=True, parts=(b"abc", b"defg"))
    whole = b"".join(encode(message))
    assert whole == b"".join(encode(Items(request=1, last=True, parts=(b"abc",)), [b"de", b"fg"]))
    assert len(whole) < 60


def test_a_pickler_that_has_grown_is_not_used_again():
    """Its memo would stay as long as it was, and all of it be cleared after each small item."""
    dumper = pickling._Dumper(pickle.Pickler)
    dumper.dump("small")
    ((before, _, _),) = dumper._spare
    dumper.dump("small as well")
    ((same, _, _),) = dumper._spare
    assert same is before
    dumper.dump([str(number) for number in range(100_000)])
    assert not dumper._spare
    dumper.dump("small again")
    ((after, _, _),) = dumper._spare
    assert sys.getsizeof(after) <= sys.getsizeof(before)


def test_a_pickler_which_has_failed_is_not_used_again():
    dumper = pickling._Dumper(pickle.Pickler)
    dumper.dump("small")
    with pytest.raises(TypeError):
        dumper.dump(["what was written before", threading.Lock()])
    assert pickle.loads(dumper.dump("next")) == "next"


def test_what_calls_the_pool_while_it_is_pickled_does_not_disturb_the_pickler():
    dumper = pickling._Dumper(pickle.Pickler)

    class Nosy:
        def __reduce__(self):
            return bytes, (dumper.dump("inner"),)

    outer, inner = pickle.loads(dumper.dump(["outer", Nosy()]))
    assert (outer, pickle.loads(inner)) == ("outer", "inner")
