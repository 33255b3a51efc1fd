"""The training loop. Everything a step does is on this screen."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import torch
from torch import nn
from torch.distributed.tensor import DTensor

from volition.backbones.images import Augmentation
from volition.policy import Policy
from volition.training.average import Average
from volition.training.compiled import compile_layers
from volition.training.distributed import DistributedConfig, distribute
from volition.training.guard import NotFiniteError, Spikes, require_finite
from volition.training.meter import Meter, part_norms
from volition.training.optim import Norm, OptimConfig, clip_gradients, gradient_norm, make_optimizer, set_lr
from volition.training.pipeline import Pipeline, Ready
from volition.training.precision import LossScale, Precision, set_precision
from volition.training.ranks import Ranks, Shares, summing
from volition.training.read_ahead import Batches, read_ahead
from volition.training.recompute import RecomputeConfig, set_recompute
from volition.types import Batch, Loss, Target

__all__ = ["Batches", "LoopConfig", "NotFiniteError", "Trainer", "train"]


@dataclass(frozen=True, kw_only=True)
class LoopConfig:
    num_steps: int = 1000  # optimizer steps of the whole run
    batch_size: int = 16  # windows of a step, of all ranks together, each of num_obs_steps pictures per camera
    accumulate: int = 1  # parts of a rank's batch that go through the model one after the other: memory for time
    log_every: int = 10
    save_every: int = 500  # steps; a multiple of log_every
    keep_last: int = 2
    keep_best: int = 0  # besides, the checkpoints with the lowest validation loss; needs data.held_out
    seed: int = 0
    precision: Precision = "backbone"  # what the VLM computes in
    compile: bool = False  # kernels made for the model's layers: seconds to minutes once, then faster steps
    ema_decay: float = 0.0  # above 0: a moving average of the weights is kept, and is what acts
    count_flops: bool = False  # of a step, to say what share of the machine's peak it reaches (MFU); not with compile
    spike_factor: float = 0.0  # above 0: a loss that many times the usual one is counted, and its batch kept
    augmentation: Augmentation = field(default_factory=Augmentation)
    optim: OptimConfig = field(default_factory=OptimConfig)
    recompute: RecomputeConfig = field(default_factory=RecomputeConfig)  # memory for time
    distributed: DistributedConfig = field(default_factory=DistributedConfig)

    def __post_init__(self) -> None:
        for name in ("batch_size", "accumulate", "log_every", "save_every", "keep_last"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, got {getattr(self, name)}")
        for name in ("num_steps", "keep_best", "spike_factor"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must be at least 0, got {getattr(self, name)}")
        if self.compile and self.count_flops:
            raise ValueError("count_flops=True cannot see into compiled layers: count in a run with compile=False")
        if self.distributed.pipeline > 1 and self.count_flops:
            raise ValueError("count_flops=True cannot count over the stages of a pipeline: count in a run without")
        if not 0 <= self.ema_decay < 1:
            raise ValueError(f"ema_decay must be in 0..1 (1 excluded), got {self.ema_decay}")
        if self.save_every % self.log_every:
            raise ValueError(
                f"save_every={self.save_every} must be a multiple of log_every={self.log_every}: "
                "a resumed run then logs exactly what the uninterrupted one would"
            )
        if self.accumulate < self.distributed.pipeline:
            raise ValueError(
                f"accumulate={self.accumulate} must be at least distributed.pipeline={self.distributed.pipeline}: "
                "every rank works on a part of the batch while the others work on other parts"
            )
        Ranks().require_parts(self.batch_size, self.accumulate)


@dataclass
class Trainer:
    """What changes while training: weights, moments, and little besides."""

    policy: Policy
    model: nn.Module  # the policy as it is called, on all ranks together
    optimizer: torch.optim.Optimizer
    scale: LossScale
    average: Average | None
    spikes: Spikes
    ranks: Ranks
    steps_per_epoch: float = 0.0
    step: int = 0  # steps done

    @property
    def whole(self) -> bool:
        """Whether this rank has all weights and can act by itself."""
        return not self.elsewhere and not any(isinstance(p, DTensor) for p in self.policy.parameters())

    @property
    def elsewhere(self) -> frozenset[str]:
        """Names of weights and buffers that only other ranks have."""
        return self.model.elsewhere if isinstance(self.model, Pipeline) else frozenset()

    @property
    def norm_of(self) -> Norm:
        return self.model.norm if isinstance(self.model, Pipeline) else gradient_norm

    def writes(self, name: str) -> bool:
        """Whether a tensor that is whole on this rank (or a moment, `name/exp_avg`) is written by this one."""
        return self.model.writes(name.partition("/")[0]) if isinstance(self.model, Pipeline) else self.ranks.first

    @classmethod
    def create(
        cls,
        policy: Policy,
        config: LoopConfig,
        ranks: Ranks | None = None,
        example: tuple[Batch, Target] | None = None,
        steps_per_epoch: float = 0.0,
    ) -> Trainer:
        """From a policy that is on its device. `example`: a part of a batch, which a pipeline wants."""
        ranks = ranks or Ranks()
        ranks.require_parts(config.batch_size, config.accumulate)
        set_precision(policy.backbone, config.precision)
        set_recompute(policy.backbone, config.recompute)
        if config.compile:
            compile_layers(policy.backbone)
        model = distribute(policy, config.distributed, ranks, example)
        optimizer, average = make_optimizer(policy, config.optim), Average.of(policy, config.ema_decay)
        scale, spikes = LossScale.of(policy.backbone), Spikes(config.spike_factor)
        return cls(policy, model, optimizer, scale, average, spikes, ranks=ranks, steps_per_epoch=steps_per_epoch)


Odd = Callable[[int, Batch, Target], None]  # told the batch of a step whose loss was a spike


def train(
    trainer: Trainer, batches: Batches, config: LoopConfig, odd: Odd = lambda step, batch, target: None
) -> Iterator[dict[str, float]]:
    """Train in place from `trainer.step` on, yielding metrics every `log_every` steps; the caller logs and saves."""
    policy, optimizer, ranks = trainer.policy.train(), trainer.optimizer, trainer.ranks
    device, norm_of = policy.backbone.device, trainer.norm_of
    all_parts = ranks.count * config.accumulate
    mine = range(ranks.index * config.accumulate, (ranks.index + 1) * config.accumulate)
    meter = Meter(ranks, batch_size=config.batch_size, count=config.count_flops)
    for step, parts, waited in read_ahead(batches, trainer.step + 1, config.num_steps, mine, all_parts):
        seed = config.seed * 1_000_003 + step
        shares = ranks.shares(policy, [target for _, target in parts], device)
        ready = partial(_ready, config.augmentation, device, seed, parts, mine, all_parts)
        losses = learn(trainer, ready, shares, meter)
        logged = step % config.log_every == 0 or step == config.num_steps
        norms = part_norms(policy, trainer.scale.factor, norm_of) if logged else {}
        norms["grad_norm"] = clip_gradients(policy, config.optim.max_grad_norm, trainer.scale.factor, norm_of)
        taken = trainer.scale.admits(norms["grad_norm"])
        totals = [loss.total.detach() for loss in losses]
        require_finite(step, parts, totals, norms["grad_norm"] if taken else None)
        lr_scale = config.optim.lr_scale(step, config.num_steps, trainer.steps_per_epoch)
        set_lr(optimizer, lr_scale)
        if taken:
            optimizer.step()
        optimizer.zero_grad()
        if trainer.average is not None:
            trainer.average.update(policy, step)

        trainer.step = step
        spike = trainer.spikes.is_one(ranks.mean(torch.stack(totals).sum()).item())
        if spike:
            odd(step, *parts[int(torch.stack(totals).argmax())])
        meter.add(losses, waited=waited, spike=spike, skipped=not taken)
        if logged:
            yield meter.line(step, lr_scale, norms)


def learn(trainer: Trainer, ready: Ready, shares: Sequence[Shares | None], meter: Meter) -> list[Loss]:
    """The losses of a step's parts, whose gradients are added up."""
    if isinstance(trainer.model, Pipeline):
        with meter.counting(trainer.policy.backbone, last=True):
            return trainer.model.learn(ready, shares, trainer.scale.factor)
    losses = []
    for i, share in enumerate(shares):
        last = i == len(shares) - 1
        batch, target = ready(i)
        with meter.counting(trainer.policy.backbone, last=last), summing(trainer.model, last=last):
            loss = trainer.model(batch, target)
            losses.append(loss if share is None else loss.shared(share))
            (losses[-1].total * trainer.scale.factor).backward()
    return losses


def _ready(
    augmentation: Augmentation,
    device: torch.device,
    seed: int,
    parts: Sequence[tuple[Batch, Target]],
    mine: range,
    all_parts: int,
    i: int,
) -> tuple[Batch, Target]:
    """Part `i` of a step as the policy is given it."""
    batch, target = parts[i]
    images = augmentation(batch.images, torch.Generator().manual_seed(seed), (mine[i], all_parts))
    # A head that draws noise draws the same at this step whether the run was interrupted before or not.
    torch.manual_seed(seed + (mine[i] << 40))
    return batch.with_images(images).to(device), target.to(device)
