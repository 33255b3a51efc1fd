"""c_*: the heads alone, step by step, and the losses."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.golden_check import beside, procedural
from tests.golden_check.fixture import Fixture, GoldenMismatch
from volition.compat.config import ActHeadConfig
from volition.compat.heads import ActHead, LSTMHead, make_head
from volition.compat.losses import action_losses

ATOL = 1e-5
WIDTH = 48
NAME = re.compile(
    r"c_(?P<cls>FCDecoder|LSTMDecoder|GPTDecoder)(_(?P<dims>[23])d)?_n(?P<n>\d+)"
    r"(_lat(?P<latent>\d+)_(?P<down_sample>none|pooling))?(?P<rest>\w*)"
)
STEPWISE = re.compile(r"c_(?P<cls>FC|LSTM|GPT)_stepwise_n(?P<n>\d+)(_lat(?P<latent>\d+))?(?P<rest>\w*)")


def tensor(array: np.ndarray) -> Tensor:
    return torch.from_numpy(array)


def settings(fixture: Fixture) -> dict[str, Any]:
    """What c_heads.json says of a head, beside the shapes and values that are compared."""
    return beside.settings_of(fixture, "c_heads", "heads") or {}


def build(fixture: Fixture, cls: str, *, n: int, latent: int, down_sample: str, window: int, layers: int) -> ActHead:
    """The head; its width as listed, or else as the name implies."""
    row = settings(fixture)
    usual = WIDTH if cls == "GPTDecoder" and not fixture.name.endswith("_fc") else 32
    listed = sum(parameter["name"].startswith("act_head.rnn.weight_ih_l") for parameter in row.get("params", ()))
    config = ActHeadConfig(
        type=cls,  # type: ignore[arg-type]
        hidden_size=row.get("hidden_size", usual),
        latent=latent,
        down_sample=down_sample,  # type: ignore[arg-type]
        num_layers=listed or layers,
    )
    head = make_head(config, WIDTH, chunk=n, window=window).eval()
    procedural.fill(head, lambda name: f"act_head.{name}")
    return head


def check_head(fixture: Fixture) -> None:
    match = NAME.fullmatch(fixture.name)
    assert match is not None
    shape = fixture.shape("tok_seq")
    head = build(
        fixture,
        match["cls"],
        n=int(match["n"]),
        latent=int(match["latent"] or (shape[1] if len(shape) == 3 else 1)),
        down_sample=match["down_sample"] or "none",
        window=shape[1] if len(shape) == 4 else 8,
        layers=4 if "default4layers" in match["rest"] else 2,
    )
    tokens = tensor(fixture.input("tok_seq"))
    if len(shape) < 4:  # the FC head of the reference leaves out the axes that it is not given
        arm, gripper = head(tokens.reshape(shape[0], 1, -1, shape[-1]))
        flat = len(shape) == 2
        fixture.compare("arm", (arm.flatten(1) if flat else arm[:, 0]).detach(), atol=ATOL)
        fixture.compare("gripper", (gripper.flatten(1) if flat else gripper[:, 0]).detach(), atol=ATOL)
        return
    tokens.requires_grad_()
    arm, gripper = head(tokens)
    fixture.compare("arm", arm.detach(), atol=ATOL)
    fixture.compare("gripper", gripper.detach(), atol=ATOL)
    mask = tensor(fixture.input("action_mask")).bool()
    labels = tensor(fixture.input("label_arm")), tensor(fixture.input("label_gripper"))
    for name, valid in (("mask", mask), ("nomask", None)):
        head.zero_grad()
        tokens.grad = None
        losses = action_losses(*head(tokens), *labels, valid)
        losses.total(0.01).backward()
        fixture.compare(f"{name}/loss_arm", losses.arm.detach(), atol=ATOL)
        fixture.compare(f"{name}/loss_gripper", losses.gripper.detach(), atol=ATOL)
        fixture.compare(f"{name}/acc_gripper", losses.gripper_accuracy, atol=1e-6)
        fixture.compare(f"{name}/total_w0p01", losses.total(0.01).detach(), atol=ATOL)
        assert tokens.grad is not None
        fixture.compare(f"{name}/grad_tok", tokens.grad, atol=ATOL)
        parameters = dict(head.named_parameters())
        for key in fixture.keys(f"{name}/grad_full/"):
            gradient = parameters[key.removeprefix(f"{name}/grad_full/")].grad
            assert gradient is not None
            fixture.compare(key, gradient, atol=ATOL)
        found = beside.row_of(fixture, "c_heads", "heads")
        if found:
            path = ("heads", found[0], f"grad_norm_sum_{name}")
            procedural.compare_gradients(fixture, "c_heads", path, head.named_parameters())


@torch.no_grad()
def check_stepwise(fixture: Fixture) -> None:
    """Twelve steps, a reset, the same again: our state is a value, so that a reset is to start from another one."""
    match = STEPWISE.fullmatch(fixture.name)
    assert match is not None
    tokens = tensor(fixture.input("tok"))
    window = fixture.shape("window_arm")[1]
    cls, latent = f"{match['cls']}Decoder", int(match["latent"] or 1)
    layers = fixture.shape("hidden_state_after(0=none)")[2] if cls == "LSTMDecoder" else 2
    head = build(fixture, cls, n=int(match["n"]), latent=latent, down_sample="none", window=window, layers=layers)
    features = head.features(tokens)
    rounds = fixture.shape("arm")[0] // tokens.shape[1]
    arms, grippers, lengths, carried = [], [], [], []
    for _ in range(rounds):
        states = [head.start() for _ in tokens]
        for t in range(tokens.shape[1]):
            arm, gripper, states = head.step(features[:, t], states)
            arms.append(arm[:, None])
            grippers.append(gripper[:, None])
            lengths.append(len(states[0]))
            if isinstance(head, LSTMHead):
                carried.append(recurrent_state(head, torch.stack(states), first=t < window))
    fixture.compare("arm", torch.stack(arms), atol=ATOL)
    fixture.compare("gripper", torch.stack(grippers), atol=ATOL)
    if fixture.has("history_len"):  # a head without a memory has none
        fixture.compare("history_len", lengths)
    whole = head(tokens[:, :window])
    fixture.compare("window_arm", whole[0], atol=ATOL)
    fixture.compare("window_gripper", whole[1], atol=ATOL)
    if isinstance(head, LSTMHead):
        fixture.compare("hidden_state_after(0=none)", torch.stack(carried), atol=ATOL)
        # The reference keeps its state between calls: a step after a whole window goes on from the window's end.
        # Ours cannot: that state is no part of any robot's. So the leak is done by hand here.
        _, leaked = head.rnn(features[:, :window])
        arm, gripper = head.outputs(head.rnn(features[:, window : window + 1], leaked)[0])
        fixture.compare("step_after_window_no_reset_arm", arm, atol=ATOL)
        fixture.compare("step_after_window_no_reset_gripper", gripper, atol=ATOL)


def recurrent_state(head: LSTMHead, history: Tensor, *, first: bool) -> Tensor:
    """(h, c) after the robot's window; the reference drops it (zeros) once the window is full and slides."""
    state = torch.stack(head.rnn(history)[1])
    return state if first else torch.zeros_like(state)


