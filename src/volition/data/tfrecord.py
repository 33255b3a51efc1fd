"""TFRecord files and the tf.train.Example in them, without TensorFlow.

    scan_records(path) -> spans of the records whose headers are sound      one pass over headers, nothing else is read
    read_record(path, span) -> bytes                                        checked by its CRC
    parse_example(bytes) -> {name: Feature}                                 bytes stay where they are: spans, no copies

A record is: length (uint64), masked CRC-32C of these eight bytes, the data, masked CRC-32C of the data; little-endian.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

HEADER, FOOTER = 12, 4
PIECE = 1 << 16  # bytes that are summed at a time
BLOCK = 256  # bytes that one row of the table covers
POLYNOMIAL = 0x82F63B78  # Castagnoli's, reflected

VARINT, FIXED64, DELIMITED, FIXED32 = 0, 1, 2, 5  # protobuf's wire types


class DamagedRecordError(ValueError):
    """What is wrong with the bytes; whoever knows the file adds its name."""


@dataclass(frozen=True, kw_only=True)
class Scan:
    spans: np.ndarray  # int64[n, 2]: first byte and end of every record's data
    problem: str  # why nothing could be read behind the last of them; "" at a sound end of the file


@dataclass(frozen=True, kw_only=True)
class Feature:
    """One list of an Example."""

    kind: str  # "bytes", "float" or "int64"
    values: np.ndarray  # float32[n] or int64[n]; of bytes int64[n, 2]: first byte and end within the record


def scan_records(path: Path) -> Scan:
    """Where the records of a file lie. A header that is wrong ends the scan: the next one could be anywhere."""
    spans, position, problem = [], 0, ""
    size = path.stat().st_size
    with path.open("rb") as file:
        while position < size and not problem:
            file.seek(position)
            header = file.read(HEADER)
            length = int.from_bytes(header[:8], "little")
            end = position + HEADER + length
            if len(header) < HEADER:
                problem = f"byte {position}: the header of a record is cut"
            elif masked_crc(header[:8]) != int.from_bytes(header[8:], "little"):
                problem = f"byte {position}: the checksum of a record's length is wrong"
            elif end + FOOTER > size:
                problem = f"byte {position}: a record of {length} bytes is cut by the end of the file"
            else:
                spans.append((position + HEADER, end))
                position = end + FOOTER
    return Scan(spans=np.array(spans, np.int64).reshape(-1, 2), problem=problem)


def read_record(path: Path, span: np.ndarray) -> bytes:
    """The data of one record; DamagedRecordError when its checksum is wrong."""
    first, end = (int(x) for x in span)
    with path.open("rb") as file:
        file.seek(first)
        data, stored = file.read(end - first), file.read(FOOTER)
    if len(data) < end - first or masked_crc(data) != int.from_bytes(stored, "little"):
        raise DamagedRecordError(f"bytes {first} to {end}: the checksum of the record is wrong")
    return data


def masked_crc(data: bytes) -> int:
    """As TFRecord stores it: rotated right by 15 bits, plus a constant."""
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def crc32c(data: bytes) -> int:
    """Castagnoli's CRC. Long data goes through tables in numpy: a CRC is linear, so its blocks may be summed apart."""
    state, start = 0xFFFFFFFF, len(data) % PIECE
    state = _step(state, data[:start]) if start < BLOCK else _piece(state, data[:start])
    for first in range(start, len(data), PIECE):
        state = _piece(state, data[first : first + PIECE])
    return state ^ 0xFFFFFFFF


def _step(state: int, data: bytes) -> int:
    for byte in data:
        state = _FIRST[(state ^ byte) & 255] ^ state >> 8
    return state


def _piece(state: int, data: bytes) -> int:
    """Of at most PIECE bytes: the state joins the first four; zeros in front change nothing."""
    padded = np.zeros(PIECE, np.uint8)
    start = PIECE - len(data)
    padded[start:] = np.frombuffer(data, np.uint8)
    padded[start : start + 4] ^= np.frombuffer(struct.pack("<I", state), np.uint8)
    sums = np.bitwise_xor.reduce(_TABLE.ravel().take(padded.reshape(-1, BLOCK) + _ROWS), axis=1)
    for shift in _SHIFTS:  # the sums of neighbours into one: the left one moves on by the length of the right one
        left, right = sums[0::2], sums[1::2]
        moved = shift[0, left & 255] ^ shift[1, left >> 8 & 255] ^ shift[2, left >> 16 & 255] ^ shift[3, left >> 24]
        sums = moved ^ right
    return int(sums[0])


def _first_table() -> list[int]:
    found = []
    for byte in range(256):
        for _ in range(8):
            byte = byte >> 1 ^ (POLYNOMIAL if byte & 1 else 0)
        found.append(byte)
    return found


