"""d_*: the whole tiny Kosmos-2, its row layouts, losses, gradients and streaming."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import torch
from torch import Tensor

from tests.golden_check import beside, procedural, tiny_vlm
from tests.golden_check.fixture import Fixture
from volition.backbones.resampler import PerceiverResampler
from volition.compat import streaming
from volition.compat.config import RoboVLMsConfig
from volition.compat.losses import ActionLosses, action_losses
from volition.compat.model import FIRST, LAST, Inputs, RoboVLM, insert

HEADS = "lstm|gpt|fc"
TRAINED = re.compile(
    rf"d_((?P<history>post|pre|onestep|video)_(?P<head>{HEADS})\w*|downsample_(?P<source>all|text|vision)"
    rf"_(?P<down_head>{HEADS})_(?P<pool>pool|none)\w*|vision_resampler(_(?P<resampled_head>{HEADS}))?\w*)"
)
SMALL_LSTM = {"hidden_size": 32, "num_layers": 2}
INFERENCE = re.compile(rf"d_infer_((?P<history>pre)_)?(?P<head>{HEADS})\w*")
DISCRETE = re.compile(r"d_discrete_w(?P<w>\d+)_n(?P<n>\d+)\w*")
ATOL = 2e-5


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


def case(fixture: Fixture) -> tuple[str, int, dict] | None:
    """(document, place, row) of this fixture's results, where they lie beside it."""
    for document in ("d_e2e", "d_extra"):
        found = beside.row_of(fixture, document, "cases")
        if found:
            return document, *found
    return None


def stored_settings(fixture: Fixture) -> dict | None:
    rows = (beside.settings_of(fixture, document, "cases") for document in ("d_e2e", "d_extra"))
    return next((row for row in rows if row), None)


def settings(fixture: Fixture) -> RoboVLMsConfig:
    """From the stored settings, or else from the fixture's name and shapes."""
    stored = stored_settings(fixture)
    if stored:
        return tiny_vlm.case_config(stored)
    steps = fixture.shape("vision_x")[1]
    if INFERENCE.fullmatch(fixture.name):
        steps = 1 if "onestep" in fixture.name else 8
    return RoboVLMsConfig(
        window_size=steps,
        fwd_pred_next_n=fixture.shape("label_arm" if fixture.has("label_arm") else "arm_last")[-2],
        use_hand_rgb=fixture.has("vision_gripper"),
        use_vision_resampler="resampler" in fixture.name,
        act_head=tiny_vlm.head_config(head_from_name(fixture.name)),
    )


def head_from_name(name: str) -> dict:
    """What a name says; the sizes are those of every tiny model (INDEX.md)."""
    match = TRAINED.fullmatch(name) or INFERENCE.fullmatch(name)
    assert match is not None
    groups = match.groupdict()
    latent = re.search(r"lat(?:ent)?(\d+)", name)
    head: dict = {"hidden_size": 32, "num_layers": 2, "latent": int(latent[1]) if latent else 1}
    named = next((groups[key] for key in ("head", "down_head", "resampled_head") if groups.get(key)), "lstm")
    head["type"] = tiny_vlm.HEAD_NAMES[named]
    head["fill_zero"] = "fillzero" in name
    if groups.get("source"):
        head |= {"action_space": "down_sample", "down_sample": "pooling", "token_source": groups["source"]}
        head["latent"] = 1 if groups["pool"] == "pool" else 4
    history = groups.get("history")
    head["history_type"] = history if history in ("pre", "video") else "post"
    return head


def inputs(fixture: Fixture) -> Inputs:
    return Inputs(
        static=tensor(fixture.input("vision_x")),
        gripper=tensor(fixture.input("vision_gripper")) if fixture.has("vision_gripper") else None,
        ids=tensor(fixture.input("lang_x")),
        mask=tensor(fixture.input("attention_mask")),
    )


def check_trained(fixture: Fixture) -> None:
    """One training step: every stage of the forward pass, the losses, and the gradient of every parameter."""
    config = settings(fixture)
    model, given = tiny_vlm.build(fixture, config), inputs(fixture)
    compare_stages(fixture, model, given)
    tokens = model.tokens(given)
    video = config.act_head.history_type == "video"  # no time axis in the reference
    fixture.compare("action_hs", (tokens[:, 0] if video else tokens).detach(), atol=ATOL)
    assert model.act_head is not None
    arm, gripper = model.act_head(tokens)
    fixture.compare("pred_arm", (arm[:, 0] if video else arm).detach(), atol=ATOL)
    fixture.compare("pred_gripper", (gripper[:, 0] if video else gripper).detach(), atol=ATOL)
    labels = [tensor(fixture.input(key)) for key in ("label_arm", "label_gripper", "action_mask")]
    label_arm, label_gripper, mask = (x[:, None] if video else x for x in labels)
    losses = action_losses(arm, gripper, label_arm, label_gripper, mask.bool())
    compare_losses(fixture, losses)
    total = losses.total(config.weights.arm_gripper_loss_ratio)
    total.backward()
    if fixture.has("total_w0p01"):
        fixture.compare("total_w0p01", total.detach(), atol=ATOL)
    if fixture.has("grad_action_token"):
        assert model.action_token is not None
        assert model.action_token.grad is not None
        fixture.compare("grad_action_token", model.action_token.grad, atol=ATOL)
    compare_case(fixture, model)