def check_loss_variants(fixture: Fixture) -> None:
    """One loss over every form of input that the reference takes."""
    arm, gripper = tensor(fixture.input("pred_arm")), tensor(fixture.input("pred_gripper"))
    labels = tensor(fixture.input("label_arm")), tensor(fixture.input("label_gripper"))
    mask = tensor(fixture.input("mask")).bool()
    joined = torch.cat([arm, gripper], dim=-1)
    forms = {"tuple": (arm, gripper), "tuple_grip3d": (arm, gripper), "cat": (joined[..., :-1], joined[..., -1:])}
    masks = {"mask": mask, "nomask": None}
    for key in sorted({key.split("/")[0] for key in fixture.keys("") if "/" in key}):
        form, _, which = key.rpartition("_")
        if key == "allzero_mask":
            compare_empty_mean(fixture, key, arm, gripper, *labels)
            continue
        losses = action_losses(*forms[form], *labels, masks[which])
        fixture.compare(f"{key}/loss_arm", losses.arm, atol=1e-6)
        fixture.compare(f"{key}/loss_gripper", losses.gripper, atol=1e-6)
        fixture.compare(f"{key}/acc_gripper", losses.gripper_accuracy, atol=1e-6)
    # No labels: the reference returns {"loss": None}; here there is no call without labels.
    fixture.compare("none_labels_is_dict_loss_None", np.array(True))


def compare_empty_mean(fixture: Fixture, key: str, *tensors: Tensor) -> None:
    """A mean over nothing: NaN in the reference, 0 here."""
    losses = action_losses(*tensors, torch.zeros(fixture.shape("mask"), dtype=torch.bool))
    if losses.total() != 0:
        raise GoldenMismatch(f"our mean over nothing must be 0, is {losses.total()}")
    for name in ("loss_arm", "loss_gripper", "acc_gripper"):
        fixture.compare(f"{key}/{name}", float("nan"))


def check_table(fixture: Fixture) -> None:
    """c_heads.json: the parameters of every head under the reference's names, whether its arrays are here or not."""
    for i, row in enumerate(fixture.json("c_heads")["heads"]):
        single = Fixture(fixture.folder, row["name"])
        latent, n = (row.get(key) or number_in(row["name"], key) for key in ("latent", "n"))
        head = build(
            single, row["cls"], n=n, latent=latent, down_sample=row.get("down_sample", "none"), window=8, layers=2
        )
        named = [(f"act_head.{name}", parameter) for name, parameter in head.named_parameters()]
        procedural.compare_table(fixture, "c_heads", ("heads", i, "params"), named)


def number_in(name: str, setting: str) -> int:
    """`latent` or `n`; one latent token where none is named."""
    match = re.search(r"_lat(\d+)" if setting == "latent" else r"_n(\d+)", name)
    return int(match[1]) if match else 1


CHECKS: list[tuple[re.Pattern[str], Callable[[Fixture], None]]] = [
    (NAME, check_head),
    (STEPWISE, check_stepwise),
    (re.compile("c_loss_variants"), check_loss_variants),
    (re.compile("c_heads"), check_table),
]
