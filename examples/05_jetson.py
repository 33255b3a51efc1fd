"""An exported policy on a Jetson (Orin, Thor) or another NVIDIA device: what TensorRT takes of it, how exact, how fast.

    volition export runs/demo --target onnx --out runs/demo-onnx     where it was trained
    python examples/05_jetson.py runs/demo-onnx                      on the device, with NVIDIA's onnxruntime-gpu
    python examples/05_jetson.py runs/demo-onnx --device cpu         the same checks anywhere, without TensorRT

Engines take minutes to build, once: they are kept in a folder beside the artefact, and the last line says how to serve
with them. What the device answers is compared with ONNX Runtime's CPU on the same pictures, each side with a memory of
its own; the status is 1 where they differ by more than `--tolerance`. `--half` computes in float16, of which the proof
of the artefact says nothing: evaluate it on the device before a robot moves.

Written without such a device. What a CPU can show is shown by a test: the checks, the comparison, and that every
operator of every head's passes is one that TensorRT 10's reader of ONNX names as supported.
"""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterable, Sequence
from itertools import islice
from pathlib import Path

import numpy as np
import onnx
import torch

from volition.export.load import Artefact, load_artefact
from volition.export.passes import noise
from volition.records import Observation

# Of TensorRT 10's reader (the table of operators of onnx-tensorrt 10.1), those of the first 20 versions of ONNX.
TABLE = """
Abs Acos Acosh Add And ArgMax ArgMin Asin Asinh Atan Atanh AveragePool BatchNormalization Cast CastLike Ceil Celu
Clip Concat Constant ConstantOfShape Conv ConvTranspose Cos Cosh CumSum DeformConv DepthToSpace DequantizeLinear Div
Dropout Einsum Elu Equal Erf Exp Expand EyeLike Flatten Floor GRU Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalLpPool GlobalMaxPool Greater GreaterOrEqual GridSample GroupNormalization HardSigmoid
HardSwish Hardmax Identity If InstanceNormalization IsInf IsNaN LRN LSTM LayerNormalization LeakyRelu Less
LessOrEqual Log LogSoftmax Loop LpNormalization LpPool MatMul Max MaxPool Mean MeanVarianceNormalization Min Mish
Mod Mul Neg NonMaxSuppression NonZero Not OneHot Or PRelu Pad Pow QuantizeLinear RNN RandomNormal RandomNormalLike
RandomUniform RandomUniformLike Range Reciprocal ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp ReduceMax ReduceMean
ReduceMin ReduceProd ReduceSum ReduceSumSquare Relu Reshape Resize ReverseSequence RoiAlign Round Scan
ScatterElements ScatterND Selu Shape Shrink Sigmoid Sign Sin Sinh Size Slice Softmax Softplus Softsign SpaceToDepth
Split Sqrt Squeeze Sub Sum Tan Tanh ThresholdedRelu Tile TopK Transpose Trilu Unsqueeze Where Xor
"""
SUPPORTED = frozenset(TABLE.split())


def unsupported(paths: Sequence[Path]) -> set[str]:
    """Operators in these graphs that TensorRT leaves to CUDA or the CPU, at the price of copies there and back."""
    nodes = [node for path in paths for node in onnx.load(str(path), load_external_data=False).graph.node]
    return {f"{node.domain}:{node.op_type}" if node.domain else node.op_type for node in nodes} - SUPPORTED


def keep_engines(folder: Path, *, half: bool) -> dict[str, str]:
    """What ONNX Runtime's TensorRT provider reads from the environment."""
    return {
        "ORT_TENSORRT_ENGINE_CACHE_ENABLE": "1",
        "ORT_TENSORRT_TIMING_CACHE_ENABLE": "1",
        "ORT_TENSORRT_CACHE_PATH": str(folder.resolve()),
        "ORT_TENSORRT_FP16_ENABLE": str(int(half)),
    }


def ask(artefact: Artefact, seen: Iterable[Observation]) -> tuple[np.ndarray, np.ndarray]:
    """Of one robot: chunks float32[n, H, A], and the seconds that each took."""
    states, chunks, seconds = artefact.actor.start(1), [], []
    for step, observation in enumerate(seen):
        torch.manual_seed(step)  # heads that draw noise draw the same on both sides
        started = time.perf_counter()
        chunk, states = artefact.actor.act([observation], states)
        seconds.append(time.perf_counter() - started)
        chunks.append(chunk[0])
    return np.stack(chunks), np.array(seconds)


def main(words: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("artefact", type=Path, help="what `volition export --target onnx` wrote")
    parser.add_argument("--device", default="tensorrt", help="tensorrt, cuda or cpu")
    parser.add_argument("--half", action="store_true", help="compute in float16")
    parser.add_argument("--steps", type=int, default=100, help="control steps to time")
    parser.add_argument("--tolerance", type=float, default=1e-3, help="largest difference of an action from the CPU's")
    asked = parser.parse_args(words)
    say = sys.stdout.write

    if others := unsupported(sorted(asked.artefact.glob("*.onnx"))):
        say(f"not TensorRT's, and left to CUDA or the CPU: {', '.join(sorted(others))}\n")
    engines = asked.artefact.with_name(f"{asked.artefact.name}-engines")
    environment = keep_engines(engines, half=asked.half) if asked.device == "tensorrt" else {}
    os.environ.update(environment)
    found = []
    for device in ("cpu", asked.device):
        artefact = load_artefact(asked.artefact, device=device)
        chunks, seconds = ask(artefact, islice(noise(artefact.contract.robot, 0), asked.steps + 5))
        median, late = 1e3 * np.percentile(seconds[5:], [50, 99])  # the first build engines
        say(f"{device}: first answer after {seconds[0]:.1f} s, then {median:.1f} ms at the median, p99 {late:.1f} ms\n")
        found.append(chunks)
    error = float(np.abs(found[0] - found[1]).max())
    say(f"largest difference of an action, in robot units: {error:.1e}\n")
    if error > asked.tolerance:
        say(f"that is more than {asked.tolerance:g}: do not serve it\n")
        return 1
    settings = "".join(f"{name}={value} " for name, value in environment.items())
    say(f"serve it with\n  {settings}volition serve {asked.artefact} --device {asked.device}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
