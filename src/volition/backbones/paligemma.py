"""PaliGemma 1 and 2: pictures first, then the instruction; the prompt is read in both directions, [LRN] causally."""

from __future__ import annotations

from volition.backbones.base import Adapter


class PaliGemma(Adapter):
    # 0 marks the prefix that attends in both directions. With 0 at appended tokens the prefix would see them too.
    readout_values = {"token_type_ids": 1}  # noqa: RUF012
