"""Families that only have marks of their own around pictures, which their tokenizers know."""

from __future__ import annotations

from volition.backbones.adapter import Adapter


class InternVL(Adapter):
    """And GOT-OCR 2."""

    before = ("<img>",)
    after = ("</img>",)


class AyaVision(Adapter):
    """A picture in one piece is its own overview."""

    before = ("<|START_OF_IMG|>", "TILE_GLOBAL")
    after = ("<|END_OF_IMG|>",)


class Cohere2Vision(Adapter):
    before = ("<|START_OF_IMG|>",)
    after = ("<|IMG_LINE_BREAK|>", "<|END_OF_IMG|>")


class Ovis2(Adapter):
    before = ("<IMG_START>",)
    after = ("<IMG_GRID>", "<IMG_END>")
