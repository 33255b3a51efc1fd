"""Numbers of the steps since the last line of metrics.

Names that end in `_seconds`, `_per_second` or `_bytes` are of the machine; all others are the same in every run.
"""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from volition.backbones import Backbone
from volition.policy import Policy
from volition.training.optim import Norm, gradient_norm
from volition.training.parts import PARTS, Part, find_parts
from volition.training.ranks import Ranks
from volition.types import Loss


class Meter:
    def __init__(self, ranks: Ranks, *, batch_size: int, count: bool = False):
        """count: the operations of the first step, by which the others are measured."""
        self._ranks, self._batch_size, self._count = ranks, batch_size, count
        self._flops = self._peak = 0.0
        self._uncounted = 0  # steps of this line that took their time for being counted
        self._begin()

    @contextmanager
    def counting(self, backbone: Backbone, *, last: bool) -> Iterator[None]:
        """Around the forward and backward passes of each part of a step. What is computed twice counts twice."""
        if not self._count or self._peak:
            yield
            return
        with FlopCounterMode(display=False) as counter:
            yield
        self._flops += float(counter.get_total_flops())  # of a part of the step
        if last:
            self._peak = peak_flops(backbone.device, backbone.autocast or torch.float32)
            self._uncounted = 1

    def _begin(self) -> None:
        self._losses: list[Tensor] = []
        self._latest: dict[str, Tensor] = {}  # a part of the loss may have a turn at some steps only
        self._spikes, self._skipped = 0, 0
        self._started, self._waited = time.perf_counter(), 0.0

    def add(self, losses: Iterable[Loss], *, waited: float, spike: bool, skipped: bool) -> None:
        """The parts of one step, each with its share of the whole."""
        parts = list(losses)
        self._losses.append(torch.stack([part.total.detach() for part in parts]).sum())
        for name in parts[0].metrics:
            self._latest[name] = torch.stack([part.metrics[name] for part in parts]).sum()
        self._waited += waited
        if len(self._losses) == self._uncounted:
            self._started, self._waited = time.perf_counter(), 0.0
        self._spikes, self._skipped = self._spikes + spike, self._skipped + skipped

    def line(self, step: int, lr_scale: float, norms: dict[str, Tensor]) -> dict[str, float]:
        """And begin anew."""
        names = list(self._latest)
        own = torch.stack([torch.stack(self._losses).mean(), *(self._latest[name].float() for name in names)])
        values = dict(zip(["loss", *names], self._ranks.mean(own).tolist()))
        seconds, count = time.perf_counter() - self._started, len(self._losses) - self._uncounted
        speed: dict[str, float] = {"memory_bytes": memory_bytes(own.device)}
        if count:
            speed |= {
                "samples_per_second": count * self._batch_size / seconds,
                "data_wait_seconds": self._waited,
                "data_wait_share_of_seconds": self._waited / seconds,
                "step_seconds": seconds / count,
            }
        if count and self._flops:
            done = self._flops * count / seconds
            speed |= {"flops_per_second": done, "share_of_peak_flops_per_second": done / self._peak}
        line = {
            "step": step,
            **values,
            **{name: norm.item() for name, norm in norms.items()},
            "lr_scale": lr_scale,
            **({"spikes": self._spikes} if self._spikes else {}),
            **({"skipped_steps": self._skipped} if self._skipped else {}),
            **speed,
        }
        self._uncounted = 0
        self._begin()
        return line


def peak_flops(device: torch.device, kind: torch.dtype) -> float:
    """What a product of large matrices reaches in a second here, in this type: the best of some."""
    side = 8192 if device.type == "cuda" else 1024
    left, right = (torch.ones(side, side, device=device, dtype=kind) for _ in range(2))
    best = float("inf")
    for _ in range(6):
        started = time.perf_counter()
        product = left @ right
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    del product
    return 2 * side**3 / best


def part_norms(policy: Policy, loss_scale: float = 1.0, norm_of: Norm = gradient_norm) -> dict[str, Tensor]:
    """grad_norm_vision, ...: of the gradients of every part that is trained, which are `loss_scale` times too large."""
    members: dict[Part, list[nn.Parameter]] = {part: [] for part in sorted(PARTS)}
    for name, part in find_parts(policy).items():
        members[part].append(policy.get_parameter(name))
    norms = {part: norm_of(parameters) for part, parameters in members.items()}
    return {f"grad_norm_{part}": norm / loss_scale for part, norm in norms.items() if norm is not None}


def memory_bytes(device: torch.device) -> int:
    """The most that was in use at once: of the GPU, else of this process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def process_bytes() -> int:
    """What this process has in memory now; where the system does not say, the most that it had."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return memory_bytes(torch.device("cpu"))
