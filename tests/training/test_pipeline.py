"""A pipeline of stages learns what one process does: every family of models, and two copies of it at once."""

import copy
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from tests.families import OVERRIDES, make_family
from tests.tiny import SPACES, make_batch, make_head, make_target
from tests.tiny import make_backbone as make_tiny
from tests.toy import SPEC
from tests.training.pipeline_program import WORKING, make_parts, make_policy
from tests.training.test_train import EXPERIMENT, Recorded
from volition.auxiliary import CoTrainingConfig, common_step
from volition.backbones import Backbone
from volition.data.transforms import Chain
from volition.policy import Collator, Policy
from volition.records import Observation, Sample
from volition.studies.one_length import OneLength
from volition.studies.training import make_batches
from volition.training.distributed import DistributedConfig
from volition.training.parts import decoder_layers
from volition.training.pipeline import Pipeline
from volition.training.ranks import Ranks, joined
from volition.training.stages import leave_stage
from volition.training.train import LoopConfig, Trainer

ROOT = Path(__file__).parents[2]
REFUSED = {"mistral_large4": "hand on more than hidden states"}
pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """Of every family, what each of the four ranks says."""
    file = tmp_path_factory.mktemp("pipeline") / "found"
    done = subprocess.run(
        [
            *(sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "4"),
            *("-m", "tests.training.pipeline_program", str(file)),
        ],
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-4000:]
    said = [json.loads(line) for rank in range(4) for line in file.with_suffix(f".{rank}").read_text().splitlines()]
    return {name: [one for one in said if one["family"] == name] for name in WORKING}


@pytest.mark.slow
@pytest.mark.parametrize("name", WORKING)
def test_every_family_learns_as_in_one_process(found: dict[str, list[dict[str, Any]]], name: str) -> None:
    assert len(found[name]) == 4
    for one in found[name]:
        if name in REFUSED:
            assert REFUSED[name] in one["refused"]
            continue
        assert one["loss"] < 1e-6
        assert one["gradient"] < 1e-5
        assert one["validated"] < 1e-6
        assert one["terms"], "without its terms a loss is weighed wrongly among copies"
        assert one["missing"] == one["unknown"] == []
        assert min(one["own"], one["elsewhere"]) > 0


def tiny(head: str, steps: int = 1) -> tuple[Policy, Any]:
    backbone: Backbone = make_tiny("paligemma")
    batch = make_batch(backbone, ["lift red", "lift blue"], steps=steps)
    made = make_head(head, backbone, SPACES["arm-7d"], steps=steps)
    policy = Policy(backbone, made, Collator(Chain(), backbone.adapter, tuple(batch.images), ()))
    return policy, (batch, make_target(batch, SPACES["arm-7d"]))


def test_a_head_that_reads_every_layer_is_told_so() -> None:
    with pytest.raises(ValueError, match="keys and values of all of them"):
        leave_stage(*tiny("expert")[:1], 0, 2, tiny("expert")[1])


def test_more_ranks_than_layers_are_refused() -> None:
    policy, example = tiny("mlp")
    with pytest.raises(ValueError, match=r"every rank one decoder layer at least, and .* has 2"):
        leave_stage(policy, 0, 3, example)


