"""What a server costs beside the policy itself, and whether it keeps a crowd of robots apart for long.

    OMP_NUM_THREADS=1 python benchmarks/serving_speed.py overhead [--model tiny|100m] [--requests 300]
    OMP_NUM_THREADS=1 python benchmarks/serving_speed.py soak [--model pocket] [--sessions 32] [--hz 10] [--seconds 600]
                                                              [--fixed]

overhead: one robot. The same observation goes to the policy in this process and, over a socket, to a server in
another process, in turn; the figure is the median of the differences. Beside it what a request takes beyond the call
of the policy in that server, and the processor time that both spent on it, less the policy's own: on a machine
where others work, waiting is not the server's.

soak: every robot is a thread of another process, asks at its rate with a new observation each time (LSTM head), and
sends on when its period has passed. `pocket` is the largest of the models that answers 320 requests a second on a slow
core; the demo's (`tiny`) answers 130. Counted are requests that were not answered, answers that came late,
the server's resident memory, and, for some robots, the largest difference from the same observations answered alone.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volition.backbones import TinyPaliGemma
from volition.config import Contract, DataConfig, Experiment, WindowConfig, dump
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.data.transforms import Chain
from volition.evaluation.batching import FixedBatch
from volition.heads import LSTMHeadConfig
from volition.records import Observation
from volition.studies.training import load_policy
from volition.training.train import LoopConfig, Trainer
from volition.training.writing import save
from volition_client import Client

logger = logging.getLogger(__name__)
CAMERAS, PROMPT, WARM_UP = ("static", "gripper"), "push the blue block over to the left", 10
COMPARED = 1000  # answers of a robot
MODELS = {
    "pocket": TinyPaliGemma(width=64, num_heads=2, vision_layers=2, text_layers=2, image_size=48),
    "tiny": TinyPaliGemma(vision_layers=4, text_layers=4, bfloat16=True),
    "100m": TinyPaliGemma(
        width=640, num_heads=10, vision_layers=8, text_layers=9, mlp_ratio=4, image_size=224, bfloat16=True
    ),
}
SIZES = {"pocket": 48, "tiny": 96, "100m": 224}


def make_checkpoint(model: str, folder: Path) -> Path:
    """Random weights: they take as long as trained ones."""
    size = SIZES[model]
    robot = RobotSpec(
        action_space=relative_arm_7d(),
        cameras=tuple(Camera(name=name, height=size, width=size) for name in CAMERAS),
        state=(),
        control_hz=30.0,
    )
    experiment = Experiment(
        data=DataConfig(cameras=CAMERAS),
        window=WindowConfig(num_obs_steps=2, obs_stride=5, action_horizon=8, replan_steps=5),
        backbone=MODELS[model],
        head=LSTMHeadConfig(),
    )
    torch.manual_seed(0)
    policy = experiment.build(robot)
    logger.info("%.1f M parameters", sum(p.numel() for p in policy.parameters()) / 1e6)
    contract = Contract(robot=robot, window=experiment.window, transforms=Chain())
    documents = {"config.json": dump(experiment), "contract.json": dump(contract)}
    return save(folder, Trainer.create(policy, LoopConfig()), documents, keep_last=1)


@contextmanager
def server(checkpoint: Path, *flags: str) -> Iterator[tuple[str, int]]:
    address = checkpoint.parent / f"address-{time.monotonic_ns()}.json"
    command = [sys.executable, "-c", "from volition.cli import main; main()", "serve", str(checkpoint)]
    process = subprocess.Popen([*command, "--port", "0", "--json", str(address), *flags], stdout=subprocess.DEVNULL)
    try:
        while not (address.exists() and address.read_text().endswith("}\n")):
            if process.poll() is not None:
                raise RuntimeError("the server ended")
            time.sleep(0.05)
        yield json.loads(address.read_text())["websocket"], process.pid
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def look(rng: np.random.Generator, size: int) -> dict[str, Any]:
    images = {f"observation/{name}": rng.integers(0, 256, (size, size, 3), dtype=np.uint8) for name in CAMERAS}
    return {**images, "prompt": PROMPT}


def observe(message: dict[str, Any]) -> Observation:
    images = {name: message[f"observation/{name}"][None] for name in CAMERAS}
    return Observation(images, np.zeros((1, 0), np.float32), message["prompt"])


def overhead(model: str, requests: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(model, Path(folder))
        policy, _ = load_policy(checkpoint)
        states, rng = policy.start(1), np.random.default_rng(0)
        with server(checkpoint) as (url, process), Client(url, patience=60, request_seconds=60) as client:
            here, there, spent, beyond = [], [], [], []
            for i in range(WARM_UP + requests):
                message = look(rng, SIZES[model])
                worked, started = time.process_time(), time.perf_counter()
                _, states = policy.act([observe(message)], states)
                between, alone, before = time.perf_counter(), time.process_time(), cpu_seconds(process)
                answer = client.infer(message)
                ended = time.perf_counter()
                if i >= WARM_UP:
                    beyond.append(1e3 * (ended - between) - answer["server_timing"]["policy_ms"])
                    both = time.process_time() - alone + cpu_seconds(process) - before
                    spent.append(1e3 * (both - (alone - worked)))
                    here.append(1e3 * (between - started))
                    there.append(1e3 * (ended - between))
    logger.info("processor time of a request beside the policy's own: mean %.2f ms", statistics.mean(spent))
    for name, times in (("in process", here), ("served", there), ("... beyond the call", beyond)):
        logger.info(
            "%-20s p50 %6.2f ms   p99 %6.2f ms", name, statistics.median(times), np.quantile(times, 0.99)
        )  # fmt: skip
    extra = [b - a for a, b in zip(here, there)]
    logger.info(
        "%-20s p50 of the pairs %.2f ms, difference of the medians %.2f ms (%d requests, load %.1f)", "overhead",
        statistics.median(extra), statistics.median(there) - statistics.median(here), requests, os.getloadavg()[0],
    )  # fmt: skip


def soak(model: str, sessions: int, hz: float, seconds: float, *, fixed: bool, kept: int = 4) -> None:
    with tempfile.TemporaryDirectory() as folder:
        checkpoint = make_checkpoint(model, Path(folder))
        flags = ["--max-batch", str(sessions), *(["--fixed-batch"] if fixed else [])]
        with server(checkpoint, *flags) as (url, process):
            robots = [Robot(url, i, hz, seconds, SIZES[model]) for i in range(sessions)]
            memory = watch(process, robots)
        policy, _ = load_policy(checkpoint)
        act = FixedBatch(policy, sessions).act if fixed else policy.act
        differences = [robot.difference(act, policy.start(1)[0], COMPARED) for robot in robots[:kept]]
    late = np.concatenate([robot.seconds for robot in robots])
    logger.info(
        "%d robots x %g Hz, %g s: %d requests, %d lost, %d sessions begun anew", sessions, hz, seconds, len(late),
        sum(robot.lost for robot in robots), sum(robot.fresh - 1 for robot in robots),
    )  # fmt: skip
    logger.info("latency p50 %.1f ms, p99 %.1f ms, longest %.1f ms", *(1e3 * np.quantile(late, [0.5, 0.99, 1.0])))
    logger.info("kept pace: %.2f requests a second and robot", len(late) / sessions / seconds)
    logger.info("memory of the server, MiB, at each tenth: %s", " ".join(f"{m:.0f}" for m in memory))
    logger.info(
        "largest difference from robots served alone: %.2e (the first %d answers of %d robots)",
        *(max(differences), min(COMPARED, *(len(robot.answers) for robot in robots[:kept])), kept),
    )


class Robot:
    """A thread that asks at its rate and keeps what it was answered."""

    def __init__(self, url: str, number: int, hz: float, seconds: float, size: int):
        self._url, self._number, self._period, self._until, self._size = url, number, 1 / hz, seconds, size
        self.seconds: list[float] = []
        self.answers: list[np.ndarray] = []
        self.lost = self.fresh = 0
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def messages(self) -> Iterator[dict[str, Any]]:
        rng = np.random.default_rng(self._number)
        while True:
            yield look(rng, self._size)

    def difference(self, act: Callable[..., Any], state: Any, most: int) -> float:
        """The largest difference of any of the first actions from the same observations, alone and in this process."""
        largest = 0.0
        for message, answer in zip(self.messages(), self.answers[:most]):
            chunks, (state,) = act([observe(message)], [state])
            largest = max(largest, float(np.abs(chunks[0] - answer).max()))
        return largest

    def _run(self) -> None:
        with Client(self._url, patience=60, request_seconds=60) as client:
            begun = due = time.perf_counter()
            for message in self.messages():
                if due - begun > self._until:
                    return
                time.sleep(max(0.0, due - time.perf_counter()))
                due = max(due + self._period, time.perf_counter() - self._period)
                started = time.perf_counter()
                try:
                    answer = client.infer(message)
                except (OSError, RuntimeError):
                    self.lost += 1
                    logger.exception("robot %d lost a request", self._number)
                    continue
                self.seconds.append(time.perf_counter() - started)
                self.fresh += bool(answer["fresh"])
                if self._number < 4:
                    self.answers.append(answer["actions"])


def watch(process: int, robots: list[Robot]) -> list[float]:
    """Resident MiB of the server, ten times while the robots run."""
    begun, found = time.monotonic(), list[float]()
    while any(robot.thread.is_alive() for robot in robots):
        if time.monotonic() - begun >= (len(found) + 0.5) * robots[0]._until / 10 and len(found) < 10:
            found.append(resident_mib(process))
        time.sleep(0.2)
    return found


def cpu_seconds(process: int) -> float:
    """Of user and system, in steps of the kernel's clock; exact in the mean over many requests."""
    parts = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(parts[11]) + int(parts[12])) / os.sysconf("SC_CLK_TCK")


def resident_mib(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS:")) / 1024


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["overhead", "soak"])
    parser.add_argument("--model", choices=MODELS, help="by default tiny, and pocket for soak")
    parser.add_argument("--requests", type=int, default=300)
    parser.add_argument("--sessions", type=int, default=32)
    parser.add_argument("--hz", type=float, default=10.0)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--fixed", action="store_true", help="calls of fixed size: equal to the bit")
    options = parser.parse_args()
    if options.what == "overhead":
        overhead(options.model or "tiny", options.requests)
    else:
        soak(options.model or "pocket", options.sessions, options.hz, options.seconds, fixed=options.fixed)


if __name__ == "__main__":
    main()
