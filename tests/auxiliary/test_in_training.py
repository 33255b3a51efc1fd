"""Auxiliary losses in a recipe: what they add to the loss and its gradient, to a run, and to a policy that acts."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.auxiliary.conftest import NUM_FEATURES
from tests.toy import SPEC, Toy
from tests.training.test_train import EXPERIMENT, Recorded, lasting
from volition.auxiliary import ClipNormConfig, CoTrainingConfig, FutureImageConfig
from volition.config import Experiment, dump, load
from volition.policy import Policy
from volition.records import Start
from volition.studies.training import load_policy, make_batches, run_training_on
from volition.training import checkpoint as checkpoints
from volition.training.metrics import read_metrics
from volition.types import Batch, Target

WEIGHTS = {"clip_norm_loss": 0.05, "future_image_loss": 0.5, "caption_loss": 0.05}


@pytest.fixture
def files(text_model, tmp_path) -> Path:
    """A folder with all that the losses learn from, which can be taken away."""
    folder = tmp_path / "files"
    shutil.copytree(text_model, folder / "clip")
    rng = np.random.default_rng(0)
    lines = []
    for i in range(5):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), np.uint8)).save(folder / f"{i}.png")
        lines.append(
            {"image": f"{i}.png", "question": "where is the block", "answer": "on the table" if i % 2 else "left"}
        )
    (folder / "questions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


@pytest.fixture
def experiment(files) -> Experiment:
    auxiliary = (
        ClipNormConfig(model_id=str(files / "clip"), num_features=NUM_FEATURES),
        FutureImageConfig(weight=0.5, steps=2, size=4, hidden=16),
        CoTrainingConfig(path=str(files / "questions.jsonl"), batch_size=2, every=2),
    )
    return replace(EXPERIMENT, auxiliary=auxiliary)


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [Recorded(seed, task) for seed in range(3) for task in ("reach_red", "reach_blue")]


def build(experiment: Experiment) -> Policy:
    torch.manual_seed(0)
    return experiment.build(SPEC)


def gradients(policy: Policy, batch: Batch, target: Target) -> dict[str, torch.Tensor]:
    policy.zero_grad()
    policy(batch, target).total.backward()
    return {name: p.grad.clone() for name, p in policy.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("history", ["policy_head", "interleaved"])
def test_the_total_is_the_heads_loss_and_every_weighted_part(history: str, experiment, episodes) -> None:
    window = replace(EXPERIMENT.window, history=history)
    policy, plain = build(replace(experiment, window=window)), build(replace(EXPERIMENT, window=window))
    batch, target = make_batches(experiment, policy, episodes)[0](2)
    alone = plain(batch, target)
    loss = policy(batch, target)
    assert loss.metrics.keys() - alone.metrics.keys() == WEIGHTS.keys()
    parts = sum(weight * loss.metrics[name] for name, weight in WEIGHTS.items())
    torch.testing.assert_close(loss.total, alone.total + parts)
    assert all(loss.metrics[name] > 0 for name in WEIGHTS)


@pytest.mark.parametrize("part", range(3))
def test_every_part_changes_the_gradient_by_its_own(part: int, experiment, episodes) -> None:
    """Of the body by `weight` times the part's, of the head not at all."""
    config = experiment.auxiliary[part]
    policy, plain = build(replace(experiment, auxiliary=(config,))), build(EXPERIMENT)
    batch, target = make_batches(experiment, build(experiment), episodes)[0](2)
    before, after = gradients(plain, batch, target), gradients(policy, batch, target)
    policy.zero_grad()
    (one,) = policy.auxiliary
    term = one.term(policy.backbone, policy.backbone.encode(batch), target)
    (term.weight * term.value).backward()
    for name, parameter in policy.named_parameters():
        own = parameter.grad if parameter.grad is not None else torch.zeros_like(parameter)
        torch.testing.assert_close(after[name], before.get(name, torch.zeros_like(own)) + own, rtol=1e-3, atol=1e-6)
        if name.startswith("head."):
            assert not own.any()
        if name.startswith("auxiliary.") or name.endswith(("patch_embedding.weight", "embed_tokens.new")):
            assert own.any(), name


def test_all_are_trained_and_a_resumed_run_equals_the_uninterrupted_one(experiment, episodes, tmp_path) -> None:
    class StoppedError(Exception):
        pass

    def stop_at_ten(line) -> None:
        if line["step"] == 10:  # past the checkpoint of step 8
            raise StoppedError

    run_training_on(experiment, episodes, SPEC, tmp_path / "whole")
    with pytest.raises(StoppedError):
        run_training_on(experiment, episodes, SPEC, tmp_path / "cut", progress=stop_at_ten)
    run_training_on(experiment, episodes, SPEC, tmp_path / "cut", resume=True)
    whole, cut = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert lasting(whole) == lasting(cut)
    assert all(line.keys() >= WEIGHTS.keys() for line in whole)
    weights = [checkpoints.resolve(tmp_path / n) / "weights.safetensors" for n in ("whole", "cut")]
    assert weights[0].read_bytes() == weights[1].read_bytes()
    start = build(experiment).state_dict()
    trained = load_policy(tmp_path / "cut")[0].state_dict()
    own = [name for name in trained if name.startswith("auxiliary.")]
    assert len(own) == 8  # a linear layer; a norm and two linear layers
    assert not any(torch.equal(start[name], trained[name]) for name in own)


def test_a_part_that_has_its_turn_at_some_steps_is_in_every_line(experiment, episodes, tmp_path) -> None:
    """Questions at steps 3, 6, 9, 12; lines at 4, 8, 12."""
    auxiliary = (replace(experiment.auxiliary[2], every=3),)
    loop = replace(experiment.loop, log_every=4)
    run_training_on(replace(experiment, auxiliary=auxiliary, loop=loop), episodes, SPEC, tmp_path / "run")
    lines = read_metrics(tmp_path / "run" / "metrics.jsonl")
    assert [line["step"] for line in lines] == [4, 8, 12]
    assert all(line["caption_loss"] > 0 for line in lines)


def test_a_trained_policy_acts_without_what_it_learned_from(experiment, files, episodes, tmp_path) -> None:
    short = replace(experiment, loop=replace(experiment.loop, num_steps=4))
    run_training_on(short, episodes, SPEC, tmp_path / "run")
    shutil.rmtree(files)
    policy, _ = load_policy(tmp_path / "run")
    env = Toy()
    env.reset(Start(seed=1, tasks=("reach_red",)))
    chunk, _ = policy.act([env.observe("go to the red square")], policy.start(1))
    for parameter in policy.auxiliary.parameters():
        torch.nn.init.normal_(parameter)
    again, _ = policy.act([env.observe("go to the red square")], policy.start(1))
    assert chunk.shape == (1, 3, 2)
    assert np.array_equal(chunk, again)


def test_a_weight_of_nothing_costs_nothing(episodes) -> None:
    policy = build(replace(EXPERIMENT, auxiliary=(FutureImageConfig(), ClipNormConfig(weight=0.0))))
    assert not len(policy.auxiliary)
    _, target = make_batches(EXPERIMENT, policy, episodes)[0](1)
    assert target.extras == {}


def test_the_same_part_twice_is_refused(experiment) -> None:
    twice = (FutureImageConfig(weight=1.0), FutureImageConfig(weight=1.0, steps=3))
    with pytest.raises(ValueError, match=r"at most once, got \['future_image', 'future_image'\]"):
        build(replace(experiment, auxiliary=twice))


def test_configs_survive_a_checkpoint(experiment) -> None:
    assert load(json.loads(json.dumps(dump(experiment)))) == experiment
