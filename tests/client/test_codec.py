"""The wire codec: what it carries comes back equal, and nothing that a stranger sends becomes anything else."""

from __future__ import annotations

import pickle
from typing import Any

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from volition_client.codec import DTYPES, DecodeError, DecodeLimits, pack, unpack

ARRAYS = hnp.arrays(
    dtype=st.sampled_from([np.dtype(name) for name in DTYPES]),
    shape=hnp.array_shapes(min_dims=0, min_side=0, max_side=4),
)


@given(ARRAYS)
@settings(max_examples=200)
def test_arrays_come_back_to_the_bit(array: np.ndarray) -> None:
    back = unpack(pack({"x": array}))["x"]
    assert back.dtype == array.dtype
    assert back.shape == array.shape
    assert back.tobytes() == array.tobytes()
    assert not back.flags.writeable


@given(st.recursive(st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats() | st.text(max_size=9),
                    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=8))  # fmt: skip
@settings(max_examples=200)
def test_plain_values_come_back(value: Any) -> None:
    back = unpack(pack(value), DecodeLimits(max_depth=20))
    assert repr(back) == repr(value)  # NaN is not equal to itself


def test_big_endian_and_strided_arrays_arrive_as_little_endian_ones() -> None:
    array = np.arange(12, dtype=">f4").reshape(3, 4)[::2, ::-1]
    back = unpack(pack(array))
    assert back.dtype == np.dtype("<f4")
    assert np.array_equal(back, array)
    scalar = unpack(pack(np.float32(0.1)))
    assert (scalar, scalar.dtype) == (np.float32(0.1), np.dtype("f4"))


def test_the_layout_is_openpis() -> None:
    plain = msgpack.unpackb(pack(np.array([[1, 2]], np.uint8)))
    assert plain == {b"__ndarray__": True, b"data": b"\x01\x02", b"dtype": "|u1", b"shape": [1, 2]}
    assert msgpack.unpackb(pack(np.int64(5))) == {b"__npgeneric__": True, b"data": 5, b"dtype": "<i8"}


@pytest.mark.parametrize("value", [np.array([object()]), np.array([1j]), np.array(["a"]), object(), {1, 2}])
def test_what_the_protocol_cannot_carry_is_not_sent(value: Any) -> None:
    with pytest.raises(TypeError, match=r"wire|protocol"):
        pack({"x": value})


def array_of(**changes: Any) -> bytes:
    fields = {"__ndarray__": True, "data": b"\0" * 8, "dtype": "<f4", "shape": [2], **changes}
    return msgpack.packb({key.encode(): x for key, x in fields.items() if x is not None})


HOSTILE = {
    "objects": array_of(dtype="|O"),
    "a pickle in it": array_of(dtype="|O", data=pickle.dumps(print)),
    "a dtype with fields": array_of(dtype="i4,f4"),
    "a dtype that is none": array_of(dtype=5),
    "a void": array_of(dtype="|V8"),
    "text": array_of(dtype="<U2"),
    "too few bytes": array_of(data=b"\0" * 7),
    "too many bytes": array_of(data=b"\0" * 9),
    "a negative length": array_of(shape=[-2, -1]),
    "a length of text": array_of(shape=["2"]),
    "a boolean length": array_of(shape=[True, 2]),
    "a huge shape without bytes": array_of(shape=[2**62, 4], data=b""),
    "many dimensions": array_of(shape=[1] * 9, data=b"\0" * 4),
    "no shape": array_of(shape=None),
    "data of text": array_of(data="12345678"),
    "a scalar of text": msgpack.packb({b"__npgeneric__": True, b"data": "1", b"dtype": "<f4"}),
    "a scalar that does not fit": msgpack.packb({b"__npgeneric__": True, b"data": 300, b"dtype": "|u1"}),
    "an extension": msgpack.packb(msgpack.ExtType(5, b"x")),
    "a time": msgpack.packb(msgpack.Timestamp(1)),
    "keys of bytes": msgpack.packb({b"x": 1}),
    "keys of numbers": msgpack.packb({1: 1}),
    "nothing": b"",
    "a length that lies": b"\xdd\xff\xff\xff\xff",
    "a map that lies": b"\xdf\xff\xff\xff\xff",
    "bytes that lie": b"\xc6\xff\xff\xff\xff",
    "deep lists": b"\x91" * 100_000 + b"\x90",
    "deep enough": b"\x91" * 20 + b"\x90",
    "many small maps": msgpack.packb([[{}] * 4000] * 4),
    "a long text": msgpack.packb("x" * 20_000),
    "no UTF-8": b"\xa2\xff\xfe",
    "two messages": msgpack.packb(1) * 2,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_bytes_are_refused(name: str) -> None:
    with pytest.raises(DecodeError):
        unpack(HOSTILE[name])


def test_a_message_above_the_limit_is_not_even_read() -> None:
    with pytest.raises(DecodeError, match="at most 10 bytes"):
        unpack(b"\x90" * 11, DecodeLimits(max_bytes=10))


@given(st.binary(max_size=200))
@settings(max_examples=500)
def test_any_bytes_are_a_message_or_an_error(data: bytes) -> None:
    try:
        unpack(data)
    except DecodeError:
        return


@given(st.data())
@settings(max_examples=300)
def test_a_mutated_message_is_a_message_or_an_error(data: st.DataObject) -> None:
    good = bytearray(pack({"observation/static": np.zeros((2, 2, 3), np.uint8), "prompt": "go", "n": np.float32(1)}))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(good) - 1))
        good[place] = data.draw(st.integers(0, 255))
    try:
        unpack(bytes(good))
    except DecodeError:
        return
