"""g_train6_*, g_trainable, g_trainer_loss and g_state_dict_keys: training steps, what is trained, and key names."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn import functional

from tests.golden_check import beside, tiny_vlm
from tests.golden_check.fixture import Fixture
from tests.golden_check.models_whole import tensor
from volition.compat.checkpoint import reference_key
from volition.compat.config import LossWeights, RoboVLMsConfig, TrainSetup
from volition.compat.freeze import add_lora, set_trainable
from volition.compat.losses import action_losses, mixed
from volition.compat.model import Inputs, RoboVLM
from volition.compat.schedules import Schedule

SMALL = {"hidden_size": 32, "num_layers": 2}
TRAIN6 = re.compile(r"g_train6_(?P<head>lstm|gpt|fc)(?P<hand>_hand)?\w*")
RATE, CLIP, DECAY, ENDS, WARMUP = 1e-3, 1.0, 0.1, 100.0, 2.0


def check_train6(fixture: Fixture) -> None:
    """Six steps of AdamW on one batch; what the name says: clipping at 1, weight decay, a cosine."""
    match = TRAIN6.fullmatch(fixture.name)
    assert match is not None
    words = fixture.name.split("_")
    hand = "hand" in words
    model = tiny_vlm.build(fixture, settings(match["head"], hand=hand))
    parameters = [p for p in model.parameters() if p.requires_grad]
    decay = DECAY if "wd" in words else 0.0
    optimizer = torch.optim.AdamW(parameters, lr=RATE, betas=(0.9, 0.999), eps=1e-8, weight_decay=decay)
    schedule = Schedule(kind="cosine", total=ENDS) if "cosine" in words else Schedule(warmup=WARMUP)
    clip = CLIP if any(word.startswith("clip") for word in words) else torch.inf
    given, labels = batch(fixture, hand=hand)
    seen: dict[str, list] = {key: [] for key in ("loss", "gn", "lr", "action_token", *PROBES)}
    for step in range(fixture.shape("loss")[0]):
        rate = RATE * schedule.scale(step)
        optimizer.param_groups[0]["lr"] = rate
        optimizer.zero_grad()
        loss = action_losses(*model(given), *labels).total(0.01)
        loss.backward()
        seen["gn"].append(nn.utils.clip_grad_norm_(parameters, clip).item())
        optimizer.step()
        seen["loss"].append(loss.item())
        seen["lr"].append(rate)
        assert model.action_token is not None
        seen["action_token"].append(model.action_token.detach().clone())
        named = {model.reference_name(name): value.detach() for name, value in model.named_parameters()}
        for key, name in PROBES.items():
            seen[key].append(named[name].flatten()[: fixture.shape(key)[1]].clone())
    for key, values in seen.items():
        computed = torch.stack(values) if isinstance(values[0], Tensor) else values
        relative = key in ("loss", "gn")
        fixture.compare(
            key, computed, atol=1e-9 if key == "lr" else 0.0 if relative else 1e-4, rtol=1e-4 if relative else 0
        )


# The first numbers of these are stored after every step.
PROBES = {
    "probe_text": "backbone.text_model.model.layers.0.ffn.fc1.weight",
    "probe_vis": "backbone.vision_model.model.encoder.layers.0.mlp.fc1.bias",
    "probe_head": "act_head.actions.mlp.6.bias",
}


def settings(head: str, *, hand: bool) -> RoboVLMsConfig:
    return RoboVLMsConfig(
        window_size=8,
        fwd_pred_next_n=10,
        use_hand_rgb=hand,
        act_head=tiny_vlm.head_config({**SMALL, "type": tiny_vlm.HEAD_NAMES[head]}),
    )


def batch(fixture: Fixture, *, hand: bool) -> tuple[Inputs, tuple[Tensor, Tensor, Tensor]]:
    """The batch of the d_post_* fixtures."""
    stored = beside.inputs_of(fixture, "d_post_lstm_hand")
    given = Inputs(
        static=tensor(stored.input("vision_x")),
        gripper=tensor(stored.input("vision_gripper")) if hand else None,
        ids=tensor(stored.input("lang_x")),
        mask=tensor(stored.input("attention_mask")),
    )
    arm, gripper, mask = (tensor(stored.input(key)) for key in ("label_arm", "label_gripper", "action_mask"))
    return given, (arm, gripper, mask.bool())


def check_trainable(fixture: Fixture) -> None:
    """Names of what is trained, for every setting."""
    for name, row in fixture.json("g_trainable").items():
        if "error" in row:
            continue  # LoRA as shipped needs a package that it does not name; here it needs none
        setup = TrainSetup(lora_r=4, **row["train_setup"])
        config = replace(settings("lstm", hand=False), use_vision_resampler=name.startswith("resampler"))
        with torch.device("meta"):
            model = RoboVLM(config, tiny_vlm.kosmos(fixture))
            if setup.lora_enable:
                as_the_reference_applies_lora(model, setup)
            else:
                set_trainable(model, setup)
        named = dict(model.named_parameters())
        trained = {model.reference_name(key): value for key, value in named.items() if value.requires_grad}
        order = [key for key in map(model.reference_name, named) if key in trained]
        fixture.compare_value("g_trainable", (name, "trainable"), order)
        fixture.compare_value("g_trainable", (name, "n_total"), len(named))
        fixture.compare_value("g_trainable", (name, "n_trainable"), len(trained))
        numel = sum(value.numel() for value in trained.values())
        fixture.compare_value("g_trainable", (name, "numel_trainable"), numel)
        head = model.backbone.get_output_embeddings().weight
        shared = head is model.backbone.get_input_embeddings().weight
        fixture.compare_value("g_trainable", (name, "lm_head_tied"), shared)
        fixture.compare_value("g_trainable", (name, "lm_head_requires_grad"), head.requires_grad)


def as_the_reference_applies_lora(model: RoboVLM, setup: TrainSetup) -> None:
    """After the flags of backbone and vision tower, which it so undoes; the words' flag comes after it."""
    set_trainable(model, replace(setup, lora_enable=False))
    add_lora(model, setup)
    model.backbone.get_input_embeddings().requires_grad_(setup.train_text_embedding)