def test_layers_that_share_keys_and_values_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Gemma 4 as it ships: its last layers read what earlier ones kept."""
    shared = {"num_kv_shared_layers": 1, "layer_types": ["full_attention"] * 2}
    own = OVERRIDES["gemma4"]
    monkeypatch.setitem(OVERRIDES, "gemma4", own | {"text_config": own["text_config"] | shared})
    backbone = make_family("gemma4")
    parts = make_parts(backbone)
    with pytest.raises(ValueError, match="hand on more"):
        leave_stage(make_policy(backbone, parts[0][0]), 0, 2, parts[0])


def test_a_stage_has_its_own_layers_and_all_that_is_outside() -> None:
    policy, example = tiny("discrete")
    names = set(policy.state_dict())
    own, elsewhere, _ = leave_stage(policy, 1, 2, example)
    assert own | elsewhere <= names
    assert not own & elsewhere
    assert set(policy.state_dict()) == names - elsewhere
    assert {name.split("layers.")[1][0] for name in own} == {"1"}


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"pipeline": 0}, "pipeline must be at least 1"),
        ({"pipeline": 2, "strategy": "shard"}, "goes with strategy='replicate' and tensor=1"),
        ({"pipeline": 2, "tensor": 2}, "goes with strategy='replicate' and tensor=1"),
    ],
)
def test_what_does_not_go_together_is_said(change: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        DistributedConfig(**change)


def test_every_stage_needs_a_part_of_the_batch() -> None:
    with pytest.raises(ValueError, match=r"accumulate=1 must be at least distributed\.pipeline=2"):
        LoopConfig(distributed=DistributedConfig(pipeline=2))


def test_without_torchrun_there_are_no_stages() -> None:
    with (
        pytest.raises(ValueError, match=r"loop\.distributed\.pipeline=2 needs as many ranks"),
        joined(pipeline=2),
    ):
        pass


def test_a_loss_that_passes_now_and_then_is_refused_before_training(tmp_path: Path) -> None:
    """Co-training every third step: the example is of a step that has questions."""
    path = tmp_path / "questions.jsonl"
    path.write_text(json.dumps({"question": "what is it?", "answer": "red"}) + "\n")
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    path.write_text(json.dumps({"image": "a.png", "question": "what is it?", "answer": "red"}) + "\n")
    made = replace(EXPERIMENT, auxiliary=(CoTrainingConfig(path=str(path), batch_size=1, every=3),))
    episodes = [Recorded(seed) for seed in range(2)]
    policy = made.build(SPEC)
    draw, _ = make_batches(made, policy, episodes)
    assert common_step(policy.auxiliary) == 3
    leave_stage(copy.deepcopy(policy), 0, 2, draw(1))  # a step without questions shows nothing
    with pytest.raises(ValueError, match="there were 4 calls"):
        leave_stage(policy, 0, 2, draw(common_step(policy.auxiliary)))


def test_rows_of_one_length_are_as_long_as_the_longest_instruction() -> None:
    policy, _ = tiny("mlp")
    episodes = [Recorded(seed, task) for seed, task in enumerate(("reach_red", "reach_blue"))]
    collate = OneLength.of(replace(policy.collator, cameras=("base",)), [episodes], 1)
    seen = [sample_of(episode, words) for episode in episodes for words in episode.instructions]
    assert {collate([one])[0].inputs["input_ids"].shape[1] for one in seen} == {collate.collator.length}
    with pytest.raises(ValueError, match="a transform has made one of"):
        collate([sample_of(episodes[0], "a much longer instruction " * 9)])


def sample_of(episode: Recorded, words: str) -> Sample:
    steps = np.arange(1)
    seen = Observation(images=episode.images(steps), state=episode.states(steps), instruction=words)
    actions = np.zeros((1, 1, 7), np.float32)
    return Sample(observation=seen, actions=actions, mask=np.ones((1, 1), bool))


@pytest.mark.parametrize(("stage", "copy_of_it"), [(0, 0), (1, 0), (1, 1)])
def test_what_is_outside_the_layers_is_written_where_it_was_used_to_the_end(stage: int, copy_of_it: int) -> None:
    pipeline = object.__new__(Pipeline)
    pipeline.__dict__ |= {"_ranks": Ranks(index=copy_of_it), "_index": stage, "_count": 2, "own": {"layer"}}
    assert pipeline.writes("layer") == (copy_of_it == 0)
    assert pipeline.writes("head.norm.running_mean") == (stage == 1 and copy_of_it == 0)


def test_operations_are_not_counted_over_stages() -> None:
    with pytest.raises(ValueError, match="cannot count over the stages"):
        LoopConfig(distributed=DistributedConfig(pipeline=2), accumulate=2, batch_size=2, count_flops=True)


def test_one_process_is_told_that_it_is_one() -> None:
    policy, example = tiny("mlp")
    loop = LoopConfig(distributed=DistributedConfig(pipeline=2), accumulate=2, batch_size=2)
    with pytest.raises(ValueError, match="needs as many ranks: start `volition train` with torchrun"):
        Trainer.create(policy, loop, example=example)


def test_a_stage_drops_otherwise_than_the_one_before_and_what_follows_draws_as_ever() -> None:
    policy, example = tiny("mlp")
    layer = decoder_layers(policy.backbone)[1]
    _, _, passage = leave_stage(policy, 1, 2, example)
    inside: list[float] = []
    layer.register_forward_pre_hook(lambda *_: inside.append(torch.rand(()).item()))
    passage.received = torch.zeros(2, example[0].inputs["input_ids"].shape[1], policy.backbone.width)
    torch.manual_seed(3)
    policy(*example)
    after = torch.rand(()).item()
    torch.manual_seed(3)
    assert after == torch.rand(()).item()
    assert inside[0] != after
