from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.formats.rlds import checksum, example, record
from volition.data.tfrecord import (
    DamagedRecordError,
    crc32c,
    masked_crc,
    parse_example,
    read_record,
    scan_records,
)


def test_the_published_checksum() -> None:
    assert crc32c(b"123456789") == 0xE3069283
    assert crc32c(b"\0" * 32) == 0x8A9136AA  # RFC 3720, B.4


@pytest.mark.parametrize("length", [0, 1, 3, 255, 256, 257, 65535, 65536, 65537, 65541, 131400])
def test_checksums_of_any_length(length: int) -> None:
    data = np.random.default_rng(length).bytes(length)
    assert masked_crc(data) == checksum(data)


def test_records_are_found_by_their_headers(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes(record(b"one") + record(b"") + record(b"three"))
    scan = scan_records(path)
    assert [read_record(path, span) for span in scan.spans] == [b"one", b"", b"three"]
    assert not scan.problem


@pytest.mark.parametrize(("cut", "problem"), [(25, "header of a record is cut"), (34, "cut by the end of the file")])
def test_a_cut_file_keeps_what_stands_before_the_cut(tmp_path: Path, cut: int, problem: str) -> None:
    path = tmp_path / "a.tfrecord"
    path.write_bytes((record(b"one") + record(b"second"))[:cut])
    scan = scan_records(path)
    assert (len(scan.spans), problem in scan.problem) == (1, True)


@pytest.mark.parametrize("bit", range(8 * len(record(b"one"))))
def test_every_flipped_bit_is_noticed(tmp_path: Path, bit: int) -> None:
    path, data = tmp_path / "a.tfrecord", bytearray(record(b"one"))
    data[bit // 8] ^= 1 << bit % 8
    path.write_bytes(data)
    scan = scan_records(path)
    if not scan.problem:
        with pytest.raises(DamagedRecordError, match="checksum of the record"):
            read_record(path, scan.spans[0])


@pytest.mark.parametrize("packed", [True, False])
def test_lists_packed_or_one_by_one(packed: bool) -> None:
    data = example({"f": [1.5, -2.0], "i": [3, -1, 300], "b": [b"", b"xyz"]}, packed=packed)
    found = parse_example(data)
    assert {name: one.kind for name, one in found.items()} == {"f": "float", "i": "int64", "b": "bytes"}
    np.testing.assert_array_equal(found["f"].values, np.array([1.5, -2.0], np.float32))
    np.testing.assert_array_equal(found["i"].values, [3, -1, 300])
    assert [data[first:end] for first, end in found["b"].values] == [b"", b"xyz"]


@pytest.mark.parametrize("data", [b"\x0a\xff\xff\xff\xff\x0f", b"\x0a", b"\xff" * 20, b"\x0a\x02\x0a\x7f", b"\x0b"])
def test_what_is_no_example_is_refused(data: bytes) -> None:
    with pytest.raises(DamagedRecordError, match="byte"):
        parse_example(data)
