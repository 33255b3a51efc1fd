"""Films of episodes: frames, an mp4 that every browser plays, and a film strip for a page.

    results --replay_films--> Film(frames) --> write_mp4 (h264) | film_strip (JPEG)

Nothing is filmed during evaluation: an episode is bit-exact, so the few worth seeing are run again from their actions.
"""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
from PIL import Image

from volition.evaluation.episodes import EpisodeResult
from volition.evaluation.slot import Film, Replay
from volition.evaluation.workers import EnvFactory, Lost, Pool, open_pool


def whole(result: EpisodeResult) -> int:
    """The number of the command that a film begins with."""
    return 0


def from_the_failed_one(result: EpisodeResult) -> int:
    """As `whole`, but of a chain that failed only the command at which it did."""
    return 0 if result.success else len(result.attempts) - 1


def replay_films(
    factory: EnvFactory,
    results: Sequence[EpisodeResult],
    *,
    every: int = 2,
    num_workers: int = 1,
    since: Callable[[EpisodeResult], int] = whole,
) -> list[Film]:
    """Run episodes again from their recorded actions, keeping every `every`-th frame from `since` on and the last one.

    Raises RuntimeError if an episode does not end as it did: then the environment is not reproducible.
    """
    if every < 1:
        raise ValueError(f"every must be at least 1, got {every}")
    pool = open_pool(factory, num_workers=num_workers, slots_per_worker=1, patience_seconds=120.0)
    try:
        films = _replay_all(pool, results, every, since)
    finally:
        pool.close()
    for film, result in zip(films, results):
        if film.success != result.attempts[-1].success:
            raise RuntimeError(
                f"'{result.trial}' must end as it did when its actions are repeated; success was "
                f"{result.attempts[-1].success}, now {film.success}: is the environment's reset exact?"
            )
    return films


def _replay_all(
    pool: Pool, results: Sequence[EpisodeResult], every: int, since: Callable[[EpisodeResult], int]
) -> list[Film]:
    films: dict[int, Film] = {}
    waiting = deque(enumerate(results))
    free = list(range(pool.num_slots))
    running: dict[int, int] = {}
    while waiting or running:
        while waiting and free:
            slot = free.pop()
            running[slot], result = waiting.popleft()
            actions = tuple(attempt.actions for attempt in result.attempts)
            pool.send(slot, Replay(trial=result.trial, actions=actions, every=every, since=since(result)))
        for slot, reply in pool.receive():
            if isinstance(reply, Lost):
                raise RuntimeError(f"an episode could not be filmed: {reply.reason}")
            assert isinstance(reply, Film)
            films[running.pop(slot)] = reply
            free.append(slot)
    return [films[number] for number in range(len(results))]


def encode_mp4(frames: np.ndarray, *, fps: int = 15, hold: int = 10) -> bytes:
    """An h264 film of frames uint8[n, height, width, 3] with even sides; the last frame stands `hold` frames longer."""
    frames = _checked(frames)
    if frames.shape[1] % 2 or frames.shape[2] % 2:
        raise ValueError(f"h264 needs frames with even sides, got {frames.shape[2]} x {frames.shape[1]}")
    buffer = io.BytesIO()
    with av.open(buffer, mode="w", format="mp4") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "22", "preset": "veryfast"})
        stream.width, stream.height, stream.pix_fmt = frames.shape[2], frames.shape[1], "yuv420p"
        stream.thread_count = 1  # the same bytes on every machine
        for frame in [*frames, *[frames[-1]] * hold]:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")))
        container.mux(stream.encode())
    return buffer.getvalue()


def write_mp4(frames: np.ndarray, path: Path, *, fps: int = 15) -> Path:
    """`encode_mp4` into a file, which appears only when it is whole."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(path.name + ".part")
    unfinished.write_bytes(encode_mp4(frames, fps=fps))
    return unfinished.replace(path)


def film_strip(frames: np.ndarray, *, count: int = 6, height: int = 120, gap: int = 4, quality: int = 82) -> bytes:
    """A JPEG with `count` frames, spread evenly from the first to the last, side by side on white gaps."""
    frames = _checked(frames)
    chosen = frames[np.linspace(0, len(frames) - 1, min(count, len(frames))).round().astype(int)]
    width = round(height * frames.shape[2] / frames.shape[1])
    strip = Image.new("RGB", (len(chosen) * (width + gap) - gap, height), "white")
    for place, frame in enumerate(chosen):
        small = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
        strip.paste(small, (place * (width + gap), 0))
    buffer = io.BytesIO()
    strip.save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def still(frame: np.ndarray, *, quality: int = 85) -> bytes:
    """One frame uint8[height, width, 3] as a JPEG: the poster of a film."""
    buffer = io.BytesIO()
    Image.fromarray(_checked(frame[None])[0]).save(buffer, format="JPEG", quality=quality, optimize=True)
    return buffer.getvalue()


def _checked(frames: np.ndarray) -> np.ndarray:
    if frames.dtype != np.uint8 or frames.ndim != 4 or frames.shape[3] != 3 or len(frames) == 0:
        raise ValueError(f"frames must be uint8[n, height, width, 3] with n >= 1, got {frames.dtype}{frames.shape}")
    return frames
