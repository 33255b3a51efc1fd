"""What a training step takes: memory by following every tensor that it makes, time by the clock.

a policy --one and two windows, a few steps each--> Footprint: what is fixed, and what every window adds
"""

from __future__ import annotations

import statistics
import time
import weakref
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import FlopCounterMode

from volition.config import Experiment
from volition.contract import RobotSpec
from volition.records import Episode
from volition.studies.training import make_batches, make_transforms
from volition.training.distributed import DistributedConfig
from volition.training.train import Batches, LoopConfig, Trainer, train

Bytes = npt.NDArray[np.float64]
TIMED = 3  # steps whose median counts


@dataclass(frozen=True, kw_only=True)
class Moment:
    """What a step holds at some moment beside weights and state: with few windows the fullest is where all gradients
    are there, with many it is where all activations are."""

    other_bytes: float  # however many windows
    window_bytes: float  # that every window of a part adds

    def bytes_of(self, windows: float) -> float:
        return self.other_bytes + windows * self.window_bytes


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Of a step of one rank; a window is a batch of 1. Bytes beside what the process had before."""

    weight_bytes: int  # of the policy
    state_bytes: int  # of moments and averages, once a step was taken
    moments: tuple[Moment, ...]  # of a step, that may be its fullest
    window_seconds: float
    step_seconds: float  # however many windows
    window_flops: float
    trained: int  # numbers

    def bytes_of(self, windows: int) -> float:
        """At the most, with so many windows going through the model at once."""
        return self.weight_bytes + self.state_bytes + max(moment.bytes_of(windows) for moment in self.moments)

    def seconds_of(self, windows: int, parts: int = 1) -> float:
        return self.step_seconds + parts * windows * self.window_seconds


class LiveMemory(TorchDispatchMode):
    """Bytes of the tensors that were made inside and are still there, and the most that there were at once."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0
        self.history: list[int] = []  # `now`, whenever a tensor was made
        self._known: set[int] = set()

    @property
    def peak(self) -> int:
        return max(self.history, default=0)

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        given = {x.untyped_storage()._cdata for x in tree_leaves((args, kwargs)) if isinstance(x, Tensor)}
        out = func(*args, **kwargs)
        for tensor in tree_leaves(out):
            if isinstance(tensor, Tensor):
                storage = tensor.untyped_storage()
                if storage._cdata not in given and storage._cdata not in self._known:
                    self._add(storage)
        return out

    def _add(self, storage: torch.UntypedStorage) -> None:
        size, key = storage.nbytes(), storage._cdata
        self._known.add(key)
        self.now += size
        self.history.append(self.now)
        weakref.finalize(storage, self._gone, key, size)

    def _gone(self, key: int, size: int) -> None:
        self._known.discard(key)
        self.now -= size


def measure(
    experiment: Experiment, episodes: Sequence[Episode], robot: RobotSpec, *, windows: tuple[int, int] = (1, 2)
) -> Footprint:
    """By a dry run of a few steps with so many windows each; nothing is written."""
    torch.manual_seed(experiment.loop.seed)
    policy = experiment.build(robot, make_transforms(experiment, episodes, robot))
    few, many = (_run(experiment, policy, episodes, count) for count in windows)
    trained = [p for p in policy.parameters() if p.requires_grad]
    per_window = lambda more: max(0.0, more / (windows[1] - windows[0]))
    window_seconds = per_window(many.seconds - few.seconds)
    return Footprint(
        weight_bytes=sum(_size(p) for p in {id(p): p for p in policy.parameters()}.values()),
        state_bytes=few.kept,
        moments=fullest(few.history - few.kept, many.history - many.kept, windows),
        window_seconds=window_seconds,
        step_seconds=max(0.0, few.seconds - windows[0] * window_seconds),
        window_flops=per_window(many.flops - few.flops),
        trained=sum(p.numel() for p in trained),
    )