def _block_table() -> np.ndarray:
    """uint32[BLOCK, 256]: what a byte at each place of a block adds to the block's sum."""
    first = np.array(_FIRST, np.uint32)
    rows = [first]
    for _ in range(BLOCK - 1):
        rows.append(first[rows[-1] & 255] ^ rows[-1] >> 8)
    return np.stack(rows[::-1])


def _shift_tables() -> list[np.ndarray]:
    """uint32[4, 256] for 1, 2, 4 ... blocks: what each byte of a sum becomes when so many zero bytes follow."""
    table = _TABLE[:4].copy()  # BLOCK - 4 zero bytes behind a sum's four bytes at the front of a block ...
    found = [table]
    while BLOCK << len(found) < PIECE:
        last = found[-1]
        found.append(last[0, last & 255] ^ last[1, last >> 8 & 255] ^ last[2, last >> 16 & 255] ^ last[3, last >> 24])
    return found


_FIRST = _first_table()
_TABLE = _block_table()
_ROWS = np.arange(BLOCK) * 256
_SHIFTS = _shift_tables()


def parse_example(data: bytes) -> dict[str, Feature]:
    """The features of a tf.train.Example: DamagedRecordError where the bytes are none."""
    found = {}
    for number, features in _delimited(data, 0, len(data)):
        if number != 1:
            continue
        for entry, place in _delimited(data, *features):
            if entry != 1:
                continue
            parts = dict(_delimited(data, *place))
            if 1 not in parts:
                raise DamagedRecordError(f"byte {place[0]}: a feature has no name")
            try:
                name = data[slice(*parts[1])].decode()
            except UnicodeDecodeError as error:
                raise DamagedRecordError(f"byte {place[0]}: the name of a feature is no text") from error
            found[name] = _feature(data, parts.get(2, (0, 0)))
    return found


def _feature(data: bytes, place: tuple[int, int]) -> Feature:
    for number, content in _delimited(data, *place):
        if number == 1:
            spans = [span for item, span in _delimited(data, *content) if item == 1]
            return Feature(kind="bytes", values=np.array(spans, np.int64).reshape(-1, 2))
        if number == 2:
            return Feature(kind="float", values=_floats(data, content))
        if number == 3:
            return Feature(kind="int64", values=_integers(data, content))
    return Feature(kind="bytes", values=np.zeros((0, 2), np.int64))


def _floats(data: bytes, place: tuple[int, int]) -> np.ndarray:
    """Packed or one by one."""
    parts = []
    for number, wire, first, end in _fields(data, *place):
        if number != 1 or wire not in (DELIMITED, FIXED32) or (end - first) % 4:
            raise DamagedRecordError(f"byte {first}: a list of floats holds something else")
        parts.append(np.frombuffer(data, "<f4", (end - first) // 4, first))
    return np.concatenate(parts).astype(np.float32) if parts else np.zeros(0, np.float32)


def _integers(data: bytes, place: tuple[int, int]) -> np.ndarray:
    values = []
    for number, wire, first, end in _fields(data, *place):
        if number != 1 or wire not in (DELIMITED, VARINT):
            raise DamagedRecordError(f"byte {first}: a list of integers holds something else")
        while first < end:
            value, first = _varint(data, first, end)
            values.append(value - (1 << 64) if value >> 63 else value)
    return np.array(values, np.int64)


def _delimited(data: bytes, first: int, end: int) -> Iterator[tuple[int, tuple[int, int]]]:
    """(field number, span) of the fields that are strings or messages; others are passed over."""
    for number, wire, start, stop in _fields(data, first, end):
        if wire == DELIMITED:
            yield number, (start, stop)


def _fields(data: bytes, first: int, end: int) -> Iterator[tuple[int, int, int, int]]:
    """(field number, wire type, first byte of the value, end) of every field of a message."""
    while first < end:
        key, first = _varint(data, first, end)
        wire = key & 7
        if wire == DELIMITED:
            length, first = _varint(data, first, end)
        elif wire == VARINT:
            length = _varint(data, first, end)[1] - first
        elif wire in (FIXED32, FIXED64):
            length = 4 if wire == FIXED32 else 8
        else:
            raise DamagedRecordError(f"byte {first}: no field of an Example has the wire type {wire}")
        if length > end - first:
            raise DamagedRecordError(f"byte {first}: a field of {length} bytes does not end where its message does")
        yield key >> 3, wire, first, first + length
        first += length


def _varint(data: bytes, first: int, end: int) -> tuple[int, int]:
    """(value below 2**64, where the next thing begins)"""
    value = 0
    for place in range(min(10, end - first)):
        byte = data[first + place]
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value & 0xFFFFFFFFFFFFFFFF, first + place + 1
    raise DamagedRecordError(f"byte {first}: a number does not end")
