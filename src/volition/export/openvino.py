"""Passes for OpenVINO: Intel's CPUs, graphics and NPUs. Its files are data: what is opened cannot run code."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar

import numpy as np
import torch
from torch import Tensor

from volition.export.onnx import Onnx
from volition.export.passes import Pass, PassGraph


@dataclass(frozen=True, kw_only=True)
class OpenVino:
    """In float32, by way of ONNX."""

    suffix: ClassVar[str] = ".xml"
    runs_code: ClassVar[bool] = False
    one_row: ClassVar[bool] = False
    small: ClassVar[bool] = False

    def require(self) -> None:
        Onnx().require()
        if importlib.util.find_spec("openvino") is None:
            raise ValueError("OpenVINO needs the extra openvino: pip install 'volition[openvino]'")

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        """Its weights stand beside it, in a .bin of the same name."""
        import openvino

        with TemporaryDirectory(dir=path.parent) as folder:
            plain = Path(folder) / "pass.onnx"
            Onnx().write(graph, tensors, plain, free_rows=free_rows)
            # Not convert_model, which tells its makers that it was called.
            openvino.save_model(openvino.Core().read_model(plain), path, compress_to_fp16=False)

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        """ValueError where OpenVINO has no such device here."""
        import openvino

        core, name = openvino.Core(), device.upper()
        if name.partition(".")[0] not in {one.partition(".")[0] for one in core.available_devices}:
            there = ", ".join(one.lower() for one in core.available_devices)
            raise ValueError(f"an OpenVINO artefact runs on one of the devices it finds here ({there}), not {device!r}")
        # Elsewhere than on a CPU it would compute in float16 unless it is told not to.
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_PRECISION_HINT": "f32"}
        if threads and name == "CPU":
            settings["INFERENCE_NUM_THREADS"] = str(threads)
        compiled: Any = core.compile_model(path, name, settings)

        def run(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            found = compiled([x.cpu().numpy() for x in tensors], share_inputs=True)
            return [torch.from_numpy(np.array(found[port])) for port in compiled.outputs]

        return run
