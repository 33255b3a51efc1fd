"""Pictures on tensors: normalisation, resizing, and augmentation that keeps a window consistent."""

import numpy as np
import pytest
import torch
from PIL import Image

from volition.backbones.images import Augmentation, Pictures, normalise

STRONG = Augmentation(crop=0.1, shift=0.2, brightness=0.2, contrast=0.3, colour=0.2)


def window(seed: int = 0, batch: int = 3, steps: int = 4) -> torch.Tensor:
    """One random picture a row, the same at every step."""
    picture = torch.randint(
        0, 256, (batch, 1, 20, 24, 3), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed)
    )
    return picture.expand(-1, steps, -1, -1, -1).clone()


def draw(seed: int = 1) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_normalised_range_and_layout() -> None:
    images = torch.zeros(2, 8, 6, 3, dtype=torch.uint8)
    images[1] = 255
    pixels = normalise(images, Pictures(size=(8, 6)))
    assert pixels.shape == (2, 3, 8, 6)
    assert pixels[0].unique().tolist() == [-1.0]
    assert pixels[1].unique().tolist() == [1.0]


def test_resizing_agrees_with_pillow() -> None:
    rng = np.random.default_rng(0)
    small = rng.integers(0, 256, (10, 10, 3), dtype=np.uint8)
    picture = np.asarray(Image.fromarray(small).resize((120, 120), Image.Resampling.BICUBIC))
    ours = (normalise(torch.from_numpy(picture.copy())[None], Pictures(size=(48, 48)))[0].permute(1, 2, 0) + 1) * 127.5
    theirs = np.asarray(Image.fromarray(picture).resize((48, 48), Image.Resampling.BILINEAR)).astype(np.float32)
    assert np.abs(ours.numpy() - theirs).max() < 1.5


def test_one_draw_a_window() -> None:
    """A still scene stays still: every step of a window is changed alike, and windows differ."""
    changed = STRONG({"static": window()}, draw())["static"]
    assert torch.equal(changed, changed[:, :1].expand_as(changed))
    assert not torch.equal(changed, window())
    same = window()[:1].expand(3, -1, -1, -1, -1).clone()
    rows = STRONG({"static": same}, draw())["static"]
    assert not torch.equal(rows[0], rows[1])


def test_cameras_are_drawn_apart() -> None:
    changed = STRONG({"static": window(), "gripper": window()}, draw())
    assert not torch.equal(changed["static"], changed["gripper"])


def test_equal_seeds_give_equal_pictures() -> None:
    first, second = (STRONG({"static": window()}, draw())["static"] for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, STRONG({"static": window()}, draw(2))["static"])


def test_a_shift_moves_and_repeats_the_edge() -> None:
    picture = torch.arange(24, dtype=torch.uint8).view(1, 1, 1, 24, 1).expand(1, 1, 20, 24, 3).clone()
    for seed in range(20):
        row = Augmentation(shift=0.25)({"c": picture}, draw(seed))["c"][0, 0, 0, :, 0].int()
        offset = int(row[12]) - 12
        assert abs(offset) <= 6
        assert row.tolist() == [min(max(i + offset, 0), 23) for i in range(24)]


def test_a_crop_shows_a_part_as_large_as_the_whole() -> None:
    """Of a picture that grows brighter to the right, a crop is the same with other ends: between 75 and 100 % of it."""
    picture = torch.arange(0, 240, 2, dtype=torch.uint8).view(1, 1, 1, 120, 1).expand(1, 2, 60, 120, 3).clone()
    spans = []
    for seed in range(30):
        cropped = Augmentation(crop=0.25)({"c": picture}, draw(seed))["c"]
        assert (cropped.shape, cropped.dtype) == (picture.shape, picture.dtype)
        row = cropped[0, 1, 30, :, 0].float()
        spans.append(float(row[-1] - row[0]) / 238)
        even = torch.linspace(float(row[0]), float(row[-1]), 120)
        assert (row - even).abs().max() <= 3  # nothing is bent
    assert 0.74 < min(spans) < 0.8 < 0.95 < max(spans) <= 1


@pytest.mark.parametrize("field", ["brightness", "contrast", "colour"])
def test_each_colour_change_does_something(field: str) -> None:
    changed = Augmentation(**{field: 0.3})({"c": window()}, draw())["c"]
    assert changed.dtype == torch.uint8
    assert not torch.equal(changed, window())


def test_nothing_asked_nothing_changed() -> None:
    assert torch.equal(Augmentation()({"c": window()}, draw())["c"], window())
