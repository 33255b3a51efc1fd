"""f_wrapper_*: the whole policy from observations to robot commands, twice over the same ten observations."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import AutoTokenizer

from tests.golden_check import beside, tiny_vlm
from tests.golden_check.fixture import Fixture, GoldenMismatch
from tests.golden_check.models_whole import ATOL
from volition.compat import streaming
from volition.compat.actions import ActionScaling
from volition.compat.config import RoboVLMsConfig
from volition.compat.discrete import decode
from volition.compat.model import Inputs
from volition.compat.policy import RoboVLMsPolicy
from volition.compat.postprocess import CalvinOutput
from volition.records import Observation

ROUTINE = re.compile(r"f_wrapper_e2e_(?P<head>lstm|gpt|fc|discrete)(_(?P<history>post|pre))?(_n(?P<n>\d+))?\w*")
GOAL, SCALED, WINDOW = "lift the blue block up", (-0.65, 0.65), 8
SMALL = {"hidden_size": 32, "num_layers": 2}


def policy(fixture: Fixture) -> RoboVLMsPolicy:
    match = ROUTINE.fullmatch(fixture.name)
    assert match is not None
    stored = beside.document(fixture, "f_wrapper")["cases"].get(fixture.name)
    if stored:
        head, chunk, scaled = stored["act_head"], stored["n"], tuple(stored["norm"])
    else:
        head = {**SMALL, "type": tiny_vlm.HEAD_NAMES[match["head"]], "history_type": match["history"] or "post"}
        shape = fixture.shape("raw_arm_last") if fixture.has("raw_arm_last") else (0, 10)
        chunk, scaled = int(match["n"] or shape[1]), SCALED
    if match["head"] == "discrete":
        head = {**head, "action_space": "discrete", "n_bin": 32}
    config = RoboVLMsConfig(
        window_size=WINDOW,
        fwd_pred_next_n=chunk,
        image_size=28,
        use_hand_rgb=True,  # these were made with both cameras
        scaling=ActionScaling(normal=scaled),
        act_head=tiny_vlm.head_config(head),
    )
    return RoboVLMsPolicy(tiny_vlm.build(fixture, config), words(fixture))


def words(fixture: Fixture) -> Any:
    return AutoTokenizer.from_pretrained(beside.folder(fixture, "tiny_tokenizer"), local_files_only=True)


def observations(fixture: Fixture) -> list[Observation]:
    stored = beside.inputs_of(fixture, "f_wrapper_obs")
    times = sorted({int(key.split("/")[0][1:]) for key in stored.keys("")})
    return [
        Observation(
            images={name: stored.input(f"t{t}/{name}")[None] for name in ("static", "gripper")},
            state=stored.input(f"t{t}/robot_obs")[None],
            instruction=GOAL,
        )
        for t in times
    ]


@torch.no_grad()
def check_routine(fixture: Fixture) -> None:
    actor, seen = policy(fixture), observations(fixture)
    config = actor.model.config
    if actor.actions is not None:
        check_spoken(fixture, actor, seen)
        return
    oldest = CalvinOutput(scaling=config.scaling, frame=0)
    actions, last, grippers, first = [], [], [], []
    for _ in range(fixture.shape("actions")[0] // len(seen)):
        memories, states, frames = [streaming.start(actor.model)], actor.start(1), []
        for observation in seen:
            rows = actor.rows([observation])
            arm, gripper, memories = streaming.step(actor.model, rows, memories)
            last.append(arm[0])
            grippers.append(gripper[0])
            chunks, states = actor.act([observation], states)
            frames.append(pixels(actor, observation))
            whole = window(actor, frames[-WINDOW:], observation) if config.act_head.history_type == "pre" else None
            raw = (arm, gripper) if whole is None else whole
            first.append(raw[0][0])
            actions.append(oldest(raw[0].numpy(), raw[1].numpy(), observation.state[0]))
            compare_ours(chunks[0, 0], CalvinOutput(scaling=config.scaling), arm, gripper, observation)
    fixture.compare("actions", np.stack(actions), atol=ATOL)
    fixture.compare("raw_arm_last", torch.stack(last), atol=ATOL)
    fixture.compare("raw_grip_last", torch.stack(grippers), atol=ATOL)
    fixture.compare("raw_arm_first", torch.stack(first), atol=ATOL)


def compare_ours(
    action: np.ndarray, newest: CalvinOutput, arm: Tensor, gripper: Tensor, observation: Observation
) -> None:
    """Our policy acts on the newest frame, whatever the history."""
    wanted = newest(arm.numpy(), gripper.numpy(), observation.state[0])
    if not np.allclose(action, wanted, atol=1e-6):
        raise GoldenMismatch(f"our policy must act on the newest frame: {wanted}, acts {action}")


def pixels(actor: RoboVLMsPolicy, observation: Observation) -> list[Tensor]:
    return [actor.pixels([observation], camera) for camera in actor.cameras]


def window(actor: RoboVLMsPolicy, frames: list[list[Tensor]], observation: Observation) -> tuple[Tensor, Tensor]:
    """The reference's call with history 'pre': all frames of the window at once -> chunks of each, oldest first."""
    ids = actor.ids(observation.instruction)
    static, gripper_camera = (torch.cat(camera, dim=1) for camera in zip(*frames, strict=True))
    given = Inputs(static=static, gripper=gripper_camera, ids=ids, mask=torch.ones_like(ids))
    arm, gripper = actor.model(given)
    return arm[0], gripper[0]


