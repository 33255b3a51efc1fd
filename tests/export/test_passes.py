"""Every head with every history acts by exported passes as by its model, and a robot's memory stays its own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from tests.export.seen import EPISODES
from tests.source_tree import example
from tests.tiny import CAMERAS, HEADS, SMALL
from volition.backbones import Backbone, TinyPaliGemma
from volition.contract import relative_arm_7d
from volition.data.transforms import Chain
from volition.export.onnx import Onnx
from volition.export.passes import Pass, Passes, PassGraph, PassKind
from volition.policy import Acting, Collator
from volition.records import Actor

pytestmark = pytest.mark.slow
JETSON = example("05_jetson")
HISTORIES = {"one_step": (1, False), "policy_head": (3, False), "interleaved": (3, True)}  # T, whether in one row


class Exporting:
    """A backbone's passes in ONNX, each kind exported when it is first asked for."""

    def __init__(self, backbone: Backbone, folder: Path):
        self.backbone, self._folder = backbone, folder
        self.opened: dict[PassKind, Pass] = {}

    def find(self, kind: PassKind, tensors: Sequence[Tensor]) -> Pass:
        if kind not in self.opened:
            path, twice = self._folder / f"{len(self.opened)}.onnx", [torch.cat([x, x]) for x in tensors]
            Onnx().write(PassGraph(self.backbone, kind), twice, path, free_rows=True)
            assert not JETSON.unsupported([path]), "an operator that TensorRT's reader does not name"
            self.opened[kind] = Onnx().open(path, threads=1, device="cpu")
        return self.opened[kind]


@pytest.fixture(scope="module")
def actors(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, str], tuple[Actor, Actor]]:
    """History and head -> what acts by the model, and by exported passes of the same model."""
    torch.manual_seed(0)
    backbone = TinyPaliGemma(**{**SMALL, "text_layers": 1}).build()
    space = relative_arm_7d().scaled()
    heads = {
        (history, name): config.build(backbone, space, num_obs_steps=steps, horizon=4, state_dim=0)
        for history, (steps, _) in HISTORIES.items()
        for name, config in HEADS.items()
    }
    for module in (backbone, *heads.values()):
        module.eval()
        for parameter in module.parameters():
            if parameter.ndim > 1:
                torch.nn.init.normal_(parameter, std=0.15)
    exporting = Exporting(backbone, tmp_path_factory.mktemp("passes"))
    passes, found = Passes(backbone.adapter, exporting.find), {}
    for (history, name), head in heads.items():
        steps, in_one_row = HISTORIES[history]
        collator = Collator(Chain(), backbone.adapter, CAMERAS, (), in_one_row)
        found[history, name] = Acting(backbone, head, collator, steps), Acting(passes, head, collator, steps)
    return found


@pytest.mark.parametrize("history", HISTORIES)
@pytest.mark.parametrize("head", HEADS)
def test_exported_passes_act_as_the_model(
    history: str, head: str, actors: dict[tuple[str, str], tuple[Actor, Actor]]
) -> None:
    ours, exported = actors[history, head]
    mine, theirs = (run_together(actor) for actor in (ours, exported))
    assert np.abs(mine - theirs).max() < 1e-4
    assert np.ptp(mine, axis=(0, 1)).max() > 1e-2, "what is seen changes nothing, so nothing was compared"
    alone = run_alone(exported, 1)
    assert np.abs(alone - theirs[1]).max() < 1e-4


def run_together(actor: Actor) -> np.ndarray:
    """float32[robots, steps, H, A]; in every call the robots stand in another order."""
    states, answers = actor.start(len(EPISODES)), np.zeros((len(EPISODES), len(EPISODES[0]), 4, 7), np.float32)
    for step in range(len(EPISODES[0])):
        order = np.roll(np.arange(len(EPISODES)), step)
        torch.manual_seed(step)
        chunks, after = actor.act([EPISODES[i][step] for i in order], [states[i] for i in order])
        for place, robot in enumerate(order):
            answers[robot, step], states[robot] = chunks[place], after[place]
    return answers


def run_alone(actor: Actor, robot: int) -> np.ndarray:
    """float32[steps, H, A]"""
    (state,), answers = actor.start(1), []
    for step, observation in enumerate(EPISODES[robot]):
        torch.manual_seed(step)
        chunks, (state,) = actor.act([observation], [state])
        answers.append(chunks[0])
    return np.stack(answers)
