from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.data.conftest import toy_episode
from volition.data.pictures import decode_image, encode_image, join_videos, read_video, scan_video, write_video


def _video(path: Path, number: int, length: int) -> np.ndarray:
    frames = toy_episode(number, length).images["base"]
    write_video(path, frames, fps=10, keyframe_interval=4, quality=10)
    return frames


def test_png_is_exact_and_jpeg_is_close() -> None:
    frame = toy_episode(0, 1).images["base"][0]
    np.testing.assert_array_equal(decode_image(encode_image(frame, "png"), "x"), frame)
    assert np.abs(decode_image(encode_image(frame, "jpeg"), "x").astype(int) - frame).max() < 8


def test_joined_videos_hold_every_frame_at_its_time(tmp_path: Path) -> None:
    lengths = [7, 1, 12]
    parts = [tmp_path / f"{i}.mp4" for i in range(3)]
    frames = np.concatenate([_video(path, i, n) for i, (path, n) in enumerate(zip(parts, lengths))])
    join_videos(parts, lengths, tmp_path / "all.mp4", fps=10)
    shown = list(scan_video(tmp_path / "all.mp4"))
    np.testing.assert_allclose([time for time, _ in shown], np.arange(20) / 10, atol=1e-9)
    assert np.abs(np.stack([frame for _, frame in shown]).astype(int) - frames).mean() < 2


@pytest.mark.parametrize("steps", [[0], [19], [5, 5, 2], [18, 0, 9], list(range(20))])
def test_random_access_equals_the_scan(tmp_path: Path, steps: list[int]) -> None:
    _video(tmp_path / "a.mp4", 3, 20)
    shown = np.stack([frame for _, frame in scan_video(tmp_path / "a.mp4")])
    found = read_video(tmp_path / "a.mp4", np.array(steps) / 10, fps=10.0)
    np.testing.assert_array_equal(found, shown[steps])


def test_colours_survive_the_video(tmp_path: Path) -> None:
    colours = np.array([[220, 40, 40], [40, 60, 220], [250, 250, 250], [0, 0, 0], [30, 200, 60]], np.uint8)
    frames = np.broadcast_to(colours[:, None, None], (5, 32, 32, 3)).copy()
    write_video(tmp_path / "a.mp4", frames, fps=10, keyframe_interval=1, quality=10)
    shown = np.stack([frame for _, frame in scan_video(tmp_path / "a.mp4")])
    assert np.abs(shown.astype(int) - frames).max() <= 8


def test_the_same_small_pictures_always_give_the_same_bytes(tmp_path: Path) -> None:
    """Without care the encoder's block weights depend on what lay in memory before (seen at 28, 32 and 48 pixels)."""
    rng, junk = np.random.default_rng(0), np.random.default_rng()
    blocks = rng.integers(0, 32, (40, 4, 4, 3)).astype(np.uint8) * 8
    videos = [np.stack([np.roll(b.repeat(7, 0).repeat(7, 1), i, 0) for i in range(5)]) for b in blocks]
    seen: list[set[bytes]] = [set() for _ in videos]
    for _ in range(6):
        held = []
        for video, found in zip(videos, seen):
            held.append(junk.integers(0, 255, junk.integers(100, 60000)).astype(np.uint8))
            write_video(tmp_path / "a.mp4", video, fps=10, keyframe_interval=10, quality=18)
            found.add((tmp_path / "a.mp4").read_bytes())
    assert [len(found) for found in seen] == [1] * len(videos)


def test_errors_name_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    with pytest.raises(FileNotFoundError, match=r"a\.mp4 must exist"):
        read_video(path, np.zeros(1), fps=10.0)
    _video(path, 0, 10)
    with pytest.raises(ValueError, match=r"a\.mp4 must have a frame at 1\.500 s"):
        read_video(path, np.array([1.5]), fps=10.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(ValueError, match=r"a\.mp4 must be a readable video"):
        list(scan_video(path))
    with pytest.raises(ValueError, match=r"even height and width .* got 27x28"):
        write_video(path, np.zeros((1, 27, 28, 3), np.uint8), fps=10, keyframe_interval=1, quality=10)
    with pytest.raises(ValueError, match="frame 3 must be a PNG or JPEG"):
        decode_image(b"\x89PNG nothing", "frame 3")
    with pytest.raises(ValueError, match="'png' or 'jpeg', got 'bmp'"):
        encode_image(np.zeros((2, 2, 3), np.uint8), "bmp")
