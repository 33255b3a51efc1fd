"""Passes as torch itself keeps them: a graph for other tools or in float8, or code compiled for this processor.

All run code that their files bring (a compiled pass is machine code, a graph's sizes are expressions that are
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
from torch.export.passes import move_to_device_pass

from volition.export.float8 import in_float8, require_float8
from volition.export.passes import Pass, PassGraph
from volition.export.trace import trace
from volition.training.device import usable_device


@dataclass(frozen=True, kw_only=True)
class _Packaged:
    """What all say of themselves as a `targets.Target`."""

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
class TorchFloat8(_Packaged):
    """`torch.export` with products in float8, for a GPU that has them; the proof is made on a CPU."""

    small: ClassVar[bool] = True

    def require(self) -> None:
        """torch brings it."""

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        torch.export.save(trace(in_float8(graph), tensors, free_rows=free_rows), path)

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        where = usable_device(device)
        require_float8(device)
        module = move_to_device_pass(torch.export.load(path), where).module()
        return lambda tensors: [x.cpu() for x in module(*(x.to(where) for x in tensors))]


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