def compare_losses(fixture: Fixture, losses: ActionLosses) -> None:
    values = {
        "loss_arm_act": losses.arm,
        "loss_gripper_act": losses.gripper,
        "acc_gripper_act": losses.gripper_accuracy,
        "loss": losses.total(1.0),  # the reference's own sum has no weights
    }
    for name, value in values.items():
        fixture.compare(f"loss/{name}", value.detach(), atol=ATOL)
        found = case(fixture)
        if found and "loss_keys" in found[2]:
            fixture.compare_value(found[0], ("cases", found[1], "loss_keys", name), value.item(), atol=ATOL)


def compare_case(fixture: Fixture, model: RoboVLM) -> None:
    """Names of all parameters, and the gradient of each."""
    found = case(fixture)
    if not found:
        return
    document, i, _ = found
    named = [(model.reference_name(name), parameter) for name, parameter in model.named_parameters()]
    procedural.compare_gradients(fixture, document, ("cases", i, "grad_norm_sum"), named)
    silent = [name for name, parameter in named if parameter.grad is None]
    fixture.compare_value(document, ("cases", i, "params_without_grad"), silent)


@torch.no_grad()
def compare_stages(fixture: Fixture, model: RoboVLM, given: Inputs) -> None:
    """What goes into the language model, and what comes out of it."""
    config = model.config
    rows = model.rows(given)
    steps = given.static.shape[1]
    lm = rows.joined(steps) if config.act_head.history_type == "pre" else rows
    fixture.compare("merged_embeds", rows.embeds, atol=ATOL)
    if fixture.has("merged_attention_mask"):
        fixture.compare("merged_attention_mask", rows.mask)
    features = model.images(given.static)
    cameras = 1 if given.gripper is None else 2
    if fixture.has("action_token_mask"):
        inserted = torch.zeros_like(rows.mask, dtype=torch.bool)
        if model.action_token is None:  # the reference then leaves the mask of what it put in last: an image
            inserted[:, FIRST : FIRST + features.shape[2]] = True
        else:
            inserted.scatter_(1, rows.positions, True)
        fixture.compare("action_token_mask", inserted)
    if fixture.has("merge_insert_idx"):
        length = rows.mask.shape[1] - LAST - config.act_head.latent
        fixture.compare("merge_insert_idx", [FIRST] * cameras + ([] if model.action_token is None else [length]))
    if fixture.has("image_features_static"):
        fixture.compare("image_features_static", features.flatten(0, 1), atol=ATOL)
    if fixture.has("lm_attention_mask"):
        fixture.compare("lm_attention_mask", lm.mask)
    if fixture.has("lm_last_hidden"):
        hidden = model.family.hidden(model.backbone, lm.embeds, lm.mask)
        fixture.compare("lm_last_hidden", hidden, atol=ATOL)


@torch.no_grad()
def check_inference(fixture: Fixture) -> None:
    """One frame a call; what is stored is the newest frame's chunk."""
    config = settings(fixture)
    model, given = tiny_vlm.build(fixture, config), inputs(fixture)
    memories = [streaming.start(model) for _ in given.static]
    arms, grippers = [], []
    for t in range(given.static.shape[1]):
        now = frame(given, slice(t, t + 1))
        cameras = [model.images(x).flatten(0, 1) for x in (now.static, now.gripper) if x is not None]
        rows = [
            model.row(now.ids[i : i + 1], now.mask[i : i + 1], [x[i : i + 1] for x in cameras])
            for i in range(len(now.ids))
        ]
        arm, gripper, memories = streaming.step(model, rows, memories)
        arms.append(arm)
        grippers.append(gripper)
    fixture.compare("arm_last", torch.stack(arms), atol=ATOL)
    fixture.compare("gripper_last", torch.stack(grippers), atol=ATOL)
    if fixture.has("full_window_arm"):
        steps = fixture.shape("full_window_arm")[1]
        arm, gripper = model(frame(given, slice(0, steps)))
        fixture.compare("full_window_arm", arm, atol=ATOL)
        fixture.compare("full_window_gripper", gripper, atol=ATOL)
    compare_shapes(fixture)


def frame(given: Inputs, steps: slice) -> Inputs:
    gripper = None if given.gripper is None else given.gripper[:, steps]
    return replace(given, static=given.static[:, steps], gripper=gripper)


