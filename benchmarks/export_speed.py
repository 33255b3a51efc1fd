"""One control step of exported policies against the policy in eager float32: time, size, and what becomes of actions.

    OMP_NUM_THREADS=1 python benchmarks/export_speed.py [--model tiny middle] [--targets onnx onnx-int8] [--rounds 200]
    python benchmarks/export_speed.py --device cuda --model middle --targets captured       CUDA graphs, on a GPU

`compiled` and `captured` are the checkpoint itself, as `volition serve --compile` and `--capture` have it. tiny is the
demo's model, middle the Kosmos-2 of `policy_speed.py`, both with an LSTM head, random weights, one camera (tiny: two),
a new picture at every call. All sides take turns in one process, one thread each; the clock of this process's CPU is
told beside the wall's, for machines with other work; VLM is its passes alone. Sizes are of all weights, head included.
Told first: the CPU time of what lies around VLM and head, from pictures and words to tensors, and from there to robots.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors.torch import save_file
from torch import Tensor

from policy_speed import INSTRUCTION, make_policy
from volition.backbones.stream import Runner
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.data.transforms import Chain
from volition.export.artefact import HEAD, write_passes
from volition.export.captured import captured
from volition.export.load import open_passes
from volition.export.names import TargetName
from volition.export.passes import calls_of
from volition.export.small import in_int8
from volition.export.targets import TARGETS
from volition.policy import Acting, Policy
from volition.recipes.desk import demo
from volition.records import Observation
from volition.training.compiled import compile_layers

logger = logging.getLogger(__name__)
MODELS = {"tiny": (("static", "gripper"), 96, "pick up the red block"), "middle": (("static",), 224, INSTRUCTION)}
OWN = ("compiled", "captured")  # the checkpoint itself
DEFAULT = ["onnx", "onnx-int8", "onnx-int4", "aoti"]


class Timed:
    """A `Runner` that notes how long its passes take, in milliseconds of this process's CPU."""

    def __init__(self, runner: Runner):
        self._runner, self.spent = runner, list[float]()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._runner, name)

    def run(self, *given: Any) -> Tensor:
        began = time.process_time()
        hidden = self._runner.run(*given)
        self.spent.append(1e3 * (time.process_time() - began))
        return hidden


@dataclass(frozen=True, kw_only=True)
class Side:
    name: str
    actor: Acting
    megabytes: float

    @classmethod
    def of(cls, name: str, runner: Runner, policy: Policy, megabytes: float) -> Side:
        actor = Acting(Timed(runner), policy.head, policy.collator, policy.max_steps).eval()
        return cls(name=name, actor=actor, megabytes=megabytes)

    @classmethod
    def of_checkpoint(cls, name: str, policy: Policy, megabytes: float) -> Side:
        """As `volition serve --compile` or `--capture` has it."""
        other = deepcopy(policy)
        if name == "compiled":
            compile_layers(other.backbone)
        return cls.of(name, captured(other).backbone if name == "captured" else other.backbone, other, megabytes)

    @property
    def passes(self) -> float:
        return statistics.median(self.actor.backbone.spent)


def tiny_policy() -> Policy:
    """The demo's, untrained."""
    recipe = demo()
    cameras = tuple(Camera(name=name, height=96, width=96) for name in MODELS["tiny"][0])
    robot = RobotSpec(action_space=relative_arm_7d(), cameras=cameras, state=("x",), control_hz=30.0)
    return recipe.build(robot, Chain(), pretrained=False)


def seen(name: str) -> Iterator[Observation]:
    cameras, size, instruction = MODELS[name]
    rng = np.random.default_rng(0)
    while True:
        images = {camera: rng.integers(0, 256, (1, size, size, 3), dtype=np.uint8) for camera in cameras}
        yield Observation(images, np.zeros((1, 1 if name == "tiny" else 0), np.float32), instruction)


def megabytes(folder: Path) -> float:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6