@torch.no_grad()
def check_spoken(fixture: Fixture, actor: RoboVLMsPolicy, seen: list[Observation]) -> None:
    """The reference decodes one action, and takes any word of the vocabulary for a part of it."""
    config, tokens = actor.model.config, actor.actions
    assert tokens is not None
    output, actions = CalvinOutput(scaling=config.scaling), []
    for observation in seen[: fixture.shape("actions")[0]]:
        (row,) = actor.rows([observation])
        ids, _ = decode(actor.model, row, config.act_head.action_dim, None)
        action = tokens.decode(ids.numpy())
        action[:, -1] = np.where(action[:, -1] > 0, 1.0, -1.0)
        actions.append(output.discrete(action, observation.state[0]))
    fixture.compare("actions", np.stack(actions), atol=ATOL)


def check_prompt(fixture: Fixture) -> None:
    """Asked for one step more than is predicted; the tokenizer's end is cut off, the prompt's own stays."""
    head = tiny_vlm.head_config({**SMALL, "type": "DiscreteDecoder", "action_space": "discrete", "n_bin": 32})
    model, tokenizer = tiny_vlm.build(fixture, RoboVLMsConfig(act_head=head)), words(fixture)
    for key in fixture.keys(""):
        number = re.fullmatch(r"n(\d+)_(ids|mask)", key)
        assert number is not None
        model.config = replace(model.config, fwd_pred_next_n=int(number[1]))
        ids = RoboVLMsPolicy(model, tokenizer).ids(GOAL)
        fixture.compare(key, ids if number[2] == "ids" else torch.ones_like(ids, dtype=torch.bool))


def check_observations(fixture: Fixture) -> None:
    """Inputs of the other f_wrapper_* fixtures only."""
    for key in fixture.keys(""):
        fixture.note(key)


def check_settings(fixture: Fixture) -> None:
    """Settings, and the reference's way to count chains: the share that did at least i of five."""
    for i, row in enumerate(fixture.json("f_wrapper")["count_success"]):
        results = np.array(row["results"])
        rates = [float((results >= done).mean()) for done in range(1, 6)]
        fixture.compare_value("f_wrapper", ("count_success", i, "rates"), rates, atol=1e-9)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (ROUTINE, check_routine),
    (re.compile("f_wrapper_discrete_prompt"), check_prompt),
    (re.compile("f_wrapper_obs"), check_observations),
    (re.compile("f_wrapper"), check_settings),
]
