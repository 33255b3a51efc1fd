"""One training step and one control step of a mid-size Kosmos-2, against a plain re-statement of the reference.

    OMP_NUM_THREADS=2 python benchmarks/model_speed.py [--rounds 5] [--compile]

The re-statement makes what the reference makes: vocabulary logits of every token, the hidden states of every layer,
eager attention, float32. Both sides have the same weights, batch, tokens and pictures, and take turns in one process;
medians count. Peak memory is that of a process of its own for each side. Random weights: 8 text layers of 512, 8 vision
layers of 384, pictures of 224, 64 image tokens, LSTM 4 x 512, window 8, chunk 10, batch 4, 16 text tokens.
"""

from __future__ import annotations

import argparse
import copy
import logging
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

from volition.backbones.acting import store_as_computed
from volition.compat.config import ActHeadConfig, RoboVLMsConfig
from volition.compat.losses import action_losses
from volition.compat.model import Inputs, RoboVLM
from volition.training.recompute import recompute_layers

logger = logging.getLogger(__name__)
BATCH, WINDOW, CHUNK, WORDS = 4, 8, 10, 16
# lean: with the layers of the vision tower computed again in the backward pass. bfloat16 goes with eager attention: the
# fused kernel's backward pass is slow in it on a CPU.
VARIANTS = ("reference", "fp32", "fp32-lean", "bf16", "bf16-lean")


def make_model(attention: str) -> RoboVLM:
    torch.manual_seed(0)
    layer = {"dropout": 0.0, "attention_dropout": 0.0, "activation_dropout": 0.0, "layerdrop": 0.0}
    text = {"vocab_size": 32768, "embed_dim": 512, "layers": 8, "ffn_dim": 2048, "attention_heads": 8, **layer}
    vision = {"hidden_size": 384, "intermediate_size": 1536, "num_hidden_layers": 8, "num_attention_heads": 6}
    config = Kosmos2Config(
        text_config=text, vision_config={**vision, "image_size": 224, "patch_size": 14}, latent_query_num=64
    )
    config._attn_implementation = attention
    backbone = Kosmos2ForConditionalGeneration._from_config(config, attn_implementation=attention)
    head = ActHeadConfig(hidden_size=512, num_layers=4)
    return RoboVLM(RoboVLMsConfig(window_size=WINDOW, fwd_pred_next_n=CHUNK, act_head=head), backbone)


class Reference(nn.Module):
    """The same parameters, run the reference's way."""

    def __init__(self, model: RoboVLM):
        super().__init__()
        self.model = model

    def forward(self, inputs: Inputs) -> tuple[Tensor, Tensor]:
        model, rows = self.model, self.model.rows(inputs)
        out = model.backbone.text_model(
            inputs_embeds=rows.embeds, attention_mask=rows.mask, output_hidden_states=True, use_cache=False
        )
        assert out.logits.shape[:2] == rows.mask.shape
        hidden = out.hidden_states[-1].clone()
        states = hidden.gather(1, rows.positions[..., None].expand(-1, -1, hidden.shape[-1]))
        assert model.act_head is not None
        return model.act_head(states.reshape(*inputs.static.shape[:2], -1, states.shape[-1]))


@dataclass(frozen=True, kw_only=True)
class Data:
    inputs: Inputs
    arm: Tensor
    gripper: Tensor

    @classmethod
    def random(cls, batch: int, steps: int) -> Data:
        generator = torch.Generator().manual_seed(1)
        ids = torch.randint(3, 32768, (batch, WORDS), generator=generator)
        pixels = torch.randn(batch, steps, 3, 224, 224, generator=generator)
        inputs = Inputs(static=pixels, gripper=None, ids=ids, mask=torch.ones_like(ids))
        arm = torch.rand(batch, steps, CHUNK, 6, generator=generator) * 2 - 1
        return cls(inputs=inputs, arm=arm, gripper=(arm[..., 0] > 0).float())


@dataclass(kw_only=True)
class Side:
    """One way to run the model: its training step and its control step."""

    name: str
    train: Callable[[], float]
    act: Callable[[], Tensor]


def make_side(name: str, *, compiled: bool) -> Side:
    bf16 = name.startswith("bf16")
    model = make_model("eager" if bf16 or name == "reference" else "sdpa")
    if name.endswith("-lean"):
        recompute_layers(model.backbone.vision_model.modules(), "layers")
    runs: nn.Module = Reference(model) if name == "reference" else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=name != "reference")
    batch, step = Data.random(BATCH, WINDOW), Data.random(1, 1)

    if compiled and name != "reference":
        runs = torch.compile(runs)  # type: ignore[assignment]

    @cache
    def actor() -> nn.Module:
        if not bf16:
            return runs
        acting = copy.deepcopy(model)  # as a policy is loaded to act
        store_as_computed(acting, torch.bfloat16)
        return torch.compile(acting) if compiled else acting  # type: ignore[return-value]

    def train() -> float:
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            arm, gripper = runs(batch.inputs)
        loss = action_losses(arm.float(), gripper.float(), batch.arm, batch.gripper).total()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()
        return loss.item()

    @torch.inference_mode()
    def act() -> Tensor:
        """The newest frame through the model; the window's earlier features are in the head's memory on both sides."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return actor()(step.inputs)[0]

    return Side(name=name, train=train, act=act)


def seconds(call: Callable[[], object]) -> float:
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def compare(kind: str, sides: list[Side], rounds: int) -> None:
    calls: dict[str, Callable[[], object]] = {side.name: getattr(side, kind) for side in sides}
    for call in calls.values():
        call()  # memory, kernels and graphs are made once
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(seconds(call))
    medians = {name: statistics.median(times) for name, times in found.items()}
    for name, median in medians.items():
        logger.info("%-6s %-10s %8.3f s  %5.2f x", kind, name, median, medians["reference"] / median)


def own_peak_gib() -> float:
    """Of this process: `ru_maxrss` would count what the one that started it had."""
    status = Path("/proc/self/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1]) / 2**20


def peak_gib(name: str, compiled: bool) -> float:
    flags = ["--peak", name, *(["--compile"] if compiled else [])]
    done = subprocess.run([sys.executable, __file__, *flags], capture_output=True, text=True, check=True)
    return float(done.stdout)


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--compile", action="store_true", help="torch.compile our sides")
    parser.add_argument("--peak", choices=VARIANTS, help="two training steps of one side; prints its peak GiB")
    options = parser.parse_args()
    if options.peak:
        side = make_side(options.peak, compiled=options.compile)
        side.train(), side.train()
        sys.stdout.write(f"{own_peak_gib():.3f}\n")
        return
    model = make_model("sdpa")
    logger.info(
        "%.1f M parameters, %d threads", sum(p.numel() for p in model.parameters()) / 1e6, torch.get_num_threads()
    )
    sides = [make_side(name, compiled=options.compile) for name in VARIANTS]
    losses = {side.name: side.train() for side in sides}
    for name, loss in losses.items():
        logger.info("first loss %-10s %.7f  (%.1e relative)", name, loss, abs(loss / losses["reference"] - 1))
    compare("train", sides, options.rounds)
    compare("act", sides, 4 * options.rounds)
    for name in VARIANTS:
        logger.info("peak   %-10s %8.2f GiB", name, peak_gib(name, options.compile))


if __name__ == "__main__":
    main()
