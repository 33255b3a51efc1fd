"""Heads that answer in tokens: a chunk spoken with kept keys and values against re-reading the row for every token.

    OMP_NUM_THREADS=1 python benchmarks/decoding_speed.py [--rounds 5]

Both sides say the same tokens (checked) with the same weights: random, PaliGemma's architecture, 4 vision and 4 text
layers of 128, two pictures of 96 pixels and a sentence, for 1 and 8 robots at once; chunks of 8 actions of 7 numbers.
The sides take turns; CPU time counts, medians.
"""

from __future__ import annotations

import argparse
import logging
import statistics
import time
from collections.abc import Callable

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from volition.backbones import TinyPaliGemma
from volition.config import DataConfig, Experiment, WindowConfig
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.heads import AnyHead, DiscreteHeadConfig, FASTHeadConfig
from volition.heads.tokens import TokenHead
from volition.policy import Policy
from volition.records import Observation
from volition.types import Batch

logger = logging.getLogger(__name__)
SIZE, CAMERAS, CHUNK = 96, ("static", "gripper"), 8


def make_policy(head: AnyHead) -> Policy:
    torch.manual_seed(0)
    cameras = tuple(Camera(name=name, height=SIZE, width=SIZE) for name in CAMERAS)
    robot = RobotSpec(action_space=relative_arm_7d(), cameras=cameras, state=(), control_hz=30.0)
    return (
        Experiment(
            data=DataConfig(cameras=CAMERAS),
            window=WindowConfig(
                num_obs_steps=1, history="one_step", action_horizon=CHUNK, replan_steps=CHUNK, obs_stride=CHUNK
            ),
            backbone=TinyPaliGemma(vision_layers=4, text_layers=4),
            head=head,
        )
        .build(robot)
        .eval()
    )


def observations(count: int) -> list[Observation]:
    rng = np.random.default_rng(0)
    pictures = [{name: rng.integers(0, 256, (1, SIZE, SIZE, 3), np.uint8) for name in CAMERAS} for _ in range(count)]
    return [Observation(images, np.zeros((1, 0), np.float32), "push the blue block to the left") for images in pictures]


def reread(policy: Policy, head: TokenHead, batch: Batch) -> Tensor:
    """What a head without a cache does: the whole row once more for every token, int[B, M]."""
    said = torch.full((batch.shape[0], 1), head.mark)
    while said.shape[1] <= head.max_tokens:
        hidden = policy.backbone.encode(batch).extend(said[:, None] + head.first)[:, 0, -1]
        allowed = head.allowed(F.pad(said[:, 1:], (0, 1)))[:, -1]
        token = head.logits(hidden, batch.state[:, -1]).masked_fill(~allowed, -torch.inf).argmax(-1, keepdim=True)
        said = torch.cat([said, token], dim=1)
        if bool((said[:, 1:] == head.mark).any(1).all()):
            break
    return said[:, 1:]


def cpu_seconds(call: Callable[[], Tensor]) -> tuple[float, Tensor]:
    started = time.process_time()
    found = call()
    return time.process_time() - started, found


@torch.inference_mode()
def compare(name: str, head_config: AnyHead, robots: int, rounds: int) -> None:
    policy = make_policy(head_config)
    head = policy.head
    assert isinstance(head, TokenHead)
    batch = policy.collator.batch(observations(robots))
    times: dict[str, list[float]] = {"kept": [], "reread": []}
    for _ in range(rounds + 1):  # the first is to warm up
        kept, spoken = cpu_seconds(lambda: head.speak(policy.backbone.encode(batch), batch))
        again, same = cpu_seconds(lambda: reread(policy, head, batch))
        assert torch.equal(spoken, same)
        times["kept"].append(kept)
        times["reread"].append(again)
    kept, again = (statistics.median(found[1:]) for found in times.values())
    logger.info(
        "%-9s %d robots, %2d tokens: kept %7.1f ms, read again %8.1f ms, %5.1f x",
        name, robots, spoken.shape[1], 1e3 * kept, 1e3 * again, again / kept,
    )  # fmt: skip


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    for robots in (8, 1):
        compare("discrete", DiscreteHeadConfig(), robots, options.rounds)
        compare("FAST", FASTHeadConfig(), robots, options.rounds)


if __name__ == "__main__":
    main()
