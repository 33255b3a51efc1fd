"""c_discrete_loss and d_discrete_*: actions as words of the model."""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from tests.golden_check import procedural, tiny_vlm
from tests.golden_check.fixture import Fixture, GoldenMismatch
from tests.golden_check.models_whole import ATOL, DISCRETE, case, stored_settings, tensor
from volition.action_tokens import ActionTokenizer
from volition.compat.config import RoboVLMsConfig
from volition.compat.discrete import NO_LABEL, DiscreteLosses, decode, discrete_losses, labelled_rows, window_losses
from volition.compat.model import Inputs, RoboVLM

TOKENIZER = (283, 4)  # words and special tokens of tiny_tokenizer


def check_loss(fixture: Fixture) -> None:
    """The shifted cross entropy of given logits."""
    tokens = ActionTokenizer(base=int(fixture.input("end")), bins=int(fixture.input("n_bin")))
    fixture.compare("begin", tokens.begin)
    logits, labels = tensor(fixture.input("logits")).requires_grad_(), tensor(fixture.input("labels"))
    if logits.shape[-1] != int(fixture.input("vocab_size")):
        raise GoldenMismatch("vocab_size must be the last axis of the logits")
    following = labels[:, 1:]
    asked = following != NO_LABEL
    losses = discrete_losses(logits[:, :-1][asked], following[asked], tokens, 7)
    losses.total.backward()
    assert logits.grad is not None
    fixture.compare("loss_arm", losses.total.detach(), atol=ATOL)
    fixture.compare("grad_norm", logits.grad.norm(), atol=ATOL)
    fixture.compare("grad_sum_abs", logits.grad.abs().sum(), atol=ATOL)
    fixture.compare("action_l1", losses.action_l1, atol=1e-6)
    fixture.compare("acc_arm", losses.arm_accuracy, atol=1e-6)
    fixture.compare("acc_gripper", losses.gripper_accuracy, atol=1e-6)
    encoded = tokens.encode(fixture.input("actions")).reshape(len(labels), -1)
    for row, ids in zip(labels.numpy(), encoded, strict=True):
        actions = row[(row > tokens.begin) & (row < tokens.end)]  # steps outside the episode have no label
        if not np.array_equal(ids[: len(actions)], actions):
            raise GoldenMismatch("the labels must be the actions' ids")


def settings(fixture: Fixture) -> tuple[RoboVLMsConfig, ActionTokenizer]:
    match = DISCRETE.fullmatch(fixture.name)
    assert match is not None
    head = {"type": "DiscreteDecoder", "action_space": "discrete", "history_type": "pre", "n_bin": 32}
    stored = stored_settings(fixture)
    if stored:
        head = stored["config"]
    config = RoboVLMsConfig(
        window_size=int(match["w"]),
        fwd_pred_next_n=int(match["n"]),
        use_hand_rgb=fixture.has("vision_gripper"),
        act_head=tiny_vlm.head_config(head),
    )
    head_config = config.act_head
    tokens = ActionTokenizer.at_end_of(
        *TOKENIZER, bins=head_config.n_bin, low=head_config.min_action, high=head_config.max_action
    )
    return config, tokens


def check_whole(fixture: Fixture) -> None:
    config, tokens = settings(fixture)
    model = tiny_vlm.build(fixture, config)
    ids, labels, mask = (tensor(fixture.input(f"instr_and_action_{key}")) for key in ("ids", "labels", "mask"))
    static = tensor(fixture.input("vision_x"))
    gripper = tensor(fixture.input("vision_gripper")) if fixture.has("vision_gripper") else None
    mask = mask.long()
    given = Inputs(static=static, gripper=gripper, ids=ids.flatten(0, 1), mask=mask.flatten(0, 1))
    compare_stages(fixture, model, given, labels)
    steps = labels.shape[1]
    losses = window_losses(model, given, labels, tokens)
    losses.total.backward()
    compare_losses(fixture, "loss", losses)
    found = case(fixture)
    if found:
        named = [(model.reference_name(name), parameter) for name, parameter in model.named_parameters()]
        procedural.compare_gradients(fixture, found[0], ("cases", found[1], "grad_norm_sum"), named)
    if fixture.keys("loss_2d_ids/"):  # one text for the whole window is repeated over it
        ids, labels, mask = (x[:, :1].expand(-1, steps, -1) for x in (ids, labels, mask))
        same = Inputs(static=static, gripper=gripper, ids=ids.flatten(0, 1), mask=mask.flatten(0, 1))
        compare_losses(fixture, "loss_2d_ids", window_losses(model, same, labels, tokens))
    compare_decoding(fixture, model, given, tokens)


