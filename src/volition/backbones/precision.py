"""Which types a device computes in, and which it only imitates."""

from __future__ import annotations

import logging
from functools import cache

import torch

logger = logging.getLogger(__name__)


@cache
def computes_in_bfloat16(device: str) -> bool:
    """Whether "cpu" or "cuda" has instructions for products in bfloat16: recent GPUs, CPUs with AVX-512 BF16 or AMX."""
    if device == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    if device == "cpu":
        return torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    return False


def autocast_type(asked: torch.dtype | None, device: torch.device) -> torch.dtype | None:
    """What to compute in on this device: as asked, but float32 (None) where bfloat16 would be imitated.

    Without such instructions a CPU takes some ten times as long for bfloat16 as for float32.
    """
    if asked == torch.bfloat16 and not computes_in_bfloat16(device.type):
        _say_so(device.type)
        return None
    return asked


@cache
def _say_so(device: str) -> None:
    logger.warning("this machine's %s has no instructions for bfloat16: computing in float32, which is faster", device)
