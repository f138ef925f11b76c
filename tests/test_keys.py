"""Keys are the same in every run, for the same things however they are written."""

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mpipool.errors import UsageError
from mpipool.keys import canonical, digest


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (12, "12"),
        (-0.5, "-0.5"),
        (1e300, "1e+300"),
        ("a b", '"a b"'),
        ("é", '"\\u00e9"'),
        ([], "[]"),
        ({}, "{}"),
        ((1, 2), "[1,2]"),
        ([1, [2, (3,)]], "[1,[2,[3]]]"),
        ({"b": 1, "a": {"d": 2, "c": None}}, '{"a":{"c":null,"d":2},"b":1}'),
        (np.int32(7), "7"),
        (np.uint64(2**63), "9223372036854775808"),
        (np.float64(0.25), "0.25"),
        (np.float32(0.25), "0.25"),
        (np.bool_(True), "true"),
        (np.str_("r"), '"r"'),
        (np.array(3), "3"),
        ({"visit": np.int64(1228), "ccds": (np.int16(1), 2)}, '{"ccds":[1,2],"visit":1228}'),
    ],
    ids=repr,
)
def test_a_value_is_written_in_one_way_only(value, text):
    assert canonical(value, "data ID") == text


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
    max_leaves=9,
)  # fmt: skip


@given(JSON)
def test_what_is_written_is_json_and_is_written_the_same_again(value):
    text = canonical(value, "data ID")
    assert json.loads(text) == value
    assert canonical(json.loads(text), "data ID") == text


@pytest.mark.parametrize(
    ("value", "said"),
    [
        (float("nan"), "data ID is nan: a key can't hold that, it equals nothing"),
        (float("-inf"), "data ID is -inf: a key can't hold that, it equals nothing"),
        ({"a": [0, float("inf")]}, "data ID.a[1] is inf: a key can't hold that, it equals nothing"),
        (np.float64("nan"), "data ID is nan: a key can't hold that, it equals nothing"),
        (np.float32("inf"), "data ID is inf: a key can't hold that, it equals nothing"),
        ({"when": b"now"}, "data ID.when is a bytes: a key is made of JSON values only"),
        ([{1, 2}], "data ID[0] is a set: a key is made of JSON values only"),
        (1j, "data ID is a complex: a key is made of JSON values only"),
        (np.complex128(1j), "data ID is a complex: a key is made of JSON values only"),
        (object, "data ID is a type: a key is made of JSON values only"),
        (
            {"x": np.zeros(1)},
            "data ID.x is an array: a key is made of single values and lists",
        ),
        ({"x": {3: 1}}, "data ID.x has the name 3: names in a key are strings"),
        ({None: 1}, "data ID has the name None: names in a key are strings"),
    ],
    ids=repr,
)
def test_what_a_key_can_not_hold_is_refused_by_its_name(value, said):
    with pytest.raises(UsageError) as caught:
        canonical(value, "data ID")
    assert str(caught.value) == said


def test_the_digest_of_a_task_is_the_same_for_ever():
    config = {"detection": {"threshold": 5.0}, "bands": ["g", "r"]}
    key = digest("frame", "1", config, '{"ccd":3,"visit":1228}')
    assert key.hex() == "a165b4f38cc5563d746d6fdc2346653c"


def test_a_digest_is_that_of_a_list_in_canonical_json():
    text = b'[["frame","2",{"a":1,"b":2}],{"visit":1}]'
    expected = hashlib.blake2b(text, digest_size=16).digest()
    assert digest("frame", "2", {"b": 2, "a": 1}, '{"visit":1}') == expected
    assert len(expected) == 16


def test_every_part_of_a_key_counts():
    keys = {
        digest("frame", "1", {}, "1"),
        digest("coadd", "1", {}, "1"),
        digest("frame", "2", {}, "1"),
        digest("frame", "1", {"a": 1}, "1"),
        digest("frame", "1", {}, "2"),
    }
    assert len(keys) == 5


def test_a_configuration_which_a_key_can_not_hold_is_refused_by_its_name():
    with pytest.raises(UsageError, match=r"^configuration\[2\]\.flat is a bytes: "):
        digest("frame", "1", {"flat": b""}, "1")
