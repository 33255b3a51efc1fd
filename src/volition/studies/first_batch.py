"""A picture of the first batch as the policy gets it: what it sees, what it is told, what it is to do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from volition.backbones.images import Augmentation
from volition.data.files import replacing
from volition.policy import Policy
from volition.types import Batch, Target

ROWS, SIDE, GAP, LINE = 4, 128, 6, 14  # windows shown, and pixels


def draw_first_batch(
    path: Path, policy: Policy, batch: Batch, target: Target, augmentation: Augmentation, seed: int
) -> None:
    """A row a window: every camera at every step, augmented; then the words and the first actions, in -1..1."""
    images = augmentation(batch.images, torch.Generator().manual_seed(seed))
    count, steps = min(ROWS, batch.shape[0]), batch.shape[1]
    width = max(640, len(images) * steps * (SIDE + GAP) + GAP)
    height = SIDE + 3 * LINE + 2 * GAP
    sheet = Image.new("RGB", (width, count * height), "white")
    pen = ImageDraw.Draw(sheet)
    texts = words_of(policy, batch)
    for row in range(count):
        left, top = GAP, row * height + GAP
        for camera, pixels in images.items():
            for step in range(steps):
                picture = Image.fromarray(pixels[row, step].numpy()).resize((SIDE, SIDE))
                sheet.paste(picture, (left, top))
                pen.text(
                    (left + 3, top + 2), f"{camera} {step - steps + 1:+d}", "white", stroke_width=2, stroke_fill="black"
                )
                left += SIDE + GAP
        pen.text((GAP, top + SIDE + 2), texts[row], "black")
        for line, ahead in enumerate((0, target.actions.shape[2] - 1)):
            inside = bool(target.mask[row, -1, ahead])
            told = numbers(target.actions[row, -1, ahead].tolist()) if inside else "outside the episode"
            pen.text((GAP, top + SIDE + 2 + (line + 1) * LINE), f"action +{ahead}: {told}", "black")
    with replacing(path) as unfinished:
        sheet.save(unfinished, format="PNG")


def words_of(policy: Policy, batch: Batch) -> list[str]:
    """What stands in the prompt of every window's first row, without what the tokenizer calls special."""
    adapter = policy.collator.adapter
    rows = batch.inputs["input_ids"][:: len(batch.inputs["input_ids"]) // batch.shape[0]]
    known = len(adapter.tokenizer)
    return [
        adapter.tokenizer.decode([token for token in row if 0 <= token < known], skip_special_tokens=True)
        for row in rows.tolist()
    ]


def numbers(values: Sequence[float]) -> str:
    return " ".join(f"{value:+.2f}" for value in values)
