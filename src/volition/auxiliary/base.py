"""Losses beside the head's own: trained with the policy, saved with it, and not used when it acts.

    Sample --Feed--> Target.extras[name] --Auxiliary.loss--> Term, added to the head's Loss

A feed works where batches are read, beside the collator; where no auxiliary asks for anything, nothing is read or made.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, Protocol, runtime_checkable

from jaxtyping import Float
from torch import Tensor, nn

from volition.backbones.base import Backbone, Encoded
from volition.data.transforms import Transform
from volition.records import Sample
from volition.types import Movable, Target, Term


@runtime_checkable
class Feed(Protocol):
    """Makes what an auxiliary loss wants besides the batch: a pure function, so that resuming a run needs no state."""

    def __call__(self, samples: Sequence[Sample], step: int) -> Movable | None: ...  # None: nothing at this step


class Auxiliary(nn.Module, ABC):
    """One more term of the loss, logged as `{name}_loss`."""

    name: ClassVar[str]
    future_steps: int = 0  # above 0: samples must carry the pictures that many control steps ahead
    every: int = 1  # steps from one at which it has a turn to the next

    def __init__(self, weight: float, feed: Feed | None):
        """`feed`: None in a policy that only acts."""
        super().__init__()
        self.weight, self.feed = weight, feed

    @abstractmethod
    def loss(self, backbone: Backbone, encoded: Encoded, wanted: Any, target: Target) -> Float[Tensor, ""]:
        """`wanted`: what the feed made. Steps outside the episode (see `target.mask`) do not count."""

    def count(self, wanted: Any, target: Target) -> Tensor:
        """How many numbers `loss` is a mean over, or one for every so many: parts of a batch are weighed by it."""
        return target.mask.any(-1).sum()

    def term(self, backbone: Backbone, encoded: Encoded, target: Target) -> Term | None:
        """None where the target brings nothing for it."""
        wanted = target.extras.get(self.name)
        if wanted is None:
            return None
        return Term(f"{self.name}_loss", self.loss(backbone, encoded, wanted, target), self.weight)


@runtime_checkable
class AuxiliaryConfig(Protocol):
    """A frozen dataclass that can build its auxiliary loss; yours needs nothing else to stand in a recipe."""

    @property
    def weight(self) -> float: ...  # 0 leaves it out

    def build(
        self, backbone: Backbone, *, cameras: tuple[str, ...], transforms: Transform, training: bool
    ) -> Auxiliary:
        """`training`: whether it gets a feed. Without, nothing may be needed but what a checkpoint holds."""


def future_steps(auxiliary: Iterable[Auxiliary]) -> int:
    """How far the pictures of the future must lie ahead, in control steps; 0: nobody wants any."""
    wanted = {one.future_steps for one in auxiliary} - {0}
    if len(wanted) > 1:
        raise ValueError(f"all auxiliary losses must look equally far ahead, got {sorted(wanted)} control steps")
    return max(wanted, default=0)


def common_step(auxiliary: Iterable[Auxiliary]) -> int:
    """The first step at which all have a turn."""
    return math.lcm(*(one.every for one in auxiliary))


def feed(auxiliary: Iterable[Auxiliary], samples: Sequence[Sample], step: int) -> dict[str, Movable]:
    """`Target.extras` for these samples, the batch of `step`."""
    made = {one.name: one.feed(samples, step) for one in auxiliary if one.feed is not None}
    return {name: x for name, x in made.items() if x is not None}
