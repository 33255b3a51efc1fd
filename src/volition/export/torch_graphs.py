"""Passes as torch itself keeps them: a graph for other tools, or code compiled for this processor.

Both run code that their files bring (a compiled pass is machine code, a graph's sizes are expressions that are evaluated),
so who opens them must trust where they come from.
"""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from volition.export.passes import Pass, PassGraph
from volition.export.trace import trace


@dataclass(frozen=True, kw_only=True)
class TorchExport:
    """`torch.export`, in float32."""

    @property
    def suffix(self) -> str:
        return ".pt2"

    @property
    def runs_code(self) -> bool:
        return True

    @property
    def one_row(self) -> bool:
        return False

    @property
    def small(self) -> bool:
        return False

    def require(self) -> None:
        """torch brings it."""

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        torch.export.save(trace(graph, tensors, free_rows=free_rows), path)

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        _require_cpu(device)
        module = torch.export.load(path).module()
        return lambda tensors: module(*tensors)


@dataclass(frozen=True, kw_only=True)
class Compiled:
    """AOTInductor: kernels made for this processor, so they run on its like only.

    weights: int8 of torchao, a scale a channel, products in float32.
    """

    weights: Literal["float32", "int8"] = "float32"

    @property
    def suffix(self) -> str:
        return ".pt2"

    @property
    def runs_code(self) -> bool:
        return True

    @property
    def one_row(self) -> bool:
        return False

    @property
    def small(self) -> bool:
        return self.weights != "float32"

    def require(self) -> None:
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise ValueError("AOTInductor needs a C++ compiler, and there is neither g++ nor clang++: install one")
        if self.weights == "int8" and importlib.util.find_spec("torchao") is None:
            raise ValueError("weights in int8 for AOTInductor need torchao: pip install torchao (0.18 was tried)")

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        chosen = graph if self.weights == "float32" else _with_int8_weights(graph)
        program = trace(chosen, tensors, free_rows=free_rows)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        _require_cpu(device)
        compiled: Any = torch._inductor.aoti_load_package(str(path))
        return lambda tensors: compiled(*tensors)


def _with_int8_weights(graph: PassGraph) -> PassGraph:
    from torchao.quantization import Int8WeightOnlyConfig, quantize_

    changed = deepcopy(graph)
    quantize_(changed, Int8WeightOnlyConfig())
    return changed


def _require_cpu(device: str) -> None:
    if device != "cpu":
        raise ValueError(f"torch-export and aoti artefacts are made for a CPU, and cannot run on {device!r}")
