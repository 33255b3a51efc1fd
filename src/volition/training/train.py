"""The training loop. Everything a step does is on this screen."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field

import torch

from volition.backbones.images import Augmentation
from volition.policy import Policy
from volition.training.optim import OptimConfig, make_optimizer, set_lr
from volition.training.recompute import RecomputeConfig, set_recompute
from volition.types import Batch, Target

Batches = Callable[[int], tuple[Batch, Target]]  # of step 1, 2, ...: a pure function, so resuming needs no state


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    num_steps: int = 1000
    batch_size: int = 16  # windows, each of num_obs_steps pictures per camera
    log_every: int = 10
    save_every: int = 500
    keep_last: int = 2
    seed: int = 0
    augmentation: Augmentation = field(default_factory=Augmentation)
    optim: OptimConfig = field(default_factory=OptimConfig)
    recompute: RecomputeConfig = field(default_factory=RecomputeConfig)  # memory for time

    def __post_init__(self) -> None:
        for name in ("batch_size", "log_every", "save_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        if self.num_steps < 0:
            raise ValueError(f"num_steps must be at least 0, got {self.num_steps}")
        if self.save_every % self.log_every:
            raise ValueError(
                f"save_every={self.save_every} must be a multiple of log_every={self.log_every}: "
                "a resumed run then logs exactly what the uninterrupted one would"
            )


class NotFiniteError(ValueError):
    """The loss became NaN or infinite; `batch` and `target` are what did it."""

    def __init__(self, step: int, batch: Batch, target: Target):
        super().__init__(
            f"the loss at step {step}, or its gradient, is not finite; training stopped before the weights changed and "
            "the last checkpoint is untouched. Look at the batch (saved beside the metrics), lower the learning rate, "
            "or use float32."
        )
        self.step, self.batch, self.target = step, batch, target


@dataclass
class Trainer:
    """What changes while training: the weights, the optimizer's moments and the number of steps done."""

    policy: Policy
    optimizer: torch.optim.AdamW
    step: int = 0

    @classmethod
    def create(cls, policy: Policy, config: LoopConfig) -> Trainer:
        return cls(policy, make_optimizer(policy, config.optim))


def train(trainer: Trainer, batches: Batches, config: LoopConfig) -> Iterator[dict[str, float | int]]:
    """Train in place from `trainer.step` on, yielding metrics every `log_every` steps; the caller logs and saves."""
    policy, optimizer, device = trainer.policy.train(), trainer.optimizer, trainer.policy.backbone.device
    set_recompute(policy.backbone, config.recompute)
    losses: list[torch.Tensor] = []
    latest: dict[str, torch.Tensor] = {}  # of every metric; a part of the loss may have a turn at some steps only
    started, waited = time.perf_counter(), 0.0
    for step, (batch, target), wait in _prefetch(batches, trainer.step + 1, config.num_steps):
        generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
        batch = batch.with_images(config.augmentation(batch.images, generator)).to(device)
        # A head that draws noise draws the same at this step whether the run was interrupted before or not.
        torch.manual_seed(config.seed * 1_000_003 + step)
        loss = policy(batch, target.to(device))
        if not torch.isfinite(loss.total):
            raise NotFiniteError(step, batch, target)
        loss.total.backward()
        grad_norm = torch.nn.utils.clip_grad_norm_(policy.parameters(), config.optim.max_grad_norm)
        if not torch.isfinite(grad_norm):
            raise NotFiniteError(step, batch, target)
        scale = config.optim.lr_scale(step, config.num_steps)
        set_lr(optimizer, scale)
        optimizer.step()
        optimizer.zero_grad()

        trainer.step = step
        losses.append(loss.total.detach())
        latest |= loss.metrics
        waited += wait
        if step % config.log_every == 0 or step == config.num_steps:
            seconds = time.perf_counter() - started
            metrics = {"loss": torch.stack(losses).mean(), "grad_norm": grad_norm, **latest}
            yield {
                "step": step,
                **{name: value.item() for name, value in metrics.items()},
                "lr_scale": scale,
                "samples_per_second": len(losses) * config.batch_size / seconds,
                "data_wait_seconds": waited,
                "step_seconds": seconds / len(losses),
            }
            losses, latest, started, waited = [], {}, time.perf_counter(), 0.0


def _prefetch(batches: Batches, first: int, last: int) -> Iterator[tuple[int, tuple[Batch, Target], float]]:
    """(step, batch, seconds waited for it), with the next batch being read in a thread meanwhile."""
    with ThreadPoolExecutor(max_workers=1) as reader:
        coming = reader.submit(batches, first) if first <= last else None
        for step in range(first, last + 1):
            assert coming is not None
            asked = time.perf_counter()
            ready = coming.result()
            wait = time.perf_counter() - asked
            coming = reader.submit(batches, step + 1) if step < last else None
            yield step, ready, wait
