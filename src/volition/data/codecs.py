"""Pictures of the packed cache as records of bytes, any of which is decoded alone or with one other.

raw    as they are
zstd   exact: a picture, or its difference to the first one of its group where that takes less. Small for simulated and
       other still cameras, whose background does not change at all; real cameras have noise in every pixel
jpeg   lossy, all colours at full resolution, for real cameras
webp   lossy, two thirds as large as JPEG and a third as fast
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol, get_args, runtime_checkable

import numpy as np
import pyarrow as pa
from PIL import Image

from volition.data.pictures import decode_image

Encoding = Literal["raw", "zstd", "jpeg", "webp"]
GROUP = 8  # more: fewer whole pictures, but larger differences; 4 to 16 measured, of calvin and desk
ZSTD_LEVEL = 9  # 2 ms for a picture of 200 pixels; reading does not take longer for it
WHOLE, DIFFERENCE = b"W", b"D"

Records = Callable[[int], memoryview]  # of an episode: step -> bytes


@runtime_checkable
class Codec(Protocol):
    def encode(self, pictures: np.ndarray) -> Iterator[bytes]:
        """uint8[n, height, width, 3], the first of them the first of a group -> n records."""
        ...

    def decode(self, records: Records, steps: Sequence[int], into: np.ndarray) -> None:
        """Fill `into`, uint8[n, height, width, 3], with the pictures of `steps`."""
        ...


class Raw:
    def encode(self, pictures: np.ndarray) -> Iterator[bytes]:
        return (picture.tobytes() for picture in pictures)

    def decode(self, records: Records, steps: Sequence[int], into: np.ndarray) -> None:
        for picture, step in zip(into, steps):
            picture[...] = np.frombuffer(records(step), np.uint8).reshape(picture.shape)


class Zstd:
    """Differences are modulo 256. The first picture of a group serves all its others, so it is decoded once a call."""

    def __init__(self) -> None:
        self._codec = pa.Codec("zstd", compression_level=ZSTD_LEVEL)

    def encode(self, pictures: np.ndarray) -> Iterator[bytes]:
        for i, picture in enumerate(pictures):
            first = pictures[i - i % GROUP]
            found = [WHOLE + self._codec.compress(picture.tobytes(), asbytes=True)]
            if i % GROUP:
                found.append(DIFFERENCE + self._codec.compress((picture - first).tobytes(), asbytes=True))
            yield min(found, key=len)

    def decode(self, records: Records, steps: Sequence[int], into: np.ndarray) -> None:
        firsts: dict[int, np.ndarray] = {}
        for picture, step in zip(into, steps):
            record = records(step)
            pixels = self._pixels(record, picture)
            if record[:1] == WHOLE:
                picture[...] = pixels
                continue
            first = step - step % GROUP
            if first not in firsts:
                firsts[first] = self._pixels(records(first), picture)
            np.add(firsts[first], pixels, out=picture)

    def _pixels(self, record: memoryview, like: np.ndarray) -> np.ndarray:
        return np.frombuffer(self._codec.decompress(record[1:], like.nbytes), np.uint8).reshape(like.shape)


@dataclass(frozen=True, kw_only=True)
class Lossy:
    kind: Literal["jpeg", "webp"]
    quality: int

    def encode(self, pictures: np.ndarray) -> Iterator[bytes]:
        for picture in pictures:
            buffer = io.BytesIO()
            image = Image.fromarray(picture)
            if self.kind == "jpeg":
                image.save(buffer, "JPEG", quality=self.quality, subsampling=0)
            else:
                image.save(buffer, "WEBP", quality=self.quality)
            yield buffer.getvalue()

    def decode(self, records: Records, steps: Sequence[int], into: np.ndarray) -> None:
        for picture, step in zip(into, steps):
            picture[...] = decode_image(bytes(records(step)), f"a {self.kind} record of the packed cache")


@dataclass(frozen=True, kw_only=True)
class PackConfig:
    """How the frame cache keeps pictures."""

    encoding: Encoding = "raw"
    quality: int = 90  # of jpeg and webp: 1 worst, 100 best

    def __post_init__(self) -> None:
        if self.encoding not in get_args(Encoding):
            raise ValueError(f"encoding must be one of {', '.join(get_args(Encoding))}, got {self.encoding!r}")
        if not 1 <= self.quality <= 100:
            raise ValueError(f"quality must be in 1..100, got {self.quality}")

    @property
    def name(self) -> str:
        """'zstd', 'jpeg90': what tells apart the pictures of two packs of the same dataset."""
        return self.encoding if self.encoding in ("raw", "zstd") else f"{self.encoding}{self.quality}"

    def codec(self) -> Codec:
        if self.encoding == "jpeg" or self.encoding == "webp":
            return Lossy(kind=self.encoding, quality=self.quality)
        return Raw() if self.encoding == "raw" else Zstd()
