"""From a `PassGraph` to torch's exported program, with the sizes free that may differ from call to call."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.symbolic_shapes import GuardOnDataDependentSymNode

from volition.export.passes import PassGraph

logger = logging.getLogger(__name__)
FREE = torch.export.Dim.DYNAMIC  # an error where the model fixes it all the same
MAYBE = torch.export.Dim.AUTO


def trace(graph: PassGraph, tensors: Sequence[Tensor], *, free_rows: bool) -> torch.export.ExportedProgram:
    """Free are the number of tokens and of tokens before them, and of rows if wanted.

    RowsFixedError where that can't be, other ValueErrors where the model cannot be exported at all. A pass over a
    single token stays one of a single token.
    """
    given = tuple(tensors) if free_rows else tuple(x[:1] for x in tensors)
    free = _free(graph, given, free_rows)
    with torch.no_grad():
        try:
            program = torch.export.export(graph.eval(), given, dynamic_shapes={"tensors": free})
        except (torch._dynamo.exc.UserError, GuardOnDataDependentSymNode) as error:
            name, reason = type(graph.model).__name__, next(iter(f"{error}".strip().splitlines()), "")
            if free_rows:
                raise RowsFixedError(f"{name} fixes the number of rows: {reason}") from error
            raise ValueError(f"{name} cannot be exported, serve the checkpoint as it is: {reason}") from error
    _require_free_tokens(graph, program, free)
    return program


class RowsFixedError(ValueError):
    """A model's forward is another one for another number of rows."""


def _free(graph: PassGraph, tensors: Sequence[Tensor], rows: bool) -> tuple[dict[int, Any], ...]:
    words, shown = len(graph.kind.inputs), graph.kind.num_pictures
    axes = [{1: MAYBE}] * words + [{}] * shown + [{2: MAYBE}] * (len(tensors) - words - shown)
    return tuple({0: FREE, **free} if rows else dict(free) for free in axes)


def _require_free_tokens(
    graph: PassGraph, program: torch.export.ExportedProgram, free: Sequence[dict[int, Any]]
) -> None:
    names = program.graph_signature.user_inputs
    shapes = {node.name: node.meta["val"].shape for node in program.graph.nodes if node.op == "placeholder"}
    for name, axes in zip(names, free, strict=True):
        fixed = [axis for axis, kind in axes.items() if kind is MAYBE and isinstance(shapes[str(name)][axis], int)]
        if any(shapes[str(name)][axis] > 1 for axis in fixed):
            raise ValueError(
                f"{type(graph.model).__name__} fixes the number of tokens when it is exported, so it would take one "
                "instruction only: serve the checkpoint as it is"
            )


def drop_checks(module: torch.fx.GraphModule) -> None:
    """Without what a model asks of its inputs as it runs: adapters keep to it, and ONNX has no way to say it."""
    for node in reversed(list(module.graph.nodes)):
        if node.op == "call_function" and "_assert" in str(node.target):
            module.graph.erase_node(node)
    module.graph.eliminate_dead_code()
    module.recompile()