def check_trainer_loss(fixture: Fixture) -> None:
    """How the parts are weighed: arm 0.3, gripper 0.9, a caption loss of 2 (the values that were mixed)."""
    weights = LossWeights()
    arm, gripper, caption = (torch.tensor(x) for x in (0.3, 0.9, 2.0))
    for key in ("loss", "loss_act"):
        fixture.compare(f"cont/{key}", mixed(weights, arm=arm, gripper=gripper), atol=1e-6)
        fixture.compare(f"discrete/{key}", mixed(weights, arm=arm, discrete=True), atol=1e-6)
    fixture.compare("vl_cont/loss", mixed(weights, caption=caption), atol=1e-6)
    fixture.compare("vl_discrete/loss", mixed(weights, caption=caption, discrete=True), atol=1e-6)
    logits, labels, mask = (tensor(fixture.input(f"vl_ce/{key}")) for key in ("logits", "labels", "mask"))
    fixture.compare("vl_ce/nomask", masked_cross_entropy(logits, labels), atol=1e-6)
    fixture.compare("vl_ce/masked", masked_cross_entropy(logits, labels, mask), atol=1e-6)


def masked_cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Of the next token; with a mask, the sum over what it lets through is divided by ALL positions."""
    logits, labels = logits[:, :-1].flatten(0, 1), labels[:, 1:].flatten()
    if mask is None:
        return functional.cross_entropy(logits, labels)
    return (functional.cross_entropy(logits, labels, reduction="none") * mask[:, 1:].flatten()).mean()


def check_keys(fixture: Fixture) -> None:
    for key in fixture.json("g_state_dict_keys"):
        fixture.compare_value("g_state_dict_keys", (key,), reference_key(key))


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (TRAIN6, check_train6),
    (re.compile("g_trainable"), check_trainable),
    (re.compile("g_trainer_loss"), check_trainer_loss),
    (re.compile("g_state_dict_keys"), check_keys),
]
