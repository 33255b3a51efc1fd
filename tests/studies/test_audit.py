"""`volition audit`: what it says is true, and a fault that is put in is found."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.test_cli import TINY, volition
from tests.tiny import SMALL
from tests.toy import SPEC
from volition.backbones import TinyPaliGemma
from volition.backbones.encoded import Encoded
from volition.config import DataConfig, Experiment
from volition.heads import MLPHeadConfig
from volition.studies.audit import NoiseEpisode, audit, module_of
from volition.studies.audit_command import summary
from volition.training.freeze import TrainableConfig
from volition.training.lora import LoRAConfig
from volition.training.optim import OptimConfig
from volition.training.train import LoopConfig

EXPERIMENT = Experiment(
    backbone=TinyPaliGemma(**SMALL),
    head=MLPHeadConfig(hidden=16),
    loop=LoopConfig(num_steps=4, batch_size=2, log_every=2, save_every=2),
)


def test_everything_is_reached_in_one_backward_pass() -> None:
    found = audit(EXPERIMENT)
    assert [row.part for row in found.parts] == ["vision", "projector", "embeddings", "backbone", "readouts", "head"]
    assert all(row.trained == row.parameters and row.reached for row in found.parts)
    assert not found.not_reached
    assert not found.changed
    for part in found.parts:
        rows = [row for row in found.modules if row.part == part.part]
        assert sum(row.parameters for row in rows) == part.parameters
        squares = sum((row.gradient_norm or 0.0) ** 2 for row in rows)
        assert part.gradient_norm == pytest.approx(squares**0.5)
    assert "noise in the shapes of a 7-DoF arm" in found.data


def test_its_numbers_are_those_of_the_step() -> None:
    """The norm over all parts is the one that training logs; Adam moves a weight by the learning rate."""
    loop = replace(EXPERIMENT.loop, optim=replace(EXPERIMENT.loop.optim, warmup_steps=0, schedule="constant"))
    found = audit(replace(EXPERIMENT, loop=loop))
    norms = torch.tensor([row.gradient_norm for row in found.parts])
    assert norms.norm().item() == pytest.approx(found.step["grad_norm"], rel=1e-4)
    (token,) = (row for row in found.parts if row.part == "readouts")
    assert token.relative_update == pytest.approx(1e-3 / 0.02, rel=0.3)  # of values drawn with deviation 0.02


def test_what_is_frozen_is_told_apart() -> None:
    lora = LoRAConfig(parts=("backbone",), rank=2)
    found = audit(replace(EXPERIMENT, train=TrainableConfig(vision=False, embeddings=False, lora=lora)))
    rows = {row.part: row for row in found.parts}
    assert rows["vision"].trained == rows["embeddings"].trained == 0
    assert rows["vision"].gradient_norm is None
    assert 0 < rows["backbone"].trained < 0.5 * rows["backbone"].parameters
    assert rows["backbone"].reached
    assert found.frozen_tensors > 20
    assert not found.changed
    lines = dict(line.split(maxsplit=1) for line in summary(found)[1:])
    assert lines["projector"] == "reached by the loss"
    assert lines["resampler"] == "none in this model"
    assert lines["vision"] == "tower        frozen"


def test_a_part_that_the_loss_does_not_reach_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = Encoded.readout.func
    cut = property(lambda encoded: whole(encoded).detach())
    monkeypatch.setattr(Encoded, "readout", cut)
    found = audit(EXPERIMENT)
    assert set(found.not_reached) == {"vision", "projector", "embeddings", "backbone", "readouts"}
    said = "\n".join(summary(found))
    assert "vision tower        NOT reached" in said
    assert "head                reached" in said
    assert "without gradient    backbone.model.model.vision_tower" in said


def test_a_frozen_weight_that_changes_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    class Leaky(torch.optim.AdamW):
        def step(self, closure: None = None) -> None:
            super().step(closure)
            policy.backbone.embedding.base.weight.data[0, 0] += 1e-6

    def make(chosen: nn.Module, config: OptimConfig) -> torch.optim.Optimizer:
        nonlocal policy
        policy = chosen
        return Leaky([{"params": [p for p in chosen.parameters() if p.requires_grad]}])

    policy: nn.Module
    monkeypatch.setattr("volition.training.train.make_optimizer", make)
    monkeypatch.setattr("volition.training.train.set_lr", lambda optimizer, scale: None)
    found = audit(replace(EXPERIMENT, train=TrainableConfig(embeddings=False)))
    assert all(
        name.endswith(("embed_tokens.base.weight", "embedding.base.weight", "lm_head.weight")) for name in found.changed
    )
    assert found.changed
    assert "CHANGED: backbone.model" in summary(found)[-1]


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("backbone.model.text.layers.3.mlp.up.weight", "backbone.model.text.layers.3"),
        ("backbone.model.norm.weight", "backbone.model.norm"),
        ("head.lstm.weight_ih_l0", "head.lstm"),
        ("backbone.model.layers.0.q.lora_A.default.weight", "backbone.model.layers.0"),
    ],
)
def test_layers_are_not_taken_apart(name: str, expected: str) -> None:
    assert module_of(name) == expected


def test_noise_fits_its_robot() -> None:
    episode = NoiseEpisode(robot=SPEC, seed=1)
    steps = torch.arange(3).numpy()
    assert episode.images(steps)["base"].shape == (3, 28, 28, 3)
    actions: Tensor = torch.from_numpy(episode.actions(steps))
    assert actions.shape == (3, 2)
    assert actions.abs().max() <= 1


def test_the_verb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    small = TINY[TINY.index("--backbone.width") :]
    assert volition("audit", "smoke", *small, "--train.no-vision", "--json", "audit.json") == 0
    said = capsys.readouterr().out
    assert "noise in the shapes of the recipe's robot: runs/smoke-data is not there" in said
    assert "vision tower        frozen" in said
    assert "equal to the bit" in said
    written = json.loads((tmp_path / "audit.json").read_text())
    assert {row["part"]: bool(row["trained"]) for row in written["parts"]}["vision"] is False
    assert sorted(path.name for path in tmp_path.iterdir()) == ["audit.json"]


def test_data_that_is_there_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    few = ("--tasks", "turn_on_led", "--episodes-per-task", "1", "--scenes", "D", "--image-size", "32", "32")
    assert volition("record", "desk", "--out", "seen", *few, "--images", "png", "--workers", "0") == 0
    found = audit(replace(EXPERIMENT, data=DataConfig(path="seen")))
    assert found.data == "data of seen"
    assert not found.not_reached
