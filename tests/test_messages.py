"""The protocol: what the document says, what the wire carries, what a log shows."""

import dataclasses
import re
from pathlib import Path
from typing import get_type_hints

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpipool import messages
from mpipool.messages import (
    ALIGNMENT,
    LOCAL_MESSAGES,
    RANK_MESSAGES,
    Alive,
    Hello,
    Message,
    Recall,
    Records,
    TasksDone,
    decode,
    describe,
    encode,
)

PROTOCOL = Path(__file__).parents[1] / "docs" / "decisions" / "0001-protocol.md"
PASSED_THROUGH = {
    "Define", "RunTasks", "Ahead", "TasksDone", "Forget", "Fetch", "Fetched", "Release", "Ask",
    "Answer",
}  # fmt: skip
ALL = RANK_MESSAGES + LOCAL_MESSAGES


def names(kinds) -> list[str]:
    return [kind.__name__ for kind in kinds]


def first_column(table: str) -> list[str]:
    """Return the names in code style in the first cell of each row."""
    cells = re.findall(r"^\| (`[^|]*)\|", table, flags=re.MULTILINE)
    return [name for cell in cells for name in re.findall(r"`(\w+)`", cell)]


# --- the document --------------------------------------------------------------------------------


def test_the_document_lists_exactly_the_messages_between_ranks_in_their_order():
    between_ranks, _, _ = PROTOCOL.read_text().partition("\n## ")
    assert first_column(between_ranks) == names(RANK_MESSAGES)
    assert between_ranks.splitlines()[2].startswith("Thirty-four messages pass between ranks.")
    assert len(RANK_MESSAGES) == 34


def test_the_document_lists_exactly_the_local_messages_in_their_order():
    _, _, local = PROTOCOL.read_text().partition("## Between an agent and the processes below it")
    assert first_column(local) == names(LOCAL_MESSAGES)
    passed_through = set(re.findall(r"`(\w+)`", local.partition("|")[0]))
    assert passed_through == PASSED_THROUGH


def test_every_message_stands_in_one_of_the_tables():
    defined = {
        value
        for value in vars(messages).values()
        if isinstance(value, type) and issubclass(value, Message) and value is not Message
    }
    assert defined == set(ALL)
    assert len(ALL) == len(defined)


@pytest.mark.parametrize("kind", ALL, ids=names(ALL))
def test_a_messages_sentence_says_from_whom_to_whom(kind):
    assert re.match(r"\w[\w, ]* to [\w ]+(:|\. Parts)", kind.__doc__)


# --- the wire ------------------------------------------------------------------------------------


def test_codes_are_the_same_in_every_version_of_a_run():
    assert {kind.__name__: kind.code for kind in ALL} == {
        "Hello": 1, "Alive": 2, "Missed": 3, "Lost": 4, "Want": 5, "Lend": 6, "Refuse": 7,
        "Return": 8, "Blocked": 9, "Define": 10, "RunTasks": 11, "Ahead": 12, "TasksDone": 13,
        "Recall": 14, "Forget": 15, "Fetch": 16, "Fetched": 17, "HowMade": 18, "Made": 19,
        "Release": 20, "Assemble": 21, "Assembled": 22, "Enter": 23, "Left": 24, "Warned": 25,
        "Drain": 26, "Tally": 27, "Shun": 28, "Despair": 29, "Records": 30, "Ask": 31,
        "Answer": 32, "Stop": 33, "Bye": 34, "Open": 35, "Items": 36, "Results": 37,
        "Abandon": 38, "Wait": 39, "Resume": 40, "Began": 41, "Cancel": 42, "Cancelled": 43,
        "Skip": 44, "Refused": 45, "Halted": 46, "LetGo": 47, "Keep": 48, "Shared": 49,
        "Piece": 50, "Leave": 51, "Fork": 52, "Run": 53, "Kill": 54, "Started": 55, "Exited": 56,
    }  # fmt: skip


INTEGERS = st.integers(-(2**63), 2**63 - 1)
VALUES = {
    int: INTEGERS,
    float: st.floats(allow_nan=False),
    bool: st.booleans(),
    str: st.text(max_size=9),
    bytes: st.binary(max_size=9),
}


def any_message(kind):
    """Make messages of a class with any values in their fields."""
    fields = {}
    for field in dataclasses.fields(kind):
        hint = get_type_hints(kind)[field.name]
        hint = getattr(hint, "__supertype__", hint)
        fields[field.name] = VALUES.get(hint, st.lists(INTEGERS, max_size=4).map(tuple))
    fields["parts"] = st.lists(st.binary(max_size=9), max_size=4).map(tuple)
    return st.builds(kind, **fields)


