"""Whether a backbone learns end to end: 16 samples whose action depends on the picture and on a word."""

from __future__ import annotations

import torch

from volition.backbones.base import Backbone
from volition.contract import ActionSpace, Dimension
from volition.heads.base import ActionLoss
from volition.heads.mlp import MLPHeadConfig
from volition.studies.backbone_checks import CAMERAS
from volition.types import Batch, Target

WORDS = ("red", "blue", "pink", "left")
COLOURS = torch.tensor([[220, 30, 30], [30, 220, 30], [30, 30, 220], [220, 220, 30]], dtype=torch.uint8)
MAX_STEPS = 400
LEARNT = 0.05  # of the actions' variance; the best that the picture or the word alone explain leaves more than a third
SPACE = ActionSpace(dimensions=(Dimension(name="x", unit="m"), Dimension(name="y", unit="m")))


def overfit(backbone: Backbone, *, lr: float = 2e-3) -> tuple[int, float]:
    """Optimizer steps taken, and the error that is left as a share of the actions' variance (stops below `LEARNT`)."""
    batch, target = samples(backbone)
    torch.manual_seed(0)
    config = MLPHeadConfig(hidden=64, loss=ActionLoss(kind="mse"))
    head = config.build(backbone, SPACE, num_obs_steps=1, horizon=1, state_dim=0).to(backbone.device)
    optimizer = torch.optim.Adam([*backbone.parameters(), *head.parameters()], lr=lr)
    variance = target.actions.var(dim=0, unbiased=False).mean().item()
    backbone.train()
    for step in range(1, MAX_STEPS + 1):
        loss = head.loss(backbone.encode(batch), batch, target).total
        left = loss.item() / variance
        if left < LEARNT:
            return step, left
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_([*backbone.parameters(), *head.parameters()], 1.0)
        optimizer.step()
    return MAX_STEPS, left


def samples(backbone: Backbone) -> tuple[Batch, Target]:
    """Four pictures, each a square of another colour in another corner, times four words; an action for each pair."""
    height, width = backbone.adapter.pictures.size
    corners = torch.full((4, height, width, 3), 40, dtype=torch.uint8)
    for i, corner in enumerate(corners):
        top, left = (i // 2) * (height // 2), (i % 2) * (width // 2)
        corner[top : top + height // 2, left : left + width // 2] = COLOURS[i]
    shown = corners.repeat_interleave(len(WORDS), 0)[:, None]
    images = {CAMERAS[0]: torch.full_like(shown, 128), CAMERAS[1]: shown}
    inputs = backbone.adapter.collate([f"lift {word}" for _ in corners for word in WORDS], len(CAMERAS))
    actions = torch.rand(16, 1, 1, SPACE.dim, generator=torch.Generator().manual_seed(0)) * 1.6 - 0.8
    batch = Batch(inputs=inputs, images=images, state=torch.zeros(16, 1, 0))
    target = Target(actions=actions, mask=torch.ones(16, 1, 1, dtype=torch.bool))
    return batch.to(backbone.device), target.to(backbone.device)