def compare_shapes(fixture: Fixture) -> None:
    """The reference's raw predictions: the whole window with history 'pre', the newest frame otherwise."""
    found = case(fixture)
    if not found or "raw_arm_shapes" not in found[2]:
        return
    document, i, row = found
    config = row["config"]
    steps, batch, chunk, arm = fixture.shape("arm_last")
    for t in range(steps):
        seen = min(t + 1, config["window_size"]) if config["act_head"]["history_type"] == "pre" else 1
        fixture.compare_value(document, ("cases", i, "raw_arm_shapes", t), [batch, seen, chunk, arm])


@torch.no_grad()
def check_merge(fixture: Fixture) -> None:
    """Putting features into a row of embeddings, labels and mask; what is put in has no label."""
    model = tiny_vlm.build(fixture, RoboVLMsConfig(act_head=tiny_vlm.head_config(SMALL_LSTM)))
    embeds, labels, mask = (tensor(fixture.input(key)) for key in ("input_embeds", "labels", "attention_mask"))
    plain = tensor(fixture.input("feats"))
    pixels = tensor(fixture.input("image/pixels"))
    encoded = model.images(pixels)
    fixture.compare("image/encode_images", encoded, atol=ATOL)
    places = {"idx1": 1, "idx5": 5, "idx0": 0, "fill_zero": 2, "bool_mask": 1, "image": 1}
    for name, index in places.items():
        features = encoded.flatten(1, 2) if name == "image" else plain
        size = features.shape[:2]
        ones = mask.new_full(size, 0 if name == "fill_zero" else 1)
        fixture.compare(f"{name}/embeds", insert(embeds, features, index), atol=1e-6)
        fixture.compare(f"{name}/labels", insert(labels, labels.new_full(size, -100), index))
        fixture.compare(f"{name}/mask", insert(mask, ones, index))
        fixture.compare(f"{name}/insert", insert(torch.zeros_like(mask), mask.new_ones(size), index).bool())
    check_last_by_mask(fixture, embeds, labels, mask, plain)


def check_last_by_mask(fixture: Fixture, embeds: Tensor, labels: Tensor, mask: Tensor, features: Tensor) -> None:
    """Index -1 of the reference: embeddings before the last column, labels and mask where the padding begins."""
    size = features.shape[:2]
    fixture.compare("last_by_mask/embeds", insert(embeds, features, -1), atol=1e-6)
    fixture.compare("last_by_mask/insert", insert(torch.zeros_like(mask), mask.new_ones(size), -1).bool())
    ends = mask.sum(1).tolist()
    for name, values, new in (("labels", labels, -100), ("mask", mask, 1)):
        rows = [insert(x[None], x.new_full((1, size[1]), new), end) for x, end in zip(values, ends, strict=True)]
        fixture.compare(f"last_by_mask/{name}", torch.cat(rows))


@torch.no_grad()
def check_resampler(fixture: Fixture) -> None:
    ctor = fixture.json("d_resampler_alone")["ctor"]
    resampler = PerceiverResampler(**ctor).eval()
    procedural.fill(resampler, lambda name: f"vision_resampler.{name}")
    named = [(f"vision_resampler.{name}", parameter) for name, parameter in resampler.named_parameters()]
    procedural.compare_table(fixture, "d_resampler_alone", ("params",), named)
    x = tensor(fixture.input("x"))  # the reference has an axis of media frames, always 1
    fixture.compare("y", resampler(x[:, :, 0].flatten(0, 1)).unflatten(0, x.shape[:2]), atol=ATOL)


def check_backbone_file(fixture: Fixture) -> None:
    """The stored weights of a whole backbone are the rule's, under the names of today's `transformers`."""
    model = tiny_vlm.build(fixture, RoboVLMsConfig(act_head=tiny_vlm.head_config(SMALL_LSTM)))
    for name, parameter in model.named_parameters():
        if not name.startswith("act_head."):
            fixture.compare(name, parameter.detach())


def check_params(fixture: Fixture) -> None:
    model = tiny_vlm.build(fixture, RoboVLMsConfig(act_head=tiny_vlm.head_config(SMALL_LSTM)))
    named = [(model.reference_name(name), parameter) for name, parameter in model.named_parameters()]
    procedural.compare_table(fixture, "d_params", ("table",), named)


def check_settings(fixture: Fixture) -> None:
    """The names of all parameters of every case, whether its arrays are here or not."""
    for i, row in enumerate(fixture.json("d_e2e")["cases"]):
        if "param_names" in row:
            names = tiny_vlm.parameter_names(fixture, tiny_vlm.case_config(row))
            fixture.compare_value("d_e2e", ("cases", i, "param_names"), names)


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (TRAINED, check_trained),
    (INFERENCE, check_inference),
    (re.compile("d_merge"), check_merge),
    (re.compile("d_resampler_alone"), check_resampler),
    (re.compile("d_tiny_kosmos_backbone"), check_backbone_file),
    (re.compile("d_params"), check_params),
    (re.compile("d_e2e"), check_settings),
]