def step_seconds(experiment: Experiment, episodes: Sequence[Episode], robot: RobotSpec, windows: int) -> float:
    """Of a step with so many windows at once, by the clock."""
    torch.manual_seed(experiment.loop.seed)
    policy = experiment.build(robot, make_transforms(experiment, episodes, robot))
    loop = _alone(experiment, windows, 1 + TIMED)
    draw = make_batches(replace(experiment, loop=loop), policy, episodes)[0]
    trainer = Trainer.create(policy, loop)
    next(train(trainer, draw, replace(loop, num_steps=1)))  # makes the moments
    return _median_seconds(trainer, draw, loop)


def fullest(few: Bytes, many: Bytes, windows: tuple[int, int]) -> tuple[Moment, ...]:
    """The moments of a step that are its fullest for some number of windows from one on, fewest windows first.

    few, many: what is held whenever a tensor is made, in steps with so many windows. A step makes the same tensors
    however many windows it has; where a model makes more of them for more, moments at the same share of it are one.
    """
    if len(few) != len(many):
        length = max(len(few), len(many))
        few, many = (np.interp(np.linspace(0, 1, length), np.linspace(0, 1, len(x)), x) for x in (few, many))
    slopes = np.maximum(0.0, (many - few) / (windows[1] - windows[0]))
    others = few - windows[0] * slopes
    found, count = [], 1.0
    at = int(np.lexsort((slopes, others + slopes))[-1])
    while True:
        found.append(Moment(other_bytes=float(others[at]), window_bytes=float(slopes[at])))
        steeper = np.flatnonzero(slopes > slopes[at])
        if not len(steeper):
            return tuple(found)
        # From how many windows on each steeper one is fuller: the first to be so is next.
        meets = (others[at] - others[steeper]) / (slopes[steeper] - slopes[at])
        count = max(count, float(meets.min()))
        first = steeper[meets <= count]
        at = int(first[np.argmax(slopes[first])])


@dataclass(frozen=True, kw_only=True)
class _Tried:
    kept: int  # bytes after a step
    history: Bytes  # of the next step
    flops: float
    seconds: float


def _run(experiment: Experiment, policy: Any, episodes: Sequence[Episode], windows: int) -> _Tried:
    """Steps with so many windows: memory and operations of one, then the time of some."""
    loop = _alone(experiment, windows, 3 + TIMED)
    here = replace(experiment, loop=loop)
    draw = make_batches(here, policy, episodes)[0]
    with LiveMemory() as live:
        trainer = Trainer.create(policy, loop)  # with the moving average, where there is one
        next(train(trainer, draw, replace(loop, num_steps=1)))
        kept = live.now
        live.history.clear()
        next(train(trainer, draw, replace(loop, num_steps=2)))
    # In a step of its own: what counts operations holds on to tensors where layers are recomputed.
    with FlopCounterMode(display=False) as flops:
        next(train(trainer, draw, replace(loop, num_steps=3)))
    return _Tried(
        kept=kept,
        history=np.array(live.history, dtype=float),
        flops=flops.get_total_flops(),
        seconds=_median_seconds(trainer, draw, loop),
    )


def _alone(experiment: Experiment, windows: int, num_steps: int) -> LoopConfig:
    """The recipe's loop in one process, a step of so many windows at once."""
    loop = replace(experiment.loop, accumulate=1, distributed=DistributedConfig(), compile=False)
    return replace(loop, batch_size=windows, log_every=1, save_every=1, num_steps=num_steps)


def _median_seconds(trainer: Trainer, draw: Batches, loop: LoopConfig) -> float:
    seconds = []
    for _ in range(TIMED):
        begun = time.perf_counter()
        next(train(trainer, draw, replace(loop, num_steps=trainer.step + 1)))
        seconds.append(time.perf_counter() - begun)
    return statistics.median(seconds)


def _size(tensor: Tensor) -> int:
    return tensor.untyped_storage().nbytes()
