"""A checkpoint of the reference as `records.Actor`: CALVIN's observations in, chunks of CALVIN's relative actions out.

The reference executes the prediction of the oldest frame of an interleaved window; here it is the newest frame's.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from volition.action_tokens import ActionTokenizer
from volition.compat import streaming
from volition.compat.actions import ActionScaling, inverse_mu_law, tcp_to_world, unnormalize, unregularize
from volition.compat.checkpoint import load_checkpoint
from volition.compat.discrete import decode
from volition.compat.model import RoboVLM, Rows
from volition.compat.pictures import preprocess
from volition.compat.read import read_config
from volition.compat.text import TEXT_STYLES, prompt, question
from volition.contract import ActionSpace, relative_arm_7d
from volition.records import Observation


class RoboVLMsPolicy:
    """Cameras `static` and, where the config says so, `gripper`; `state` is CALVIN's robot_obs [15].

    tokenizer: of Hugging Face; its end tokens are where the checkpoint was trained to have them.
    """

    action_space: ActionSpace = relative_arm_7d()

    def __init__(self, model: RoboVLM, tokenizer: Any):
        self.model, self.tokenizer = model.eval(), tokenizer
        config = model.config
        self.cameras = ("static", "gripper") if config.use_hand_rgb else ("static",)
        self.actions = action_tokenizer(model, tokenizer) if config.act_head.type == "DiscreteDecoder" else None

    def start(self, n: int) -> list[Any]:
        """States of `n` robots that have seen nothing."""
        return [None if self.actions else streaming.start(self.model) for _ in range(n)]

    @torch.inference_mode()
    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        """One observation (T = 1) and state a robot -> float32[B, H, 7], gripper +1 open or -1 closed; new states."""
        rows = self.rows(observations)
        if self.actions is not None:
            chunks = [self.spoken(row, self.actions) for row in rows]
        else:
            arm, gripper, states = streaming.step(self.model, rows, states)
            opened = torch.where(gripper > 0, 1.0, -1.0).to(arm.dtype)
            chunks = list(torch.cat([arm, opened], dim=-1).double().cpu().numpy())
        decoded = [self.decoded(c, o.state[-1]) for c, o in zip(chunks, observations, strict=True)]
        return np.stack(decoded).astype(np.float32), list(states)

    def rows(self, observations: Sequence[Observation]) -> list[Rows]:
        """A row a robot, no longer than its own text needs."""
        cameras = [self.model.images(self.pixels(observations, name)).flatten(0, 1) for name in self.cameras]
        rows = []
        for i, observation in enumerate(observations):
            ids = self.ids(observation.instruction)
            rows.append(self.model.row(ids, torch.ones_like(ids), [features[i : i + 1] for features in cameras]))
        return rows

    def pixels(self, observations: Sequence[Observation], camera: str) -> Tensor:
        for observation in observations:
            if camera not in observation.images:
                seen = ", ".join(map(repr, observation.images))
                raise ValueError(f"the checkpoint looks at the camera {camera!r}; the observation has {seen}")
        family, size = self.model.family, self.model.config.image_size
        pictures = [preprocess(o.images[camera][-1], size, family.image_mean, family.image_std) for o in observations]
        like = self._like
        return torch.from_numpy(np.stack(pictures))[:, None].to(like.device, like.dtype)

    def ids(self, instruction: str) -> Tensor:
        config, bos, eos = self.model.config, self.tokenizer.bos_token, self.tokenizer.eos_token
        if self.actions is not None:
            # Asked for one step more than it gives: so the reference trains it on CALVIN, and so it asks.
            text = prompt(config.model, question(instruction, config.fwd_pred_next_n + 1), bos=bos, eos=eos)
            ids = self.tokenizer(text, add_special_tokens=True, return_tensors="pt").input_ids
            ids = ids[:, :-1] if ids[0, -1] == self.tokenizer.eos_token_id else ids
        else:
            style = TEXT_STYLES[config.model]
            ids = self.tokenizer(style.texts([instruction], bos=bos, eos=eos), **style.options()).input_ids
        return ids.to(self._like.device)

    def spoken(self, row: Rows, actions: ActionTokenizer) -> np.ndarray:
        """The chunk as action tokens, and nothing but action tokens: float64[H, 7]."""
        config = self.model.config
        shape = (config.fwd_pred_next_n, config.act_head.action_dim)
        ids, _ = decode(self.model, row, shape[0] * shape[1], actions)
        chunk = actions.decode(ids.cpu().numpy()).reshape(shape)
        chunk[:, -1] = np.where(chunk[:, -1] > 0, 1.0, -1.0)
        return chunk

    def decoded(self, chunk: np.ndarray, state: np.ndarray) -> np.ndarray:
        """Model units [H, 7] -> the robot's; in the order opposite to the one in which the data were encoded."""
        if self.model.config.tcp_rel:
            chunk = tcp_to_world(chunk, np.broadcast_to(state, (len(chunk), len(state))))
        arm = unscale(self.model.config.scaling, chunk[:, :-1])
        return np.concatenate([arm, chunk[:, -1:]], axis=-1)

    @property
    def _like(self) -> Tensor:
        return next(self.model.parameters())


def unscale(scaling: ActionScaling, arm: np.ndarray) -> np.ndarray:
    """Undo all of the scaling on arm dimensions. The reference's wrapper forgets the regularising."""
    if scaling.mu is not None:
        arm = inverse_mu_law(arm, scaling.mu, keep_last=False)
    if scaling.regular:
        arm = unregularize(arm, *scaling.regular, keep_last=False)
    return unnormalize(arm, *scaling.normal) if scaling.normal else arm


def action_tokenizer(model: RoboVLM, tokenizer: Any) -> ActionTokenizer:
    """The action ids near the end of the tokenizer's vocabulary."""
    head = model.config.act_head
    special = sum(len(x) if isinstance(x, list) else 1 for x in tokenizer.special_tokens_map.values())
    return ActionTokenizer.at_end_of(
        tokenizer.vocab_size, special, bins=head.n_bin, low=head.min_action, high=head.max_action
    )


def load_policy(
    config: Path, checkpoint: Path, *, vlm: Path | None = None, tokenizer: Path | None = None
) -> RoboVLMsPolicy:
    """From the reference's two files; `vlm` and `tokenizer` are folders, by default the ones that the config names."""
    settings, _ = read_config(config)
    folder = tokenizer or settings.tokenizer_path
    words = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    return RoboVLMsPolicy(load_checkpoint(checkpoint, settings, vlm=vlm), words)