def compare_losses(fixture: Fixture, group: str, losses: DiscreteLosses) -> None:
    fixture.compare(f"{group}/loss_arm_act", losses.total.detach(), atol=ATOL)
    fixture.compare(f"{group}/loss", losses.total.detach(), atol=ATOL)
    fixture.compare(f"{group}/action_l1_act", losses.action_l1, atol=1e-5)
    fixture.compare(f"{group}/acc_arm_act", losses.arm_accuracy, atol=1e-6)
    fixture.compare(f"{group}/acc_gripper_act", losses.gripper_accuracy, atol=1e-6)


@torch.no_grad()
def compare_stages(fixture: Fixture, model: RoboVLM, given: Inputs, labels: Tensor) -> None:
    rows, targets = labelled_rows(model, given, labels)
    batch, steps = labels.shape[:2]
    apart = (batch * steps, -1)
    fixture.compare("merged_embeds", rows.embeds.reshape(*apart, rows.embeds.shape[-1]), atol=ATOL)
    fixture.compare("merged_labels", targets.reshape(apart))
    fixture.compare("merged_mask", rows.mask.reshape(apart))
    fixture.compare("lm_attention_mask", rows.mask)
    hidden = model.family.hidden(model.backbone, rows.embeds, rows.mask)
    fixture.compare("logits", model.family.logits(model.backbone, hidden), atol=ATOL)


@torch.no_grad()
def compare_decoding(fixture: Fixture, model: RoboVLM, given: Inputs, tokens: ActionTokenizer) -> None:
    """The reference puts the images of all frames in front of one prompt and takes whatever token is likeliest."""
    prompt = tensor(fixture.input("pred_prompt"))
    cameras = [model.images(x[:1]).flatten(1, 2) for x in (given.static, given.gripper) if x is not None]
    rows = model.row(prompt, torch.ones_like(prompt), cameras)
    ids, logits = decode(model, rows, model.config.act_head.action_dim, None)
    fixture.compare("pred_ids", ids[0])
    fixture.compare("pred_step_logits", logits[0], atol=ATOL)
    action = tokens.decode(ids.numpy())
    action[:, -1] = np.where(action[:, -1] > 0, 1.0, -1.0)
    fixture.compare("pred_action", action, atol=1e-6)


def check_extra(fixture: Fixture) -> None:
    """Where action tokens begin and end, and which cases there are."""
    for i, row in enumerate(fixture.json("d_extra")["cases"]):
        path = ("cases", i)
        if DISCRETE.fullmatch(row["name"]):
            match = DISCRETE.fullmatch(row["name"])
            assert match is not None
            _, tokens = settings(Fixture(fixture.folder, row["name"]))
            fixture.compare_value("d_extra", (*path, "action_begin"), tokens.begin)
            fixture.compare_value("d_extra", (*path, "action_end"), tokens.end)
            fixture.compare_value("d_extra", (*path, "window"), int(match["w"]))
            fixture.compare_value("d_extra", (*path, "n"), int(match["n"]))
        elif "param_names" in row:
            config = tiny_vlm.case_config(row)
            fixture.compare_value("d_extra", (*path, "param_names"), tiny_vlm.parameter_names(fixture, config))


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (re.compile("c_discrete_loss"), check_loss),
    (DISCRETE, check_whole),
    (re.compile("d_extra"), check_extra),
]
