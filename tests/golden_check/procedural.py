"""The rule by which every weight of the golden models follows from its reference name and shape (INDEX.md)."""

from __future__ import annotations

import functools
import math
import zlib
from collections.abc import Callable, Iterable

import numpy as np
import torch
from torch import Tensor, nn

from tests.golden_check.fixture import Fixture, GoldenMismatch


@functools.cache
def weight(name: str, shape: tuple[int, ...]) -> np.ndarray:
    """float32[shape]; not to be changed in place."""
    seed = zlib.crc32(name.encode())
    uniform = 2 * np.random.RandomState(seed).random_sample(math.prod(shape)).reshape(shape) - 1
    if len(shape) >= 2:
        uniform = uniform * math.sqrt(3 / math.prod(shape[1:]))
        return (uniform * 2.5 if ".rnn.weight" in name else uniform).astype(np.float32)
    return (1 + 0.1 * uniform if name.endswith("weight") else 0.1 * uniform).astype(np.float32)


def fill(module: nn.Module, reference_name: Callable[[str], str]) -> None:
    """Give every parameter the value that the rule has for its reference name."""
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            parameter.copy_(torch.from_numpy(weight(reference_name(name), tuple(parameter.shape))))


def compare_table(
    fixture: Fixture, document: str, path: tuple[str | int, ...], named: Iterable[tuple[str, Tensor]]
) -> None:
    """A list of {name, shape, sum, l1, first} against our parameters under their reference names."""
    table: list = fixture.json(document)  # type: ignore[assignment]
    for part in path:
        table = table[part]  # type: ignore[call-overload]
    ours = dict(named)
    if sorted(ours) != sorted(row["name"] for row in table):
        odd = sorted(ours.keys() ^ {row["name"] for row in table})
        raise GoldenMismatch(f"{document}.json lists other parameters: {odd}")
    for i, row in enumerate(table):
        value = ours[row["name"]].detach().double()
        fixture.compare_value(document, (*path, i, "name"), row["name"])
        fixture.compare_value(document, (*path, i, "shape"), list(value.shape))
        fixture.compare_value(document, (*path, i, "sum"), value.sum().item(), atol=1e-4, rtol=1e-5)
        fixture.compare_value(document, (*path, i, "l1"), value.abs().sum().item(), atol=1e-4, rtol=1e-5)
        fixture.compare_value(document, (*path, i, "first"), value.flatten()[0].item(), atol=1e-6)


def compare_gradients(
    fixture: Fixture, document: str, path: tuple[str | int, ...], named: Iterable[tuple[str, Tensor]]
) -> None:
    """{name: [norm, sum]} of every gradient: norms within 1e-4, or within 1e-5 of the largest one.

    A ReLU whose input is zero but for rounding lets its share of a gradient through in one computation and not in the
    other. A norm hardly sees that; a sum, in which the shares nearly cancel, does.
    """
    stored: dict = fixture.json(document)
    for part in path:
        stored = stored[part]
    ours = {name: parameter.grad for name, parameter in named if parameter.grad is not None}
    if sorted(ours) != sorted(stored):
        raise GoldenMismatch(f"gradients of other parameters: {sorted(ours.keys() ^ stored.keys())[:8]}")
    scale = max(gradient.norm().item() for gradient in ours.values())
    for name, gradient in ours.items():
        norm, total = gradient.double().norm().item(), gradient.double().sum().item()
        one_share = norm / 20  # of a few hundred units in some dozens of rows
        slack = max(1e-3 * norm * math.sqrt(gradient.numel()), one_share) + 1e-6 * scale
        fixture.compare_value(document, (*path, name, 0), norm, rtol=1e-4, atol=1e-5 * scale)
        fixture.compare_value(document, (*path, name, 1), total, atol=slack)
