"""Tiny policies and random batches of every combination, for the conformance suites."""

from __future__ import annotations

import torch

from volition.backbones import Backbone, TinyPaliGemma, TinySmolVLM
from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.heads import (
    DiffusionHeadConfig,
    DiscreteHeadConfig,
    EnsembleHeadConfig,
    ExpertHeadConfig,
    FASTHeadConfig,
    FlowHeadConfig,
    GateHeadConfig,
    GPT2HeadConfig,
    Head,
    LSTMHeadConfig,
    MLPHeadConfig,
)
from volition.heads.denoiser import DenoiserConfig
from volition.types import Batch, Target

SMALL = {"width": 32, "num_heads": 2, "vision_layers": 1, "text_layers": 2, "image_size": 32}
BACKBONES = {
    "paligemma": TinyPaliGemma(**SMALL),
    "paligemma-two-readouts": TinyPaliGemma(**SMALL, num_readouts=2),
    "smolvlm": TinySmolVLM(**SMALL),
}
DENOISER = DenoiserConfig(width=64, num_blocks=2, num_layers=1, num_heads=2)
MLP, LSTM = MLPHeadConfig(hidden=32), LSTMHeadConfig(hidden=32)
HEADS = {
    "mlp": MLP,
    "lstm": LSTM,
    "gpt2": GPT2HeadConfig(width=32, num_layers=2, num_heads=2),
    "flow": FlowHeadConfig(denoiser=DENOISER),
    "diffusion": DiffusionHeadConfig(denoiser=DENOISER),
    "ensemble": EnsembleHeadConfig(members=(MLP, LSTM)),
    "fusion": EnsembleHeadConfig(members=(MLP, LSTM), fusion="learned", hidden=16),
    "gate-weigh": GateHeadConfig(members=(MLP, LSTM), hidden=16),
    "gate-pick": GateHeadConfig(members=(MLP, LSTM), choice="pick", hidden=16),
    "discrete": DiscreteHeadConfig(num_bins=64, hidden=32),
    "fast": FASTHeadConfig(hidden=32),
    "expert": ExpertHeadConfig(width=32, num_layers=2, queries_per_key=1),
}
# Their loss does not score the very chunk that they would act with.
UNSCORED = ("flow", "diffusion", "ensemble", "fast", "expert")
BEYOND_READOUT = ("discrete", "fast", "expert")  # they read more of the VLM's pass than a store of read-outs holds
SPACES = {
    "arm-7d": relative_arm_7d(),
    "base-2d": ActionSpace(
        dimensions=(Dimension(name="linear_x", unit="m/s"), Dimension(name="angular_z", unit="rad/s"))
    ),
}
CAMERAS = ("static", "gripper")


def make_backbone(name: str, seed: int = 0) -> Backbone:
    torch.manual_seed(seed)
    backbone = BACKBONES[name].build()
    # Fresh projectors may start at zero or tiny; make every path carry signal.
    for parameter in backbone.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return backbone.eval()


def make_head(name: str, backbone: Backbone, space: ActionSpace, *, steps: int = 3, state_dim: int = 0) -> Head:
    torch.manual_seed(1)
    return HEADS[name].build(backbone, space, num_obs_steps=steps, horizon=4, state_dim=state_dim)


def make_batch(
    backbone: Backbone, texts: list[str], *, steps: int = 3, state_dim: int = 0, size: int = 32, seed: int = 2
) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    shape = (len(texts), steps, size, size, 3)
    images = {c: torch.randint(0, 256, shape, dtype=torch.uint8, generator=generator) for c in CAMERAS}
    return Batch(
        inputs=backbone.adapter.collate([text for text in texts for _ in range(steps)], len(CAMERAS)),
        images=images,
        state=torch.randn(len(texts), steps, state_dim, generator=generator),
    )


def make_target(batch: Batch, space: ActionSpace, *, horizon: int = 4, seed: int = 3) -> Target:
    generator = torch.Generator().manual_seed(seed)
    actions = torch.rand(*batch.shape, horizon, space.dim, generator=generator) * 2 - 1
    binary = list(space.binary)
    actions[..., binary] = torch.where(actions[..., binary] > 0, 1.0, -1.0)
    return Target(actions=actions, mask=torch.ones(*batch.shape, horizon, dtype=torch.bool))
