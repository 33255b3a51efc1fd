"""LoRA on families that look different inside: what moves, what stays, checkpoints, and plain weights again."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoModelForImageTextToText

from tests.toy import SPEC, Toy
from tests.training.families import FAMILIES, given, logits, make_policy, take_steps
from tests.training.test_freeze import EAGER, expected_parts, tensors
from tests.training.test_train import EXPERIMENT, Recorded, lasting
from volition.policy import Policy
from volition.records import Start
from volition.studies.training import load_policy, run_training_on
from volition.training import checkpoint as checkpoints
from volition.training.distributed import split_matrices
from volition.training.freeze import TrainableConfig, make_trainable
from volition.training.guard import Spikes
from volition.training.lora import LoRAConfig, add_lora, merge_lora
from volition.training.metrics import read_metrics
from volition.training.optim import OptimConfig, make_optimizer
from volition.training.parts import is_adapter
from volition.training.precision import LossScale
from volition.training.ranks import Ranks
from volition.training.train import Trainer
from volition.training.writing import save

LORA = LoRAConfig(parts=("vision", "backbone"), rank=4, dropout=0.0)
# Every part in another way: the tower still, the words still, adapters in the last layers only.
MIXED = TrainableConfig(
    vision=False, embeddings=False, last_layers=1, lora=LoRAConfig(parts=("backbone",), rank=4, dropout=0.2)
)


def adapted(name: str, config: LoRAConfig = LORA, *, steps: int = 0) -> Policy:
    policy = make_policy(name)
    make_trainable(policy, TrainableConfig(lora=config))
    if steps:
        take_steps(policy, name, make_optimizer(policy, EAGER), count=steps)
    return policy.eval()


@pytest.mark.parametrize("name", FAMILIES)
def test_adapters_move_and_what_they_adapt_stays(name: str) -> None:
    plain = make_policy(name)
    part_of = expected_parts(plain, name)
    wanted = {
        key.removesuffix(".weight")
        for key, part in part_of.items()
        if key.endswith(".weight")
        and type(plain.get_submodule(key.removesuffix(".weight"))) is nn.Linear
        and part in LORA.parts
        and not key.endswith("lm_head.weight")
    }
    policy = adapted(name)
    before = {key: value.clone() for key, value in tensors(policy).items()}
    assert {key.partition(".lora_")[0] for key in before if is_adapter(key)} == wanted
    take_steps(policy, name, make_optimizer(policy, EAGER))
    changed = {key for key, value in tensors(policy).items() if not torch.equal(before[key], value)}
    still = {key.partition(".lora_")[0] for key in before if is_adapter(key) and key not in changed}
    assert all("vision_tower.encoder.layers.1" in key for key in still)  # Llava reads the layer before the last
    assert {part_of[key] for key in changed if not is_adapter(key)} == {"projector", "embeddings", "readouts", "head"}


@pytest.mark.parametrize("name", FAMILIES)
def test_at_first_adapters_add_nothing(name: str) -> None:
    policy = make_policy(name).eval()
    before = logits(policy, name)
    add_lora(policy, LORA)
    assert torch.equal(before, logits(policy, name))


@pytest.mark.parametrize("name", FAMILIES)
def test_merged_weights_open_with_plain_transformers(name: str, tmp_path: Path) -> None:
    policy = adapted(name, steps=3)
    before = logits(policy, name)
    assert (before - logits(make_policy(name).eval(), name)).abs().max() > 0.1, "nothing was learned that could be lost"
    with pytest.raises(ValueError, match="merge LoRA first"):
        policy.backbone.hub_state()
    merge_lora(policy)
    torch.testing.assert_close(logits(policy, name), before, rtol=1e-4, atol=1e-4)
    assert not any(is_adapter(key) or "base_layer" in key for key in policy.state_dict())
    assert vars(policy.backbone).keys() == vars(make_policy(name).backbone).keys()

    FAMILIES[name].config().save_pretrained(tmp_path)
    save_file(policy.backbone.hub_state(), tmp_path / "model.safetensors", metadata={"format": "pt"})
    opened, report = AutoModelForImageTextToText.from_pretrained(tmp_path, output_loading_info=True)
    assert not any(report.values()), report
    inputs = given(name)
    inputs["input_ids"] = inputs["input_ids"].clamp(max=opened.get_input_embeddings().num_embeddings - 1)
    with torch.no_grad():
        ours = policy.backbone.model(**inputs).logits
        torch.testing.assert_close(opened.eval()(**inputs).logits, ours, rtol=0, atol=1e-6)


def test_last_layers_limit_where_adapters_go() -> None:
    policy = make_policy("kosmos-2")
    make_trainable(policy, MIXED)
    adapters = [key for key, _ in policy.named_parameters() if is_adapter(key)]
    assert adapters
    assert all(".layers.2." in key for key in adapters)


def test_adapters_have_a_learning_rate_of_their_own() -> None:
    policy = adapted("llava")
    for config, expected in ((OptimConfig(lr=3e-3), 3e-3), (OptimConfig(lr=3e-3, lora_lr=2e-3), 2e-3)):
        groups = make_optimizer(policy, config).param_groups
        rates = {id(p): group["lr"] for group in groups for p in group["params"]}
        assert {rates[id(p)] for key, p in policy.named_parameters() if is_adapter(key)} == {expected}


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [Recorded(seed, task) for seed in range(4) for task in ("reach_red", "reach_blue")]


class StoppedError(Exception):
    pass


def stop_at_ten(line: Mapping[str, float | int]) -> None:
    if line["step"] == 10:  # past the checkpoint of step 8
        raise StoppedError


def test_a_resumed_run_equals_the_uninterrupted_one(episodes: list[Recorded], tmp_path: Path) -> None:
    experiment, whole, cut = replace(EXPERIMENT, train=MIXED), tmp_path / "whole", tmp_path / "cut"
    run_training_on(experiment, episodes, SPEC, whole)
    with pytest.raises(StoppedError):
        run_training_on(experiment, episodes, SPEC, cut, progress=stop_at_ten)
    run_training_on(experiment, episodes, SPEC, cut, resume=True)
    assert lasting(read_metrics(whole / "metrics.jsonl")) == lasting(read_metrics(cut / "metrics.jsonl"))
    for file in ("weights.safetensors", "optimizer.safetensors"):
        ends = [(checkpoints.resolve(run) / file).read_bytes() for run in (whole, cut)]
        assert ends[0] == ends[1]
    policy = experiment.build(SPEC)
    trained = {name for name, p in policy.named_parameters() if p.requires_grad}
    moments = load_file(checkpoints.resolve(cut) / "optimizer.safetensors")
    assert {name.rpartition("/")[0] for name in moments} == trained


def test_a_checkpoint_holds_base_and_adapters_strictly(episodes: list[Recorded], tmp_path: Path) -> None:
    experiment = replace(EXPERIMENT, train=MIXED, loop=replace(EXPERIMENT.loop, num_steps=4))
    torch.manual_seed(EXPERIMENT.loop.seed)
    base = experiment.build(SPEC).backbone.model.model.vision_tower.state_dict()
    folder = run_training_on(experiment, episodes, SPEC, tmp_path)
    policy, _ = load_policy(tmp_path)
    loaded = policy.backbone.model.model.vision_tower.state_dict()
    assert all(torch.equal(value, loaded[name]) for name, value in base.items())
    assert any(p.any() for key, p in policy.named_parameters() if ".lora_B." in key)
    with pytest.raises(ValueError, match=r"must hold exactly the policy's tensors; missing \[.*unknown \[.*base_layer"):
        checkpoints.load_weights(EXPERIMENT.build(SPEC), folder)
    env = Toy()
    env.reset(Start(seed=1, tasks=("reach_red",)))
    seen = env.observe("go to the red square")
    acted, _ = policy.act([seen], policy.start(1))
    merge_lora(policy)
    merged, _ = policy.act([seen], policy.start(1))
    np.testing.assert_allclose(merged, acted, atol=1e-5)


def quantised(config: LoRAConfig = LORA, *, seed: int = 0) -> Policy:
    pytest.importorskip("bitsandbytes", reason="QLoRA needs the extra `quant`")
    policy = make_policy("llava")
    torch.manual_seed(seed)
    for parameter in policy.parameters():
        parameter.data += 0.01 * seed * torch.randn_like(parameter)
    make_trainable(policy, TrainableConfig(lora=replace(config, quantize=True)))
    return policy.eval()


def test_four_bits_are_near_the_whole_and_stay() -> None:
    policy = quantised()
    plain = logits(make_policy("llava").eval(), "llava")
    assert 0 < (logits(policy, "llava") - plain).norm() < 0.3 * plain.norm()
    packed = {key: value.clone() for key, value in policy.state_dict().items() if ".base_layer." in key}
    assert sum(value.dtype == torch.uint8 and key.endswith(".weight") for key, value in packed.items()) == 33
    before = {key: p.detach().clone() for key, p in policy.named_parameters() if is_adapter(key)}
    take_steps(policy, "llava", make_optimizer(policy, EAGER))
    state = policy.state_dict()
    assert all(torch.equal(value, state[key]) for key, value in packed.items())
    assert sum(not torch.equal(value, state[key]) for key, value in before.items()) >= 0.8 * len(before)


def test_four_bits_come_back_from_a_checkpoint(tmp_path: Path) -> None:
    policy = quantised()
    optimizer = make_optimizer(policy, EAGER)
    take_steps(policy, "llava", optimizer)
    trainer = Trainer(policy, policy, optimizer, LossScale(), None, Spikes(0.0), Ranks(), step=3)
    folder = save(tmp_path, trainer, {})
    other = quantised(seed=1)
    expected = logits(policy.eval(), "llava")
    assert not torch.equal(logits(other, "llava"), expected)
    checkpoints.load_weights(other, folder)
    assert torch.equal(logits(other, "llava"), expected)


def test_four_bits_merge_into_whole_weights() -> None:
    policy = quantised()
    take_steps(policy, "llava", make_optimizer(policy, EAGER))
    before = logits(policy.eval(), "llava")
    merge_lora(policy)
    torch.testing.assert_close(logits(policy, "llava"), before, rtol=1e-4, atol=1e-4)
    assert all(value.is_floating_point() for key, value in policy.state_dict().items() if key.endswith("weight"))


@pytest.mark.parametrize(("package", "extra"), [("peft", "lora"), ("bitsandbytes", "quant")])
def test_a_missing_package_is_named_with_its_extra(package: str, extra: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ValueError, match=rf"needs {package}: pip install 'volition\[{extra}\]'"):
        make_trainable(make_policy("llava"), TrainableConfig(lora=replace(LORA, quantize=True)))


def test_matrices_with_adapters_are_not_shared_out() -> None:
    policy = adapted("paligemma")
    with pytest.raises(ValueError, match="leave one of the two out"):
        split_matrices(policy.backbone, Ranks(), 2)
