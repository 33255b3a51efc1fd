"""Actions as words: the vocabulary's cross entropy in training, one token after another when acting.

Rows are the reference's: all images after the first token, then the prompt and the action tokens, the rows of a window
joined into one. Vocabulary logits are made only where a label or a next token needs them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn import functional as F
from transformers import DynamicCache

from volition.action_tokens import ActionTokenizer
from volition.compat.model import FIRST, Inputs, RoboVLM, Rows, insert

NO_LABEL = -100


@dataclass(frozen=True, kw_only=True)
class DiscreteLosses:
    """`total` is over all labelled tokens; the others only tell how the action tokens fare (0 where there is none)."""

    total: Float[Tensor, ""]
    action_l1: Float[Tensor, ""]  # of the decoded values
    arm_accuracy: Float[Tensor, ""]
    gripper_accuracy: Float[Tensor, ""]


def labelled_rows(model: RoboVLM, inputs: Inputs, labels: Int[Tensor, "B T W"]) -> tuple[Rows, Int[Tensor, "B L"]]:
    """Joined rows of a window and their labels. `inputs.ids` and `mask` are [B * T, W], one text a frame."""
    steps = labels.shape[1]
    cameras = [model.images(x).flatten(0, 1) for x in (inputs.static, inputs.gripper) if x is not None]
    rows = model.row(inputs.ids, inputs.mask, cameras)
    texts = labels.flatten(0, 1)
    for features in cameras:
        texts = insert(texts, texts.new_full(features.shape[:2], NO_LABEL), FIRST)
    return rows.joined(steps), texts.unflatten(0, (-1, steps)).flatten(1, 2)


def window_losses(
    model: RoboVLM, inputs: Inputs, labels: Int[Tensor, "B T W"], tokens: ActionTokenizer
) -> DiscreteLosses:
    rows, targets = labelled_rows(model, inputs, labels)
    hidden = model.family.hidden(model.backbone, rows.embeds, rows.mask)
    asked = targets[:, 1:] != NO_LABEL
    logits = model.family.logits(model.backbone, hidden[:, :-1][asked])
    return discrete_losses(logits, targets[:, 1:][asked], tokens, model.config.act_head.action_dim)


def discrete_losses(
    logits: Float[Tensor, "M V"], labels: Int[Tensor, "M"], tokens: ActionTokenizer, action_dim: int
) -> DiscreteLosses:
    """Logits at the positions before the labelled tokens. Whole actions only; the gripper is their last entry."""
    total = F.cross_entropy(logits, labels)
    is_action = (labels > tokens.begin) & (labels < tokens.end)
    count = int(is_action.sum())
    if count % action_dim:
        raise ValueError(f"labels must hold whole actions of {action_dim} tokens each, got {count} action tokens")
    if not count:
        nothing = torch.zeros_like(total)
        return DiscreteLosses(total=total, action_l1=nothing, arm_accuracy=nothing, gripper_accuracy=nothing)
    wanted = labels[is_action].unflatten(0, (-1, action_dim))
    found = logits[is_action].argmax(-1).unflatten(0, (-1, action_dim))
    right = (found == wanted).float()
    difference = tokens.decode(found.cpu().numpy()) - tokens.decode(wanted.cpu().numpy())
    return DiscreteLosses(
        total=total,
        action_l1=torch.from_numpy(abs(difference)).mean(),
        arm_accuracy=right[:, :-1].mean(),
        gripper_accuracy=right[:, -1].mean(),
    )


@torch.no_grad()
def decode(
    model: RoboVLM, rows: Rows, count: int, tokens: ActionTokenizer | None
) -> tuple[Int[Tensor, "N count"], Float[Tensor, "N count V"]]:
    """The `count` likeliest next tokens one after another, and the logits of each step.

    With `tokens` only action tokens are taken; None takes whatever is likeliest, as the reference does.
    """
    cache = DynamicCache()
    embeds, mask, ids, steps = rows.embeds, rows.mask, [], []
    for _ in range(count):
        hidden = model.family.hidden(model.backbone, embeds, mask, cache)
        logits = model.family.logits(model.backbone, hidden[:, -1])
        allowed = logits if tokens is None else _only(logits, tokens)
        ids.append(allowed.argmax(-1))
        steps.append(logits)
        embeds = model.family.embed(model.backbone, ids[-1][:, None])
        mask = torch.cat([mask, mask.new_ones(len(mask), 1)], dim=1)
    return torch.stack(ids, dim=1), torch.stack(steps, dim=1)


def _only(logits: Float[Tensor, "N V"], tokens: ActionTokenizer) -> Float[Tensor, "N V"]:
    allowed = torch.full_like(logits, -torch.inf)
    chosen = slice(tokens.begin + 1, tokens.end)
    allowed[:, chosen] = logits[:, chosen]
    return allowed
