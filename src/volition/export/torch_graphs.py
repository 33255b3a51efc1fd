"""Passes as torch itself keeps them: a graph for other tools, or code compiled for this processor.

Both run code that their files bring (a compiled pass is machine code, a graph's sizes are expressions that are
evaluated), so who opens them must trust where they come from.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor

from volition.export.passes import Pass, PassGraph
from volition.export.trace import trace


@dataclass(frozen=True, kw_only=True)
class _Packaged:
    """What both say of themselves as a `targets.Target`."""

    suffix: ClassVar[str] = ".pt2"
    runs_code: ClassVar[bool] = True
    one_row: ClassVar[bool] = False
    small: ClassVar[bool] = False


@dataclass(frozen=True, kw_only=True)
class TorchExport(_Packaged):
    """`torch.export`, in float32."""

    def require(self) -> None:
        """torch brings it."""

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        torch.export.save(trace(graph, tensors, free_rows=free_rows), path)

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        _require_cpu(device)
        module = torch.export.load(path).module()
        return lambda tensors: module(*tensors)


@dataclass(frozen=True, kw_only=True)
class Compiled(_Packaged):
    """AOTInductor: kernels made for this processor, so they run on its like only, in float32."""

    def require(self) -> None:
        if shutil.which("g++") is None and shutil.which("clang++") is None:
            raise ValueError("AOTInductor needs a C++ compiler, and there is neither g++ nor clang++: install one")

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        program = trace(graph, tensors, free_rows=free_rows)
        torch._inductor.aoti_compile_and_package(program, package_path=str(path))

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        _require_cpu(device)
        compiled: Any = torch._inductor.aoti_load_package(str(path))
        return lambda tensors: compiled(*tensors)


def _require_cpu(device: str) -> None:
    if device != "cpu":
        raise ValueError(f"torch-export and aoti artefacts are made for a CPU, and cannot run on {device!r}")
