"""PaliGemma and Gemma 3: parts of a row are read in both directions, and types of tokens say which."""

from __future__ import annotations

from volition.backbones.adapter import Adapter


class PaliGemma(Adapter):
    """PaliGemma 1 and 2: the prompt is read in both directions, [LRN] causally."""

    # 0 marks the prefix that attends in both directions. With 0 at appended tokens the prefix would see them too.
    readout_values = {"token_type_ids": 1}  # noqa: RUF012

    def prompt(self, instruction: str, num_images: int) -> list[int]:
        """As its own processor has it: the beginning stands after the pictures, and a newline ends the prefix."""
        return [*self.shown(num_images), *self.beginning(), *self.words(instruction), *self.words("\n")]


class Gemma3(Adapter):
    """Every picture is read in both directions, all else causally."""

    image_types = ("token_type_ids",)

    def marks(self, count: int) -> list[int]:
        """As its own processor has it, between empty lines."""
        return [*self.words("\n\n"), *super().marks(count), *self.words("\n\n")]
