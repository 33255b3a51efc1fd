"""One training step and one control step of a mid-size Kosmos-2, against a plain re-statement of the reference.

    OMP_NUM_THREADS=2 python benchmarks/model_speed.py [--rounds 5] [--compile] [--sides reference fp32 fp32-halves]

The re-statement makes what the reference makes: vocabulary logits of every token, the hidden states of every layer,
eager attention, float32. Both sides have the same weights, batch, tokens and pictures, and take turns in one process;
medians count. On a machine with other work the CPU seconds of one thread (OMP_NUM_THREADS=1) say more than the clock.
Peak memory is that of a process of its own for each side. Random weights: 8 text layers of 512, 8 vision layers of 384,
pictures of 224, 64 image tokens, LSTM 4 x 512, window 8, chunk 10, batch 4, 16 text tokens.
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
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode
from transformers import Kosmos2Config, Kosmos2ForConditionalGeneration

from volition.backbones.acting import store_as_computed
from volition.backbones.precision import computes_in_bfloat16
from volition.compat.config import ActHeadConfig, RoboVLMsConfig
from volition.compat.losses import action_losses
from volition.compat.model import Inputs, RoboVLM
from volition.training.recompute import Recomputed, recompute_layers

logger = logging.getLogger(__name__)
BATCH, WINDOW, CHUNK, WORDS = 4, 8, 10, 16


@dataclass(frozen=True, kw_only=True)
class Variant:
    """How a side runs. bfloat16 goes with eager attention: the fused kernel's backward is slow in it on a CPU."""

    bfloat16: bool = False
    parts: int = 1  # the batch goes through the model in so many parts; gradients are added up
    vision: Recomputed = "nothing"  # what of the vision tower's layers is computed again in the backward pass


VARIANTS = {
    "reference": Variant(),
    "fp32": Variant(),
    "fp32-halves": Variant(parts=2),
    "fp32-windows": Variant(parts=BATCH),
    "fp32-halves-activations": Variant(parts=2, vision="activations"),
    "fp32-lean": Variant(vision="layers"),
    "bf16": Variant(bfloat16=True),
    "bf16-halves": Variant(bfloat16=True, parts=2),
    "bf16-lean": Variant(bfloat16=True, vision="layers"),
}


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

    def part(self, number: int, parts: int) -> Data:
        """One of equal parts of the windows."""
        size = len(self.arm) // parts
        of = slice(number * size, (number + 1) * size)
        given = self.inputs
        inputs = replace(given, static=given.static[of], ids=given.ids[of], mask=given.mask[of])
        return Data(inputs=inputs, arm=self.arm[of], gripper=self.gripper[of])


@dataclass(kw_only=True)
class Side:
    """One way to run the model: its training step and its control step."""

    name: str
    train: Callable[[], float]
    act: Callable[[], Tensor]


def make_side(name: str, *, compiled: bool) -> Side:
    variant = VARIANTS[name]
    bf16 = variant.bfloat16
    model = make_model("eager" if bf16 or name == "reference" else "sdpa")
    recompute_layers(model.backbone.vision_model.modules(), variant.vision)
    runs: nn.Module = Reference(model) if name == "reference" else model
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0.0, fused=name != "reference")
    batch, step = Data.random(BATCH, WINDOW), Data.random(1, 1)
    parts = [batch.part(number, variant.parts) for number in range(variant.parts)]

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
        total = 0.0
        for part in parts:
            with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
                arm, gripper = runs(part.inputs)
            # Equal parts without a mask: the mean over all is the mean of their means.
            loss = action_losses(arm.float(), gripper.float(), part.arm, part.gripper).total() / len(parts)
            loss.backward()
            total += loss.item()
        optimizer.step()
        optimizer.zero_grad()
        return total

    @torch.inference_mode()
    def act() -> Tensor:
        """The newest frame through the model; the window's earlier features are in the head's memory on both sides."""
        with torch.autocast("cpu", torch.bfloat16, enabled=bf16):
            return actor()(step.inputs)[0]

    return Side(name=name, train=train, act=act)


def seconds(call: Callable[[], object]) -> tuple[float, float]:
    """By the clock, and of this process's CPU."""
    started, spent = time.perf_counter(), time.process_time()
    call()
    return time.perf_counter() - started, time.process_time() - spent


def compare(kind: str, sides: list[Side], rounds: int) -> None:
    calls: dict[str, Callable[[], object]] = {side.name: getattr(side, kind) for side in sides}
    for call in calls.values():
        call()  # memory, kernels and graphs are made once
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in calls}
    for _ in range(rounds):
        for name, call in calls.items():
            found[name].append(seconds(call))
    medians = {name: [statistics.median(x) for x in zip(*times, strict=True)] for name, times in found.items()}
    first = next(iter(medians.values()))
    for name, (clock, cpu) in medians.items():
        logger.info(
            "%-6s %-12s %8.3f s %5.2f x   CPU %8.3f s %5.2f x", kind, name, clock, first[0] / clock, cpu, first[1] / cpu
        )


def count_operations(sides: list[Side]) -> None:
    """Matrix products of a step, and the least time in which this machine could do them, by its speed on large ones."""
    left, right = torch.randn(2048, 2048), torch.randn(2048, 2048)
    left @ right
    times = [seconds(lambda: left @ right) for _ in range(5)]
    clock, cpu = (2 * 2048**3 / min(x) / 1e9 for x in zip(*times, strict=True))
    logger.info("large float32 products: %.1f GFLOP/s by the clock, %.1f by CPU time", clock, cpu)
    for side in sides:
        with FlopCounterMode(display=False) as counter:
            side.train()
        done = counter.get_total_flops() / 1e9
        logger.info(
            "products %-12s %8.1f GFLOP, at least %.2f s, CPU %.2f s", side.name, done, done / clock, done / cpu
        )


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
    parser.add_argument("--sides", nargs="+", choices=VARIANTS, help="the first is what the others are compared with")
    parser.add_argument("--peak", choices=VARIANTS, help="two training steps of one side; prints its peak GiB")
    options = parser.parse_args()
    if options.peak:
        side = make_side(options.peak, compiled=options.compile)
        side.train(), side.train()
        sys.stdout.write(f"{own_peak_gib():.3f}\n")
        return
    able = computes_in_bfloat16("cpu")
    if not able:
        logger.info("this CPU only imitates bfloat16: its sides are left out unless --sides names them")
    names = options.sides or [name for name, variant in VARIANTS.items() if able or not variant.bfloat16]
    sides = [make_side(name, compiled=options.compile) for name in names]
    size = sum(p.numel() for p in make_model("sdpa").parameters()) / 1e6
    logger.info("%.1f M parameters, %d threads", size, torch.get_num_threads())
    losses = {side.name: side.train() for side in sides}
    for name, loss in losses.items():
        logger.info("first loss %-12s %.7f  (%.1e relative)", name, loss, abs(loss / losses[names[0]] - 1))
    if not options.compile:
        count_operations(sides)
    compare("train", sides, options.rounds)
    compare("act", sides, 4 * options.rounds)
    for name in names:
        logger.info("peak   %-12s %8.2f GiB", name, peak_gib(name, options.compile))


if __name__ == "__main__":
    main()
