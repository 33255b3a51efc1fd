"""What goes over the wire: msgpack with numpy arrays in it, laid out as openpi's clients and servers do.

    observation dict --pack--> bytes --websocket--> bytes --unpack--> dict with arrays

An array is a map {b"__ndarray__": True, b"data": bytes, b"dtype": "<f4", b"shape": [..]}, a numpy scalar
{b"__npgeneric__": True, b"data": number, b"dtype": ...}. What comes in is data from a stranger: only numbers, booleans,
text, bytes, lists, maps with text keys and arrays of numbers are made from it, within `DecodeLimits`. Nothing that is
loaded can run code.
"""

from __future__ import annotations

import builtins
from dataclasses import dataclass
from typing import Any

import msgpack
import numpy as np

ARRAY, SCALAR = b"__ndarray__", b"__npgeneric__"
DTYPES = ("|b1", "|u1", "|i1", "<u2", "<i2", "<u4", "<i4", "<u8", "<i8", "<f2", "<f4", "<f8")
MAX_DIMENSIONS = 8


class DecodeError(ValueError):
    """What came in is not a message of this protocol."""


@dataclass(frozen=True)
class DecodeLimits:
    """How much one message may hold, so that a small message cannot become a large one in memory."""

    max_bytes: int = 32 << 20
    max_text: int = 16 << 10  # bytes of one text
    max_items: int = 4096  # maps, lists and their entries, all together
    max_depth: int = 6


def pack(message: Any) -> bytes:
    """Message -> bytes; TypeError for what the protocol cannot carry (object and complex arrays among it)."""
    return msgpack.packb(message, default=_encode)


def unpack(data: bytes, limits: DecodeLimits = DecodeLimits()) -> Any:
    """Bytes -> message; DecodeError for everything that is not one, or is too large. Arrays are read-only."""
    if len(data) > limits.max_bytes:
        raise DecodeError(f"a message must have at most {limits.max_bytes} bytes, this one has {len(data)}")
    counted = _Counted(limits.max_items)
    try:
        message = msgpack.unpackb(
            data,
            raw=False,
            strict_map_key=True,
            object_hook=counted.map,
            list_hook=counted.list,
            max_str_len=limits.max_text,
            max_bin_len=limits.max_bytes,
            max_array_len=limits.max_items,
            max_map_len=limits.max_items,
            max_ext_len=0,
        )
    except DecodeError:
        raise
    except (ValueError, TypeError, OverflowError, RecursionError, MemoryError, msgpack.UnpackException) as error:
        raise DecodeError(f"a message must be msgpack with numpy arrays: {error or type(error).__name__}") from error
    _require_shallow(message, limits.max_depth)
    return message


class _Counted:
    """Makes maps and lists while their number is within bounds; msgpack calls it from the innermost outwards."""

    def __init__(self, most: int) -> None:
        self._left = most

    def _count(self, number: int) -> None:
        self._left -= number
        if self._left < 0:
            raise DecodeError("a message must not have so many maps, lists and entries")

    def map(self, found: dict[Any, Any]) -> Any:
        self._count(1 + len(found))
        if ARRAY in found:
            return _array(found)
        if SCALAR in found:
            return _scalar(found)
        unnamed = [name for name in found if not isinstance(name, str)]
        if unnamed:
            raise DecodeError(f"the keys of a map must be text, got {unnamed[0]!r}")
        return found

    def list(self, found: builtins.list[Any]) -> builtins.list[Any]:
        self._count(1 + len(found))
        return found


def _require_shallow(message: Any, depth: int) -> None:
    """A loop, not a recursion: a hostile message may be deep."""
    level = [message]
    for _ in range(depth + 1):
        nested = [one.values() if isinstance(one, dict) else one for one in level if isinstance(one, (dict, list))]
        level = [inner for one in nested for inner in one]
        if not level:
            return
    raise DecodeError(f"maps and lists must be nested at most {depth} deep")


def _encode(value: Any) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        little = value.dtype.newbyteorder("<") if value.dtype.byteorder == ">" else value.dtype
        if little.str not in DTYPES:
            raise TypeError(
                f"arrays on the wire must hold numbers or booleans ({', '.join(DTYPES)}), got {value.dtype}"
            )
        if isinstance(value, np.generic):
            return {SCALAR: True, b"data": value.item(), b"dtype": little.str}
        array = value.astype(little, copy=False)
        return {ARRAY: True, b"data": array.tobytes(), b"dtype": little.str, b"shape": list(array.shape)}
    raise TypeError(
        f"the protocol carries numbers, text, bytes, lists, maps and numpy arrays, not {type(value).__name__}"
    )


def _dtype(found: dict[Any, Any]) -> np.dtype:
    name = found.get(b"dtype")
    if not isinstance(name, str) or name not in DTYPES:
        raise DecodeError(f"an array's dtype must be one of {', '.join(DTYPES)}, got {name!r}")
    return np.dtype(name)


def _array(found: dict[Any, Any]) -> np.ndarray:
    dtype, data, shape = _dtype(found), found.get(b"data"), found.get(b"shape")
    if not isinstance(data, bytes) or not isinstance(shape, list) or len(shape) > MAX_DIMENSIONS:
        raise DecodeError(f"an array must have bytes as its data and up to {MAX_DIMENSIONS} dimensions as its shape")
    size = dtype.itemsize
    for length in shape:
        if type(length) is not int or length < 0:
            raise DecodeError(f"an array's shape must be whole numbers from 0 on, got {shape}")
        size *= length
    if size != len(data):
        raise DecodeError(
            f"an array of shape {shape} and dtype {dtype} must have {size} bytes of data, has {len(data)}"
        )
    return np.frombuffer(data, dtype).reshape(shape)


def _scalar(found: dict[Any, Any]) -> np.generic:
    dtype, value = _dtype(found), found.get(b"data")
    if not isinstance(value, (bool, int, float)):
        raise DecodeError(f"a numpy scalar must hold a number, got {type(value).__name__}")
    try:
        with np.errstate(over="raise"):  # a float too large would become infinite, with a warning
            return dtype.type(value)
    except (OverflowError, FloatingPointError, ValueError) as error:
        raise DecodeError(f"a numpy scalar of dtype {dtype} cannot hold {value!r}") from error
