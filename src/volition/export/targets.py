"""What a policy can be exported to. A target writes one kind of pass to a file, and opens it again.

onnx, onnx-int8, onnx-int4    for ONNX Runtime: data, on any machine, on CPUs and (float32) GPUs and Jetsons
openvino                      for OpenVINO: data, on Intel's CPUs, graphics and NPUs
torch-export                  a graph of torch's own, for tools that go on from there
torch-float8                  the same, with products in float8, for NVIDIA's GPUs that have them
aoti                          compiled for this processor by AOTInductor: machine code, so it is run only if allowed
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol, get_args, runtime_checkable

from torch import Tensor

from volition.export.names import TargetName
from volition.export.onnx import Onnx
from volition.export.openvino import OpenVino
from volition.export.passes import Pass, PassGraph
from volition.export.torch_graphs import Compiled, TorchExport, TorchFloat8


@runtime_checkable
class Target(Protocol):
    """A frozen dataclass."""

    @property
    def suffix(self) -> str: ...  # of its files
    @property
    def runs_code(self) -> bool: ...  # whether who opens a file must trust it
    @property
    def one_row(self) -> bool: ...  # whether rows must not share a pass, because they would change each other
    @property
    def small(self) -> bool: ...  # whether weights are kept in fewer bits: the head's then are too

    def require(self) -> None: ...  # ValueError where something is missing to write or open files
    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None: ...
    def open(self, path: Path, *, threads: int, device: str) -> Pass: ...


TARGETS: dict[TargetName, Target] = {
    "onnx": Onnx(),
    "onnx-int8": Onnx(weights="int8"),
    "onnx-int4": Onnx(weights="int4"),
    "openvino": OpenVino(),
    "torch-export": TorchExport(),
    "torch-float8": TorchFloat8(),
    "aoti": Compiled(),
}
assert set(get_args(TargetName)) == set(TARGETS)