@given(st.one_of(*map(any_message, ALL)))
def test_a_message_arrives_as_it_was_sent(message):
    frame = b"".join(encode(message))
    arrived = decode(frame)
    assert dataclasses.replace(arrived, parts=tuple(map(bytes, arrived.parts))) == message
    assert b"".join(encode(arrived)) == frame


@pytest.mark.parametrize("kind", ALL, ids=names(ALL))
def test_the_header_begins_with_the_code(kind):
    values = {int: 1, float: 1.0, bool: True, str: "é", bytes: b"b"}
    fields = {}
    for field in dataclasses.fields(kind):
        hint = get_type_hints(kind)[field.name]
        fields[field.name] = values.get(getattr(hint, "__supertype__", hint), ())
    message = kind(**fields)
    assert encode(message)[0][0] == kind.code
    assert decode(encode(message)[0]) == message


def test_parts_are_neither_copied_when_they_are_sent_nor_when_they_arrive():
    parts = (bytearray(b"table"), b"", memoryview(b"results"))
    buffers = encode(Records(batches=(1, 2), parts=parts))
    assert all(sent is part for sent, part in zip(buffers[1:], parts, strict=True))
    frame = bytearray(b"".join(buffers))
    arrived = decode(frame)
    assert [part.obj is frame for part in arrived.parts] == [True] * 3
    frame[-1:] = b"S"
    assert bytes(arrived.parts[2]) == b"resultS"


def test_the_bytes_of_a_message():
    assert encode(Hello(host="ab", pid=5, memory=6, cpus="0,64", parts=(b"x", b"yz"))) == [
        b"\x01" + b"\x05" + b"\0" * 7 + b"\x06" + b"\0" * 7
        + b"\x02\0\0\0" + b"\x04\0\0\0" + b"\x02\0\0\0" + b"ab" + b"0,64"
        + b"\x01" + b"\0" * 7 + b"\x02" + b"\0" * 7,
        b"x", b"yz",
    ]  # fmt: skip
    assert encode(Alive()) == [b"\x02\0\0\0\0"]


def test_a_message_may_have_any_number_of_parts_and_of_integers():
    parts = tuple(bytes([at % 256]) * (at % 3) for at in range(70_000))
    message = Records(batches=tuple(range(70_000)), parts=parts)
    arrived = decode(b"".join(encode(message)))
    assert arrived.batches == message.batches
    assert tuple(map(bytes, arrived.parts)) == parts


def test_a_further_part_may_come_in_pieces():
    whole = encode(Records(batches=(1,), parts=(b"table", b"abcdef")))
    pieces = encode(Records(batches=(1,), parts=(b"table",)), [b"ab", b"", b"cdef"])
    assert b"".join(pieces) == b"".join(whole)
    empty = decode(b"".join(encode(Records(batches=()), [])))
    assert [bytes(part) for part in empty.parts] == [b""]


@pytest.mark.parametrize("sizes", [(70_000, 5), (5, 70_000), (3, 70_000, 80_000), (1, 65_536)])
def test_the_longest_part_of_a_large_message_is_aligned(sizes):
    parts = tuple(bytes(size) for size in sizes)
    frame = b"".join(encode(Records(batches=(1, 2), parts=parts)))
    arrived = decode(frame)
    assert [len(part) for part in arrived.parts] == list(sizes)
    start = len(frame) - sum(sizes[sizes.index(max(sizes)) :])
    assert start % ALIGNMENT == 0


def test_a_small_message_is_not_made_longer():
    assert len(b"".join(encode(Alive(parts=(bytes(65_536),))))) == 5 + 8 + 65_536


def test_a_message_says_the_names_of_its_fields():
    with pytest.raises(TypeError):
        Recall(1)


# --- the log -------------------------------------------------------------------------------------


def test_a_log_shows_the_fields_and_how_long_the_parts_are():
    report = TasksDone(
        lease=1, chunk=2, scatter=3, first=4, count=5, back=0, failures=1, busy=0.5, leave=True,
        parts=(b"secret", b""),
    )  # fmt: skip
    assert describe(report) == (
        "TasksDone(lease=1, chunk=2, scatter=3, first=4, count=5, back=0, failures=1, busy=0.5, "
        "leave=True, executor=0, cached=(); [6, 0] bytes)"
    )