def exported(policy: Policy, name: str, observations: Iterator[Observation], folder: Path) -> Side:
    began = time.perf_counter()
    folder.mkdir()
    target = cast(TargetName, name)
    entries = write_passes(policy.backbone, calls_of(policy, observations), target, folder)
    head = {key: x.detach().clone() for key, x in policy.head.state_dict().items()}
    save_file(in_int8(head) if TARGETS[target].small else head, folder / HEAD)
    passes = open_passes(policy.backbone.adapter, entries, TARGETS[target], folder, threads=1, device="cpu")
    logger.info("%-10s written and opened in %.0f s", name, time.perf_counter() - began)
    return Side.of(name, passes, policy, megabytes(folder))


def measure(sides: Sequence[Side], observations: Iterator[Observation], rounds: int) -> None:
    """Wall and CPU milliseconds of every side's calls; each keeps its own memory, and all see the same."""
    states = {side.name: side.actor.start(1) for side in sides}
    clock: dict[str, list[tuple[float, float]]] = {side.name: [] for side in sides}
    chunks: dict[str, list[np.ndarray]] = {side.name: [] for side in sides}
    for number, observation in enumerate(islice(observations, rounds + 3)):
        for side in sides:
            began, spent = time.perf_counter(), time.process_time()
            answer, states[side.name] = side.actor.act([observation], states[side.name])
            taken = 1e3 * (time.perf_counter() - began), 1e3 * (time.process_time() - spent)
            if number >= 3:  # which warm up
                clock[side.name].append(taken)
            chunks[side.name].append(answer[0])
    first, theirs = clock[sides[0].name], np.stack(chunks[sides[0].name])
    base = [statistics.median(x) for x in zip(*first, strict=True)]
    for side in sides:
        wall, cpu = (np.array(x) for x in zip(*clock[side.name], strict=True))
        off = float(np.abs(np.stack(chunks[side.name]) - theirs)[..., :-1].max())
        logger.info(
            "%-10s %7.2f ms p50 %8.2f p99 %5.2f x  CPU %7.2f ms %5.2f x  VLM %7.2f ms %5.2f x  %7.2f MB %5.2f x  "
            "off by %.1e at most",
            *(side.name, np.median(wall), np.quantile(wall, 0.99), base[0] / np.median(wall)),
            *(np.median(cpu), base[1] / np.median(cpu), side.passes, sides[0].passes / side.passes),
            *(side.megabytes, sides[0].megabytes / side.megabytes, off),
        )


def around(policy: Policy, observation: Observation) -> tuple[float, float]:
    """Milliseconds of CPU: pictures and words to tensors, tensors to robot units."""
    collator, chunks = policy.collator, torch.zeros(1, 10, 7)

    def median(call: Callable[[], object]) -> float:
        spent = []
        for _ in range(50):
            began = time.process_time()
            call()
            spent.append(1e3 * (time.process_time() - began))
        return statistics.median(spent)

    return median(lambda: collator.batch([observation])), median(lambda: collator.decode(chunks, [observation]))


def run(model: str, targets: Sequence[str], rounds: int, device: str) -> None:
    builders: dict[str, Callable[[], Policy]] = {"tiny": tiny_policy, "middle": make_policy}
    torch.manual_seed(0)
    policy = builders[model]().eval().float().to(device)
    policy.backbone.autocast = None
    weights = sum(p.numel() for p in policy.parameters())
    logger.info("%s: %.1f M parameters, %d threads", model, weights / 1e6, torch.get_num_threads())
    logger.info("preparing %.2f ms of CPU, decoding %.2f", *around(policy, next(seen(model))))
    sides = [Side.of("eager", policy.backbone, policy, 4 * weights / 1e6)]
    with tempfile.TemporaryDirectory() as folder:
        for name in targets:
            if name in OWN:
                sides.append(Side.of_checkpoint(name, policy, 4 * weights / 1e6))
            else:
                sides.append(exported(policy, name, seen(model), Path(folder) / name))
        measure(sides, seen(model), rounds)


def main() -> None:
    logging.basicConfig(format="%(message)s")
    logger.setLevel(logging.INFO)
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", choices=MODELS, default=[*MODELS])
    parser.add_argument("--targets", nargs="+", choices=[*TARGETS, *OWN], default=DEFAULT)
    parser.add_argument("--rounds", type=int, default=200)
    parser.add_argument("--device", default="cpu", help="of eager, compiled and captured")
    options = parser.parse_args()
    for model in options.model:
        run(model, options.targets, options.rounds, options.device)


if __name__ == "__main__":
    main()
