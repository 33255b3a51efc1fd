"""The training loop that ships and `Policy.act` on the model of `model_speed.py`, against the same re-statement.

    OMP_NUM_THREADS=2 python benchmarks/policy_speed.py [--rounds 5]

Equal sizes and float32, but not the same function: Volition's prompt has marks around pictures, its LSTM head is its
own, and its pictures come as bytes and are normalised within the step. What is varied is `loop.accumulate`.
"""

from __future__ import annotations

import argparse
import logging
import subprocess
import sys
from typing import Any

import numpy as np
import torch
from torch import Tensor

from model_speed import BATCH, CHUNK, WINDOW, WORDS, Side, compare, make_model, make_side, own_peak_gib
from volition.backbones import Backbone
from volition.backbones.images import Pictures
from volition.backbones.kosmos2 import Kosmos2
from volition.contract import relative_arm_7d
from volition.data.transforms import Chain
from volition.heads import LSTMHeadConfig
from volition.policy import Collator, Policy
from volition.records import Observation
from volition.training.optim import OptimConfig
from volition.training.train import LoopConfig, Trainer, train
from volition.types import Batch, Target

logger = logging.getLogger(__name__)
SIDES = {"reference": 0, "policy": 1, "policy-halves": 2, "policy-windows": BATCH}  # parts of a batch; 0: not ours
MARKS = {"<image>": 32765, "</image>": 32766, "<patch_index_0000>": 32767}
INSTRUCTION = " ".join(map(str, range(WORDS - 2)))


class Numbers:
    """A tokenizer whose words are numbers."""

    bos_token_id = 0

    def encode(self, text: str, *, add_special_tokens: bool = True) -> list[int]:
        return [0] * add_special_tokens + [3 + int(word) for word in text.split()]

    def get_vocab(self) -> dict[str, int]:
        return MARKS


def make_policy() -> Policy:
    model = make_model("sdpa").backbone
    adapter = Kosmos2(Numbers(), model, pictures=Pictures(size=(224, 224)))
    backbone = Backbone(model, adapter)
    head = LSTMHeadConfig(hidden=512, num_layers=4).build(
        backbone, relative_arm_7d(), num_obs_steps=WINDOW, horizon=CHUNK, state_dim=0
    )
    return Policy(backbone, head, Collator(Chain(), adapter, ("static",), ()), WINDOW)


def observation(steps: int) -> Observation:
    pictures = np.random.default_rng(1).integers(0, 256, (steps, 224, 224, 3), dtype=np.uint8)
    return Observation({"static": pictures}, np.zeros((steps, 0), np.float32), INSTRUCTION)


def make_policy_side(name: str) -> Side:
    policy = make_policy()
    actions = torch.rand(BATCH, WINDOW, CHUNK, 7, generator=torch.Generator().manual_seed(1)) * 2 - 1
    actions[..., 6] = actions[..., 6].sign()

    def batches(step: int, part: int = 0, parts: int = 1) -> tuple[Batch, Target]:
        size = BATCH // parts
        wanted = actions[part * size : (part + 1) * size]
        mask = torch.ones(wanted.shape[:3], dtype=torch.bool)
        return policy.collator.batch([observation(WINDOW)] * size), Target(actions=wanted, mask=mask)

    optim = OptimConfig(lr=2e-5, backbone_lr=2e-5)
    loop = LoopConfig(num_steps=10**6, batch_size=BATCH, accumulate=SIDES[name], log_every=1, save_every=1, optim=optim)
    steps = train(Trainer.create(policy, loop), batches, loop)
    states: list[Any] = policy.start(1)

    def act() -> Tensor:
        policy.eval()
        return torch.from_numpy(policy.act([observation(1)], states)[0])

    def step() -> float:
        policy.train()
        return float(next(steps)["loss"])

    return Side(name=name, train=step, act=act)


def side(name: str) -> Side:
    return make_policy_side(name) if SIDES[name] else make_side(name, compiled=False)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--sides", nargs="+", choices=SIDES, default=[*SIDES])
    parser.add_argument("--peak", choices=SIDES, help="two training steps of one side; prints its peak GiB")
    options = parser.parse_args()
    if options.peak:
        one = side(options.peak)
        one.train(), one.train()
        sys.stdout.write(f"{own_peak_gib():.3f}\n")
        sys.stdout.flush()
        return
    sides = [side(name) for name in options.sides]
    compare("train", sides, options.rounds)
    compare("act", sides, 4 * options.rounds)
    for name in options.sides:
        done = subprocess.run([sys.executable, __file__, "--peak", name], capture_output=True, text=True, check=True)
        logger.info("peak   %-14s %8.2f GiB", name, float(done.stdout))


if __name__ == "__main__":
    main()
