"""Devices by their names."""

from __future__ import annotations

import torch


def usable_device(name: str) -> torch.device:
    """ "cpu", "cuda" or "cuda:1"; ValueError when this machine or this build of torch has no such device."""
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={name!r} must be one that torch can use here, such as 'cpu' or 'cuda': {reason} "
            "(docs/your-own-gpu.md says how to bring a build for your GPU)"
        ) from error
