"""Passes for ONNX Runtime. ONNX is data: what is opened cannot run code.

Weights stand in weights/, each in a file with the hash of its numbers as its name: the passes of a policy, which are of
one model, share them, and none is too large for a graph's format.
"""

from __future__ import annotations

import hashlib
import importlib.util
import logging
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from volition.export.passes import Pass, PassGraph
from volition.export.trace import drop_checks, trace

CHATTY = ("torch.onnx", "torch.export", "torch._export", "onnxscript", "onnx_ir", "onnxruntime")  # loggers
OUTSIDE = 1024  # bytes from which on a weight stands outside of its graph
INT8 = ("MatMul", "Gather")  # not convolutions: those of ONNX Runtime take three times as long in int8
PROVIDERS = {
    "cpu": ["CPUExecutionProvider"],
    "cuda": ["CUDAExecutionProvider", "CPUExecutionProvider"],
    "tensorrt": ["TensorrtExecutionProvider", "CUDAExecutionProvider", "CPUExecutionProvider"],
}


@dataclass(frozen=True, kw_only=True)
class Onnx:
    """weights: of matrix products. int8: a scale a channel, and what they are multiplied with is brought to 8 bits as
    it comes, a scale a call (so rows take a call each); int4: a scale for every 32, products in float32.
    """

    weights: Literal["float32", "int8", "int4"] = "float32"

    suffix: ClassVar[str] = ".onnx"
    runs_code: ClassVar[bool] = False

    @property
    def one_row(self) -> bool:
        return self.weights == "int8"

    @property
    def small(self) -> bool:
        return self.weights != "float32"

    def require(self) -> None:
        missing = [name for name in ("onnx", "onnxscript", "onnxruntime") if importlib.util.find_spec(name) is None]
        if missing:
            raise ValueError(f"ONNX needs the extra export ({', '.join(missing)}): pip install 'volition[export]'")

    def write(self, graph: PassGraph, tensors: Sequence[Tensor], path: Path, *, free_rows: bool) -> None:
        import onnx

        with TemporaryDirectory(dir=path.parent) as folder, _quiet():
            program = trace(graph, tensors, free_rows=free_rows)
            drop_checks(program.graph_module)
            plain = Path(folder) / path.name
            torch.onnx.export(program, f=plain, dynamo=True, external_data=True, verbose=False)
            model = _QUANTISE[self.weights](plain)
        _forget_origins(model)
        _move_weights(model, path.parent)
        onnx.save(model, str(path))

    def open(self, path: Path, *, threads: int, device: str) -> Pass:
        """ValueError where ONNX Runtime has nothing for that device here."""
        return Session(path, threads=threads, device=device)


class Session:
    """A `Pass` of ONNX Runtime."""

    def __init__(self, path: Path, *, threads: int, device: str):
        import onnxruntime

        wanted, there = PROVIDERS.get(device.partition(":")[0], []), onnxruntime.get_available_providers()
        if not wanted or wanted[0] not in there:
            raise ValueError(
                f"an ONNX artefact runs on one of {', '.join(PROVIDERS)}, and on {device!r} only with an ONNX Runtime "
                f"that has it; this one has {', '.join(there)}"
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.log_severity_level = threads, 3
        self._session: Any = onnxruntime.InferenceSession(str(path), options, providers=wanted)
        self._names = [one.name for one in self._session.get_inputs()]

    def __call__(self, tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        fed = {name: x.cpu().numpy() for name, x in zip(self._names, tensors, strict=True)}
        return [torch.from_numpy(x) for x in self._session.run(None, fed)]


def _plain(path: Path) -> Any:
    import onnx

    return onnx.load(str(path))


def in_int8(path: Path) -> Any:
    """Weights in 7 of the 8 bits: without VNNI instructions a sum of two products of 8 bits overflows."""
    import onnx
    from onnxruntime.quantization import QuantType, quantize_dynamic

    whole = _plain(path)
    whole.metadata_props.add(key="onnx.quant.pre_process", value="done by the exporter")
    small = path.with_name("small.onnx")
    quantize_dynamic(whole, str(small), op_types_to_quantize=list(INT8), weight_type=QuantType.QInt8, per_channel=True,
                     reduce_range=True, use_external_data_format=True)  # fmt: skip
    return onnx.load(str(small))


def in_int4(path: Path) -> Any:
    from onnxruntime.quantization.matmul_nbits_quantizer import MatMulNBitsQuantizer

    quantiser = MatMulNBitsQuantizer(_plain(path), bits=4, block_size=32, is_symmetric=True)
    quantiser.process()
    return quantiser.model.model


_QUANTISE: Mapping[str, Callable[[Path], Any]] = {"float32": _plain, "int8": in_int8, "int4": in_int4}


def _forget_origins(model: Any) -> None:
    """Names of source lines and paths of this machine, which the exporter leaves at every node, and their bytes."""
    for holder in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        holder.ClearField("metadata_props")
        holder.ClearField("doc_string")
    del model.functions[:]
    model.graph.ClearField("value_info")


def _move_weights(model: Any, folder: Path) -> None:
    """Every large initializer into a file that is named after what it holds."""
    import onnx

    (folder / "weights").mkdir(exist_ok=True)
    for tensor in model.graph.initializer:
        data = tensor.raw_data or onnx.numpy_helper.to_array(tensor).tobytes()
        if len(data) < OUTSIDE:
            continue
        place = f"weights/{hashlib.sha256(data).hexdigest()[:20]}"
        (folder / place).write_bytes(data)
        for name in ("raw_data", "float_data", "int32_data", "int64_data"):
            tensor.ClearField(name)
        tensor.data_location = onnx.TensorProto.EXTERNAL
        del tensor.external_data[:]
        tensor.external_data.add(key="location", value=place)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporter and quantisers say to people who write such (some of it to the root's logger)."""
    loggers = [logging.getLogger(name) for name in CHATTY]
    levels, root = [logger.level for logger in loggers], logging.getLogger()

    def of_others(record: logging.LogRecord) -> bool:
        return "quantization" not in record.pathname

    for logger in loggers:
        logger.setLevel(logging.ERROR)
    root.addFilter(of_others)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)
            yield
    finally:
        for logger, level in zip(loggers, levels):
            logger.setLevel(level)
        root.removeFilter(of_others)
