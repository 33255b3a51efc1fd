"""RLDS as tensorflow_datasets writes it: protobuf and TFRecord by hand, the checksums bit by bit."""

from __future__ import annotations

import json
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from volition.data.pictures import encode_image

LENGTHS = (5, 3, 4)
SENTENCES = ("open the drawer", "put the cup in the sink", "open the drawer")
SIZE = (6, 8)


def checksum(data: bytes) -> int:
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF


def record(data: bytes) -> bytes:
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", checksum(length)) + data + struct.pack("<I", checksum(data))


def number(value: int) -> bytes:
    value &= (1 << 64) - 1
    found = b""
    while value > 127:
        found, value = found + bytes([value & 127 | 128]), value >> 7
    return found + bytes([value])


def message(field: int, content: bytes) -> bytes:
    return number(field << 3 | 2) + number(len(content)) + content


def feature(values: Sequence[Any], *, packed: bool = True) -> bytes:
    first = values[0]
    if isinstance(first, bytes):
        return message(1, b"".join(message(1, value) for value in values))
    if isinstance(first, float):
        numbers = [struct.pack("<f", value) for value in values]
        return message(2, message(1, b"".join(numbers)) if packed else b"".join(number(13) + n for n in numbers))
    numbers = [number(value) for value in values]
    return message(3, message(1, b"".join(numbers)) if packed else b"".join(number(8) + n for n in numbers))


def example(features: dict[str, Sequence[Any]], *, packed: bool = True) -> bytes:
    entries = [
        message(1, message(1, name.encode()) + message(2, feature(values, packed=packed)))
        for name, values in features.items()
    ]
    return message(1, b"".join(entries))


def frames(episode: int, camera: str) -> np.ndarray:
    rng = np.random.default_rng([episode, len(camera)])
    return rng.integers(0, 255, (LENGTHS[episode], *SIZE, 3)).astype(np.uint8)


def vectors(episode: int, name: str, width: int) -> np.ndarray:
    return np.random.default_rng([episode, len(name)]).normal(size=(LENGTHS[episode], width)).astype(np.float32)


def content(episode: int) -> dict[str, Sequence[Any]]:
    length = LENGTHS[episode]
    return {
        "steps/action": vectors(episode, "action", 7).ravel().tolist(),
        "steps/observation/state": vectors(episode, "state", 4).ravel().tolist(),
        "steps/observation/gripper": vectors(episode, "gripper", 1).ravel().tolist(),
        "steps/observation/image": [encode_image(frame, "png") for frame in frames(episode, "image")],
        "steps/observation/wrist_image": [encode_image(frame, "png") for frame in frames(episode, "wrist_image")],
        "steps/language_instruction": [SENTENCES[episode].encode()] * length,
        "steps/language_embedding": [0.5] * 512 * length,
        "steps/is_first": [int(step == 0) for step in range(length)],
        "steps/is_last": [int(step == length - 1) for step in range(length)],
        "episode_metadata/file_path": [b"somewhere"],
    }


def tensor(*shape: int, dtype: str = "float32") -> dict[str, Any]:
    sizes = {"dimensions": [str(size) for size in shape]} if shape else {}
    return {"tensor": {"shape": sizes, "dtype": dtype, "encoding": "none"}}


def folder(features: dict[str, Any]) -> dict[str, Any]:
    return {"featuresDict": {"features": features}}


def features_json() -> dict[str, Any]:
    image = {
        "image": {"shape": {"dimensions": [str(x) for x in (*SIZE, 3)]}, "dtype": "uint8", "encodingFormat": "png"}
    }
    observation = {"image": image, "wrist_image": image, "state": tensor(4), "gripper": tensor()}
    step = {
        "action": tensor(7),
        "observation": folder(observation),
        "language_instruction": {"text": {}},
        "language_embedding": tensor(512),
        "is_first": tensor(dtype="bool"),
        "is_last": tensor(dtype="bool"),
    }
    return folder(
        {
            "steps": {"sequence": {"feature": folder(step), "length": "-1"}},
            "episode_metadata": folder({"file_path": {"text": {}}}),
        }
    )


def write_dataset(
    root: Path, shards: Sequence[Sequence[bytes]], *, name: str = "toy_arm", features: dict[str, Any] | None = None
) -> Path:
    """Records of every shard -> a dataset with one split, "train"."""
    root.mkdir(parents=True)
    split = {"name": "train", "shardLengths": [str(len(records)) for records in shards]}
    info = {"name": name, "fileFormat": "tfrecord", "version": "1.0.0", "splits": [split]}
    (root / "dataset_info.json").write_text(json.dumps(info))
    (root / "features.json").write_text(json.dumps(features or features_json()))
    for i, records in enumerate(shards):
        shard_path(root, i, len(shards), name).write_bytes(b"".join(record(data) for data in records))
    return root


def shard_path(root: Path, shard: int = 0, shards: int = 2, name: str = "toy_arm") -> Path:
    return root / f"{name}-train.tfrecord-{shard:05d}-of-{shards:05d}"


def make(root: Path) -> Path:
    records = [example(content(episode)) for episode in range(len(LENGTHS))]
    return write_dataset(root / "toy_arm/1.0.0", [records[:2], records[2:]])
