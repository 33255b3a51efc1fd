"""Frames to bytes and back: PNG or JPEG per frame, H.264 per episode.

frames uint8[n, height, width, 3] --write_video--> one small file --join_videos--> many episodes in one file
read_video(path, times) -> frames at those times;  scan_video(path) -> every frame in order
"""

from __future__ import annotations

import io
import os
import struct
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.video.reformatter import VideoReformatter
from PIL import Image, UnidentifiedImageError

# What Pillow raises over bytes that are damaged, or that claim to be a huge picture.
_NO_PICTURE = (
    *(UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, MemoryError),
    *(TypeError, IndexError, Image.DecompressionBombError, Image.DecompressionBombWarning),
)
SEEK_SECONDS = 1.0  # decode through smaller gaps, seek over larger ones


def encode_image(frame: np.ndarray, kind: str) -> bytes:
    """uint8[height, width, 3] -> PNG (lossless) or JPEG bytes."""
    buffer = io.BytesIO()
    if kind == "png":
        Image.fromarray(frame).save(buffer, "PNG", compress_level=1)
    elif kind == "jpeg":
        Image.fromarray(frame).save(buffer, "JPEG", quality=95, subsampling=0)
    else:
        raise ValueError(f"image kind must be 'png' or 'jpeg', got {kind!r}")
    return buffer.getvalue()


def decode_image(data: bytes, source: str) -> np.ndarray:
    """uint8[height, width, 3]; ValueError that names `source` when the bytes are no picture."""
    try:
        return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
    except _NO_PICTURE as error:
        raise ValueError(f"{source} must be a PNG or JPEG picture, but {error}; the file is damaged") from error


def write_video(path: Path, frames: np.ndarray, *, fps: int, keyframe_interval: int, quality: int) -> None:
    """H.264 in an MP4 file. One thread and no B-frames: the same frames give the same bytes, and cuts are clean.

    `quality` is x264's constant rate factor: 0 lossless, 18 hardly visible, 51 worst.
    """
    height, width = frames.shape[1:3]
    if height % 2 or width % 2:
        raise ValueError(
            f"video needs an even height and width (4:2:0 colour), got {height}x{width}; "
            f"choose another camera size, or images='png'"
        )
    options = {
        "crf": str(quality),
        "preset": "veryfast",
        "bf": "0",
        "g": str(keyframe_interval),
        "threads": "1",
        "x264-params": "mbtree=0",  # its weights come out different now and then for pictures of few macroblocks
    }
    with av.open(str(path), "w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options=options)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        convert = VideoReformatter()  # one for all frames: making it costs more than using it
        for frame in frames:
            picture = convert.reformat(av.VideoFrame.from_ndarray(frame, format="rgb24"), format="yuv420p")
            container.mux(stream.encode(picture))
        container.mux(stream.encode(None))


def join_videos(parts: Sequence[Path], lengths: Sequence[int], path: Path, *, fps: int) -> None:
    """Put files of `write_video` one after the other without encoding anything again; `lengths` in frames."""
    with av.open(str(path), "w", format="mp4") as target:
        stream: Any = None
        done = 0
        for part, length in zip(parts, lengths):
            with _opened(part) as source:
                video = source.streams.video[0]
                if stream is None:
                    stream = target.add_stream_from_template(video)
                for packet in source.demux(video):
                    if packet.dts is None:  # the end marker
                        continue
                    offset = round(done / fps / packet.time_base)
                    packet.pts, packet.dts = packet.pts + offset, packet.dts + offset
                    packet.stream = stream
                    with _writing(path):
                        target.mux(packet)
            done += length


def read_video(path: Path, times: np.ndarray, *, fps: float) -> np.ndarray:
    """The frames shown at `times` (seconds, any order, repeats allowed) -> uint8[n, height, width, 3]."""
    wanted = np.unique(np.asarray(times, dtype=np.float64))
    found: dict[float, np.ndarray] = {}
    with _opened(path) as container:
        position = -np.inf
        frames: Iterator[tuple[float, av.VideoFrame]] = iter(())
        convert = VideoReformatter()
        for time in wanted:
            if time - position > SEEK_SECONDS or time < position:
                stream = container.streams.video[0]
                container.seek(int(max(time - 0.5 / fps, 0) / stream.time_base), stream=stream, backward=True)
                frames = _timed(container)
            for position, frame in frames:
                if abs(position - time) < 0.5 / fps:
                    found[time] = _pixels(convert, frame)
                    break
                if position > time:
                    break
            if time not in found:
                raise ValueError(f"{path} must have a frame at {time:.3f} s, but has none; the file is damaged or cut")
    return np.stack([found[time] for time in np.asarray(times, dtype=np.float64)])


def scan_video(path: Path) -> Iterator[tuple[float, np.ndarray]]:
    """Every (time in seconds, uint8[height, width, 3]) of a file, in order."""
    with _opened(path) as container:
        convert = VideoReformatter()
        for time, frame in _timed(container):
            yield time, _pixels(convert, frame)


@contextmanager
def _opened(path: Path) -> Iterator[Any]:
    """An open video; whatever the decoder complains about becomes an error that names the file."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} must exist but is missing; is the dataset complete?")
    try:
        with av.open(os.fspath(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} must hold a video stream, but has none; the file is damaged")
            yield container
    except (av.FFmpegError, TypeError, ZeroDivisionError, OverflowError, MemoryError) as error:
        raise ValueError(f"{path} must be a readable video, but {error}; the file is damaged or cut") from error


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """A full disk is no damage to what is being read."""
    try:
        yield
    except av.FFmpegError as error:
        raise OSError(error.errno, error.strerror, str(path)) from error


def _timed(container: Any) -> Iterator[tuple[float, Any]]:
    stream = container.streams.video[0]
    for frame in container.decode(stream):
        yield float(frame.pts * stream.time_base), frame


def _pixels(convert: VideoReformatter, frame: av.VideoFrame) -> np.ndarray:
    """uint8[height, width, 3]; `convert` is made once a video: making it costs more than using it."""
    pixels: np.ndarray = convert.reformat(frame, format="rgb24").to_ndarray()
    return pixels
