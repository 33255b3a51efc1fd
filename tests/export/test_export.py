"""Exported policies against the policies that they are of: the same actions, memories, proofs and refusals."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.serving.test_policies import ENSEMBLE, PROMPTS, RECURRENT, ROBOT, WINDOW, build, look
from tests.tiny import HEADS
from volition.config import Contract, Experiment, dump
from volition.contract import relative_arm_7d
from volition.data.transforms import Chain
from volition.evaluation.statistics import paired_difference
from volition.export.artefact import GRAPH, is_artefact, load_artefact, load_source, sign, write_artefact
from volition.export.closed_loop import ClosedLoop
from volition.export.graph import require_exportable
from volition.export.parity import parity
from volition.records import Observation
from volition.training import checkpoint as checkpoints
from volition.training.train import LoopConfig, Trainer

pytestmark = pytest.mark.slow


def checkpoint(experiment: Experiment, folder: Path) -> Path:
    contract = Contract(robot=ROBOT, window=WINDOW, transforms=Chain())
    documents = {"config.json": dump(experiment), "contract.json": dump(contract)}
    return checkpoints.save(folder, Trainer.create(build(experiment), LoopConfig()), documents, keep_last=1)


def seen(seed: int, prompt: str) -> Observation:
    message = look(seed, prompt)
    images = {c: message[f"observation/{c}"][None] for c in ("static", "gripper")}
    return Observation(images, np.zeros((1, 1), np.float32), prompt)


EPISODES = [[seen(10 * i + k, PROMPTS[i]) for k in range(4)] for i in range(3)]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return checkpoint(RECURRENT, tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def artefacts(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, loaded = tmp_path_factory.mktemp("artefacts"), load_source(source)
    return {target: write_artefact(loaded, target, folder / target) for target in ("onnx", "onnx-int8")}


@pytest.mark.parametrize(("target", "tolerance", "cosine"), [("onnx", 1e-4, 0.99999), ("onnx-int8", 0.5, 0.95)])
def test_actions_are_the_policys_with_a_memory_in_any_batch(
    target: str, tolerance: float, cosine: float, source: Path, artefacts: dict[str, Path]
) -> None:
    policy = load_source(source).policy
    exported, contract = load_artefact(artefacts[target], unproved=True, threads=1)
    found = parity(policy, exported, EPISODES, relative_arm_7d())
    assert found.observations == 12
    assert found.cosine > cosine
    assert max(found.largest_error) < tolerance
    assert contract.robot == ROBOT
    together, _ = exported.act([episode[0] for episode in EPISODES], exported.start(3))
    alone = np.stack([exported.act([episode[0]], exported.start(1))[0][0] for episode in EPISODES])
    assert np.allclose(together, alone, atol=1e-5 if target == "onnx" else tolerance)


def test_an_ensembles_confidence_comes_along(tmp_path: Path) -> None:
    loaded = load_source(checkpoint(ENSEMBLE, tmp_path / "run"))
    exported, _ = load_artefact(write_artefact(loaded, "onnx", tmp_path / "out"), unproved=True)
    observation = EPISODES[0][0]
    (ours,), (theirs,) = (actor.act([observation], actor.start(1))[1] for actor in (loaded.policy, exported))
    assert np.allclose(ours.confidence, theirs.confidence, atol=1e-4)


def test_int8_is_smaller(artefacts: dict[str, Path]) -> None:
    plain, small = ((artefacts[target] / GRAPH).stat().st_size for target in ("onnx", "onnx-int8"))
    assert small < plain


def test_only_what_was_proved_is_loaded_and_only_as_it_was(
    source: Path, artefacts: dict[str, Path], tmp_path: Path
) -> None:
    folder = write_artefact(load_source(source), "onnx", tmp_path / "out")
    assert is_artefact(folder)
    assert not is_artefact(source)
    sign(folder, {"holds": False}, holds=False)
    with pytest.raises(ValueError, match="is not signed"):
        load_artefact(folder)
    sign(folder, {"holds": True}, holds=True)
    load_artefact(folder)
    graph = folder / GRAPH
    graph.write_bytes(graph.read_bytes()[:-1] + b"x")
    with pytest.raises(ValueError, match="is damaged"):
        load_artefact(folder)
    with pytest.raises(ValueError, match="must be empty"):
        write_artefact(load_source(source), "onnx", folder)


@pytest.mark.parametrize("head", ["discrete", "fast", "expert"])
def test_a_head_that_reads_more_than_readouts_is_refused(head: str) -> None:
    with pytest.raises(ValueError, match="reads more of the VLM than its read-outs"):
        require_exportable(build(replace(RECURRENT, head=HEADS[head])))


def test_interleaved_history_is_refused() -> None:
    experiment = replace(RECURRENT, window=replace(WINDOW, history="interleaved"))
    with pytest.raises(ValueError, match="history='interleaved'"):
        require_exportable(build(experiment))


def test_parity_sees_what_differs(source: Path) -> None:
    policy, other = load_source(source).policy, load_source(source).policy
    same = parity(policy, policy, EPISODES, relative_arm_7d())
    assert (same.cosine, max(same.largest_error), same.binary_agreement) == (pytest.approx(1.0), 0.0, 1.0)
    with torch.no_grad():
        for parameter in other.head.parameters():
            parameter.mul_(-0.5)
    assert parity(policy, other, EPISODES, relative_arm_7d()).cosine < 0.9


def test_not_worse_means_that_the_interval_lies_above_the_margin() -> None:
    def loop(lost: int, count: int) -> ClosedLoop:
        difference = paired_difference([0] * lost + [1] * (count - lost), [1] * count)
        return ClosedLoop(exported=1 - lost / count, policy=1.0, difference=difference, margin=0.02)

    assert loop(0, 2000).not_worse
    assert not loop(0, 10).not_worse  # nothing was lost, but ten episodes cannot tell
    assert not loop(60, 2000).not_worse


def test_the_documents_of_an_artefact_are_plain(artefacts: dict[str, Path]) -> None:
    about = json.loads((artefacts["onnx-int8"] / "export.json").read_text())
    assert about["target"] == "onnx-int8"
    assert about["inputs"][0] == "input_ids"
    assert {path.name for path in artefacts["onnx-int8"].iterdir()} == {
        *("backbone.onnx", "head.safetensors", "config.json", "contract.json", "export.json")
    }
