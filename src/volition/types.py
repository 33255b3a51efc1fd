"""The tensors between sample and loss. Shape letters: see `records.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor


@dataclass(frozen=True, kw_only=True)
class Batch:
    """All that a policy may look at. `inputs` belongs to the backbone's adapter; nobody else opens it.

    `images` are raw pictures, so that resizing, augmentation and normalisation run batched on the device.
    """

    inputs: dict[str, Tensor]  # per-token tensors [N, L] and what else the adapter's `collate` made
    images: dict[str, Tensor]  # camera -> uint8[B, T, height, width, 3]
    state: Float[Tensor, "B T S"]

    @property
    def shape(self) -> tuple[int, int]:
        """(B, T)"""
        return self.state.shape[0], self.state.shape[1]

    def to(self, device: torch.device) -> Batch:
        return Batch(
            inputs={name: x.to(device) for name, x in self.inputs.items()},
            images={name: x.to(device) for name, x in self.images.items()},
            state=self.state.to(device),
        )

    def with_images(self, images: dict[str, Tensor]) -> Batch:
        return replace(self, images=images)


@runtime_checkable
class Movable(Protocol):
    """A tensor, or a record of tensors."""

    def to(self, device: torch.device) -> Movable: ...


@dataclass(frozen=True, kw_only=True)
class Target:
    """What the policy should have done. A type of its own, so that inference cannot touch it."""

    actions: Float[Tensor, "B T H A"]
    mask: Bool[Tensor, "B T H"]
    known: Bool[Tensor, "B A"] | None = None  # False for a dimension that the robot of a row lacks; None: all are there
    extras: Mapping[str, Movable] = field(default_factory=dict)  # what auxiliary losses want, each under its own name

    @property
    def counts(self) -> Bool[Tensor, "B T H A"]:
        """Which of all these numbers are to be learned: inside the episode, and of a dimension that is there."""
        inside = self.mask[..., None].expand_as(self.actions)
        return inside if self.known is None else inside & self.known[:, None, None]

    def to(self, device: torch.device) -> Target:
        return Target(
            actions=self.actions.to(device),
            mask=self.mask.to(device),
            known=None if self.known is None else self.known.to(device),
            extras={name: x.to(device) for name, x in self.extras.items()},
        )


@dataclass(frozen=True)
class Term:
    """A named, weighted part of a loss."""

    name: str
    value: Float[Tensor, ""]
    weight: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Loss:
    """A scalar to minimise and the numbers worth plotting."""

    total: Float[Tensor, ""]
    metrics: dict[str, Float[Tensor, ""]]  # detached; the loop turns them into numbers when it logs
    terms: tuple[Term, ...] = ()  # what `total` is the weighted sum of, where it is known

    @classmethod
    def of(cls, terms: Sequence[Term], metrics: Mapping[str, Tensor]) -> Loss:
        """The weighted sum of at least one term; each of them, without its weight, is a metric too."""
        others = {name: value.detach() for name, value in metrics.items()}
        return cls(total=terms[0].value.new_zeros(()), metrics=others).plus(terms)

    def plus(self, terms: Sequence[Term]) -> Loss:
        """With more terms in the sum."""
        total, metrics = self.total, dict(self.metrics)
        for term in terms:
            if term.name in metrics:
                raise ValueError(f"every part of a loss needs a name of its own, and {term.name!r} is there already")
            total = total + term.weight * term.value
            metrics[term.name] = term.value.detach()
        return Loss(total=total, metrics=metrics, terms=(*self.terms, *terms))

    def shared(self, shares: Mapping[str, Tensor]) -> Loss:
        """Of a part of a batch: what it adds to the loss of the whole batch, to the last weight of a masked mean.

        shares: of every term by its name, and under "" of all others, how much of the whole batch's mean it is.
        """
        rest = shares[""]
        if not self.terms:
            return Loss(total=self.total * rest, metrics={name: x * rest for name, x in self.metrics.items()})
        parts = [replace(term, value=term.value * shares.get(term.name, rest)) for term in self.terms]
        names = {term.name for term in parts}
        return Loss.of(parts, {name: x * rest for name, x in self.metrics.items() if name not in names})
