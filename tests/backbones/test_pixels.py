"""Pictures reach a tower as its family's own image processor gives them: numbers, order of patches, tiles."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import (
    CLIPImageProcessorPil,
    HunYuanVLImageProcessorPil,
    Idefics3ImageProcessorPil,
    Kosmos2_5ImageProcessorPil,
    LlavaNextImageProcessorPil,
    MiniCPMV4_6ImageProcessorPil,
    MllamaImageProcessorPil,
    PaddleOCRVLImageProcessorPil,
    PixtralImageProcessorPil,
    Qwen2VLImageProcessorPil,
    SiglipImageProcessorPil,
    VideoLlama3ImageProcessorPil,
)

from tests.families import make_family
from volition.backbones.images import Pictures, normalise
from volition.backbones.molmo2 import pooled_patches

SIDE = 32
SQUARE = {"height": SIDE, "width": SIDE}
PIXELS = {"min_pixels": SIDE * SIDE, "max_pixels": SIDE * SIDE}


def photo(side: int = 96) -> np.ndarray:
    """Smooth, in colours, and not the same in any direction."""
    y, x = np.mgrid[0:side, 0:side] / side
    waves = [np.sin(5 * x + 2 * y), np.cos(7 * y) * x, np.sin(9 * x * y + 1)]
    return (np.stack(waves, axis=-1) * 100 + 128).clip(0, 255).astype(np.uint8)


def ours(processor: Any, side: int = SIDE, picture: np.ndarray | None = None) -> torch.Tensor:
    image = torch.from_numpy(photo() if picture is None else picture)[None]
    return normalise(image, Pictures.of(processor.to_dict(), (side, side)))


@pytest.mark.parametrize(
    "processor",
    [
        CLIPImageProcessorPil(size={"shortest_edge": SIDE}, crop_size=SQUARE),
        SiglipImageProcessorPil(size=SQUARE),
        SiglipImageProcessorPil(size=SQUARE, do_normalize=False),
        SiglipImageProcessorPil(size=SQUARE, resample=2),
    ],
    ids=["clip", "siglip", "without normalisation", "bilinear"],
)
def test_numbers_of_a_plain_processor(processor: Any) -> None:
    theirs = processor(photo(), return_tensors="pt")["pixel_values"]
    std = processor.image_std if processor.do_normalize else [1.0]
    torch.testing.assert_close(ours(processor), theirs, atol=2.001 / 255 / min(std), rtol=0)  # two levels


def test_a_filter_that_is_not_there_is_near() -> None:
    processor = Idefics3ImageProcessorPil(size={"longest_edge": SIDE}, max_image_size={"longest_edge": SIDE})
    theirs = processor(photo(), return_tensors="pt", do_image_splitting=False)["pixel_values"][0]
    torch.testing.assert_close(ours(processor), theirs, atol=0.06, rtol=0)


@pytest.mark.parametrize(
    ("family", "processor"),
    [
        ("qwen2_vl", Qwen2VLImageProcessorPil(patch_size=8, merge_size=2, temporal_patch_size=2, **PIXELS)),
        ("paddleocr_vl", PaddleOCRVLImageProcessorPil(patch_size=8, merge_size=2, **PIXELS)),
        ("video_llama_3", VideoLlama3ImageProcessorPil(patch_size=8, merge_size=1, **PIXELS)),
        ("hunyuan_vl", HunYuanVLImageProcessorPil(patch_size=8, merge_size=2, temporal_patch_size=1, **PIXELS)),
        ("kosmos-2.5", Kosmos2_5ImageProcessorPil(max_patches=4)),
        ("mistral3", PixtralImageProcessorPil(patch_size=8, size={"longest_edge": SIDE})),
        ("minicpmv4_6", MiniCPMV4_6ImageProcessorPil(patch_size=8, slice_mode=False, scale_resolution=SIDE)),
        ("mllama", MllamaImageProcessorPil(size=SQUARE, max_image_tiles=4)),
        ("llava_next", LlavaNextImageProcessorPil(size=SQUARE, crop_size=SQUARE, image_grid_pinpoints=[[32, 64]])),
    ],
    ids=lambda x: x if isinstance(x, str) else "",
)
def test_layout_of_a_family(family: str, processor: Any) -> None:
    adapter = make_family(family).adapter
    picture = photo(SIDE)
    theirs = processor(picture, return_tensors="pt")
    adapter.pictures = Pictures.of(processor.to_dict(), (SIDE, SIDE))
    cameras = [normalise(torch.from_numpy(picture)[None], adapter.pictures)]
    for name, value in adapter.pixels(cameras).items():
        wanted = torch.as_tensor(theirs[name])
        torch.testing.assert_close(value.to(wanted.dtype).reshape(wanted.shape), wanted, atol=0.03, rtol=0)


def test_patches_that_are_pooled_lie_together_and_a_grid_of_odd_sides_is_filled_up() -> None:
    assert pooled_patches(2, 4).tolist() == [[0, 1, 4, 5], [2, 3, 6, 7]]
    assert pooled_patches(3, 3).tolist() == [[0, 1, 3, 4], [2, -1, 5, -1], [6, 7, -1, -1], [8, -1, -1, -1]]


def test_molmo_reads_patches_row_by_row_with_the_colours_of_a_pixel_side_by_side() -> None:
    adapter = make_family("molmo2").adapter
    cameras = [torch.arange(3.0 * SIDE * SIDE).view(1, 3, SIDE, SIDE) + i for i in range(2)]
    given = adapter.pixels(cameras)
    second_patch = cameras[1][0, :, :8, 8:16]
    assert torch.equal(given["pixel_values"][1, 1], second_patch.permute(1, 2, 0).flatten())
    assert given["image_token_pooling"][4].tolist() == [16, 17, 20, 21], "of the second picture, behind the first's 16"
    assert given["image_grids"].tolist() == [[2, 2, 0, 0]] * 2
