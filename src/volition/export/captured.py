"""Passes that are recorded once for each set of sizes and replayed: on a GPU as CUDA graphs.

    tensors --copied into--> the recording's inputs --replay--> its outputs --copied--> what the caller keeps

A small model's step on a GPU is hundreds of kernels, each of which takes longer to ask for than to run; a graph asks
for all of them at once. It has fixed sizes and fixed places in memory, so every number of rows and every length of
instruction has a recording of its own, which its first call makes. Rows are padded to few lengths, so that these are
few; those of interleaved history are not, and a robot meets new ones until its row has been full once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from volition.backbones import Backbone
from volition.export.passes import Pass, Passes, PassGraph, PassKind, require_streams
from volition.policy import Acting

MULTIPLE = 16  # tokens by which the lengths of rows differ
MOST = 64  # recordings that are kept: each holds its inputs and outputs, all share what lies between
WARM_UPS = 3  # before a recording, so that libraries choose their kernels and take their memory


@dataclass(frozen=True, kw_only=True)
class Recording:
    """`replay` does again what was recorded, and leaves its results in `made`."""

    replay: Callable[[], None]
    made: Sequence[Tensor]


Recorder = Callable[[Callable[[], Sequence[Tensor]]], Recording]


def captured(actor: Acting, record: Recorder | None = None, *, most: int = MOST) -> Acting:
    """The same weights, acting by recorded passes. `record`: by default a CUDA graph of each.

    ValueError without a GPU, for an exported policy, and at the first call of a model that cannot be recorded.
    """
    backbone = actor.backbone
    if not isinstance(backbone, Backbone):
        raise ValueError("passes are captured of a checkpoint, and this is an exported policy: leave --capture out")
    if record is None and backbone.device.type != "cuda":
        raise ValueError(f"CUDA graphs need a GPU (--device cuda), and this policy is on {backbone.device}")
    passes = CapturedPasses(backbone, record or CudaGraphs(), most=most)
    collator = actor.collator if actor.collator.interleaved else replace(actor.collator, multiple=MULTIPLE)
    return Acting(passes, actor.head, collator, actor.max_steps).eval()


class CapturedPasses(Passes):
    """A `Runner` with the passes of a backbone. One thread at a time."""

    def __init__(self, backbone: Backbone, record: Recorder, *, most: int):
        super().__init__(backbone.adapter, self._recorded, backbone.device)
        self._backbone, self._record, self._most = backbone, record, most
        self._passes: OrderedDict[tuple[PassKind, tuple[torch.Size, ...]], Pass] = OrderedDict()  # newest use last

    def logits(self, hidden: Tensor) -> Tensor:
        return self._backbone.logits(hidden)

    def new_cache(self) -> Any:
        require_streams(self._backbone, "leave --capture out, or take it")
        return super().new_cache()

    def _recorded(self, kind: PassKind, tensors: Sequence[Tensor]) -> Pass:
        key = (kind, tuple(x.shape for x in tensors))
        if key not in self._passes:
            if len(self._passes) == self._most:
                self._passes.popitem(last=False)
            self._passes[key] = self._of(kind, tensors)
        self._passes.move_to_end(key)
        return self._passes[key]

    def _of(self, kind: PassKind, tensors: Sequence[Tensor]) -> Pass:
        graph, given = PassGraph(self._backbone, kind).eval(), [x.clone() for x in tensors]

        def run() -> Sequence[Tensor]:
            with self._backbone.computing(keep_casts=False):  # a graph would go on reading one of another call
                return graph(*given)

        recording = self._record(run)

        def replay(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
            for mine, theirs in zip(given, tensors, strict=True):
                mine.copy_(theirs)
            recording.replay()
            return [x.clone() for x in recording.made]

        return replay


class CudaGraphs:
    """Records by CUDA graphs that share their memory: every result is copied before the next graph runs."""

    def __init__(self) -> None:
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, run: Callable[[], Sequence[Tensor]]) -> Recording:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(WARM_UPS):
                run()
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        try:
            # Only this thread's calls are looked at: a server may warm up another policy meanwhile.
            with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
                made = run()
        except RuntimeError as error:
            raise ValueError(
                f"this model asks the GPU for a number while it runs, so that it cannot be captured ({error}): "
                "leave --capture out"
            ) from error
        return Recording(replay=graph.replay, made=made)
