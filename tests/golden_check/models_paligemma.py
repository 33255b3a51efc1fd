"""p_paligemma*: the same whole model around a tiny PaliGemma."""

from __future__ import annotations

import re
from collections.abc import Callable

import torch

from tests.golden_check import beside, procedural, tiny_vlm
from tests.golden_check.fixture import Fixture, GoldenMismatch
from tests.golden_check.models_whole import inputs, tensor
from volition.compat import streaming
from volition.compat.config import RoboVLMsConfig
from volition.compat.losses import action_losses
from volition.compat.model import FIRST, RoboVLM

TRAINED = re.compile(r"p_paligemma_(?P<head>lstm|gpt|fc)\w*")
INFERENCE = re.compile(r"p_paligemma_infer(_(?P<head>lstm|gpt|fc))?\w*")
SMALL = {"hidden_size": 32, "num_layers": 2}
ATOL = 1e-4


def settings(fixture: Fixture, *, steps: int, chunk: int) -> RoboVLMsConfig:
    match = TRAINED.fullmatch(fixture.name)
    assert match is not None
    stored = beside.settings_of(fixture, "p_paligemma", "cases")
    history = "pre" if "pre" in fixture.name.split("_") else "post"
    latent = re.search(r"lat(?:ent)?(\d+)", fixture.name)
    by_name = {
        **SMALL,
        "type": tiny_vlm.HEAD_NAMES[match["head"]],
        "history_type": history,
        "latent": int(latent[1]) if latent else 1,
        "fill_zero": "fillzero" in fixture.name,
    }
    return RoboVLMsConfig(
        robovlm_name="RoboPaligemma",
        model="paligemma",
        window_size=steps,
        fwd_pred_next_n=chunk,
        use_hand_rgb=fixture.has("vision_gripper"),
        act_head=tiny_vlm.head_config(stored["act_head"] if stored else by_name),
    )


def check_trained(fixture: Fixture) -> None:
    config = settings(fixture, steps=fixture.shape("vision_x")[1], chunk=fixture.shape("label_arm")[-2])
    model, given = tiny_vlm.build(fixture, config), inputs(fixture)
    with torch.no_grad():
        rows = model.rows(given)
        features = model.images(given.static[:, :1])  # of the first frame
    fixture.compare("merged_embeds", rows.embeds, atol=ATOL)
    fixture.compare("merged_attention_mask", rows.mask)
    inserted = torch.zeros_like(rows.mask, dtype=torch.bool)
    if model.action_token is None:  # the reference then leaves the mask of what it put in last: an image
        inserted[:, FIRST : FIRST + features.shape[2]] = True
    else:
        inserted.scatter_(1, rows.positions, True)
    fixture.compare("action_token_mask", inserted)
    fixture.compare("image_features", features, atol=ATOL)
    tokens = model.tokens(given)
    assert model.act_head is not None
    arm, gripper = model.act_head(tokens)
    fixture.compare("action_hs", tokens.detach(), atol=ATOL)
    fixture.compare("pred_arm", arm.detach(), atol=ATOL)
    fixture.compare("pred_gripper", gripper.detach(), atol=ATOL)
    labels = [tensor(fixture.input(key)) for key in ("label_arm", "label_gripper", "action_mask")]
    losses = action_losses(arm, gripper, labels[0], labels[1], labels[2].bool())
    fixture.compare("loss/loss_arm_act", losses.arm.detach(), atol=ATOL)
    fixture.compare("loss/loss_gripper_act", losses.gripper.detach(), atol=ATOL)
    fixture.compare("loss/acc_gripper_act", losses.gripper_accuracy, atol=1e-6)
    fixture.compare("loss/loss", losses.total(1.0).detach(), atol=ATOL)
    losses.total(0.01).backward()
    if fixture.has("grad_action_token"):
        assert model.action_token is not None
        assert model.action_token.grad is not None
        fixture.compare("grad_action_token", model.action_token.grad, atol=ATOL)
    compare_case(fixture, model)


def compare_case(fixture: Fixture, model: RoboVLM) -> None:
    found = beside.row_of(fixture, "p_paligemma", "cases")
    if not found:
        return
    i, row = found
    named = [(model.reference_name(name), parameter) for name, parameter in model.named_parameters()]
    procedural.compare_gradients(fixture, "p_paligemma", ("cases", i, "grad_norm_sum"), named)
    if sorted(row["trainable"]) != sorted(name for name, parameter in named if parameter.requires_grad):
        raise GoldenMismatch("other parameters are trained")


@torch.no_grad()
def check_inference(fixture: Fixture) -> None:
    """Ten calls with one frame each: those of the first sample of the trained fixture, over and over."""
    match = INFERENCE.fullmatch(fixture.name)
    assert match is not None
    stored = beside.inputs_of(fixture, f"p_paligemma_{match['head'] or 'lstm'}_hand")
    frames = [tensor(stored.input(key))[:1] for key in ("vision_x", "vision_gripper")]
    config = settings(stored, steps=frames[0].shape[1], chunk=fixture.shape("arm")[-2])
    model = tiny_vlm.build(fixture, config)
    ids, mask = (tensor(fixture.input(key)) for key in ("lang_x", "attention_mask"))
    memories, arms, grippers = [streaming.start(model)], [], []
    for t in range(fixture.shape("arm")[0]):
        place = t % config.window_size
        cameras = [model.images(x[:, place : place + 1]).flatten(0, 1) for x in frames]
        arm, gripper, memories = streaming.step(model, [model.row(ids, mask, cameras)], memories)
        arms.append(arm[:, None])
        grippers.append(gripper[:, None])
    fixture.compare("arm", torch.stack(arms), atol=ATOL)
    fixture.compare("gripper", torch.stack(grippers), atol=ATOL)


def check_table(fixture: Fixture) -> None:
    """The parameters of every case under the reference's names, and the texts of the two sentences."""
    for i, row in enumerate(fixture.json("p_paligemma")["cases"]):
        chunk = re.search(r"_n(\d+)", row["name"])
        config = RoboVLMsConfig(
            robovlm_name="RoboPaligemma",
            window_size=1 if "onestep" in row["name"] else 8,
            fwd_pred_next_n=int(chunk[1]) if chunk else 10,
            act_head=tiny_vlm.head_config(row["act_head"]),
        )
        model = tiny_vlm.build(fixture, config)
        named = [(model.reference_name(name), parameter) for name, parameter in model.named_parameters()]
        procedural.compare_table(fixture, "p_paligemma", ("cases", i, "params"), named)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (TRAINED, check_trained),
    (INFERENCE, check_inference),
    (re.compile("p_paligemma"), check_table),
]
