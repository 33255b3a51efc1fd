"""A model of the reference as a policy: explicit state, the newest frame, and its defects beside what we do."""

from __future__ import annotations

import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.compat import tiny
from volition.compat import RoboVLMsConfig, RoboVLMsPolicy, export_checkpoint, load_policy, streaming
from volition.compat.actions import ActionScaling, world_to_tcp
from volition.compat.config import TrainSetup
from volition.compat.discrete import decode
from volition.compat.freeze import set_trainable
from volition.compat.losses import action_losses
from volition.compat.model import Inputs
from volition.compat.postprocess import CalvinOutput
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.evaluation.chunking import Execute
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.records import Actor, Observation

HISTORIES = {
    "post-lstm": tiny.CONFIG,
    "post-gpt": tiny.head(type="GPTDecoder"),
    "pre-lstm": tiny.head(history_type="pre"),
    "pre-fc": tiny.head(type="FCDecoder", history_type="pre"),
    "one-step": replace(tiny.head(type="FCDecoder"), window_size=1),
    "pooled": tiny.head(action_space="down_sample", down_sample="pooling", token_source="all"),
    "paligemma": replace(tiny.PALIGEMMA, use_hand_rgb=False),
}
DISCRETE = tiny.head(type="DiscreteDecoder", action_space="discrete", n_bin=32)


def policy(config: RoboVLMsConfig) -> RoboVLMsPolicy:
    return RoboVLMsPolicy(tiny.model(config), tiny.words())


@pytest.fixture(params=HISTORIES)
def actor(request: pytest.FixtureRequest) -> RoboVLMsPolicy:
    return policy(HISTORIES[request.param])


def window(actor: RoboVLMsPolicy, frames: list[Observation]) -> Inputs:
    ids = actor.ids(frames[0].instruction)
    cameras = [torch.cat([actor.pixels([frame], name) for frame in frames], dim=1) for name in actor.cameras]
    gripper = cameras[1] if len(cameras) > 1 else None
    return Inputs(static=cameras[0], gripper=gripper, ids=ids, mask=torch.ones_like(ids))


def test_it_is_an_actor(actor: RoboVLMsPolicy) -> None:
    assert isinstance(actor, Actor)
    chunks, states = actor.act([tiny.observation(0), tiny.observation(1, "open the drawer")], actor.start(2))
    assert chunks.shape == (2, 4, 7)
    assert chunks.dtype == np.float32
    assert np.abs(chunks[..., :6]).max() <= 0.65, "tanh, then the range of training"
    assert set(np.unique(chunks[..., 6])) <= {-1.0, 1.0}
    assert len(states) == 2


def test_streaming_runs_what_the_window_runs(actor: RoboVLMsPolicy) -> None:
    """Step by step, longer than the window: the chunk of the newest frame of the last `window_size` frames."""
    frames = [tiny.observation(seed) for seed in range(5)]
    states = actor.start(1)
    for count, frame in enumerate(frames, start=1):
        chunks, states = actor.act([frame], states)
        seen = frames[max(0, count - actor.model.config.window_size) : count]
        with torch.no_grad():
            arm, gripper = actor.model(window(actor, seen))
        newest = CalvinOutput(scaling=actor.model.config.scaling)(arm[0].numpy(), gripper[0].numpy(), frame.state[0])
        np.testing.assert_allclose(chunks[0, 0], newest, atol=2e-5)


def test_robots_are_independent(actor: RoboVLMsPolicy) -> None:
    """Texts of other lengths, other ages of memory, another order: each row is the robot's own."""
    long = "lift the blue block up and place it in the drawer"
    first = [tiny.observation(seed, long) for seed in range(4)]
    second = [tiny.observation(seed + 10, "open the drawer") for seed in range(2)]
    alone = actor.start(1)
    for frame in first:
        wanted, alone = actor.act([frame], alone)
    states = actor.start(1)
    for frame in first[:2]:
        _, states = actor.act([frame], states)
    states = [*actor.start(1), *states]
    for young, old in zip(second, first[2:]):
        chunks, states = actor.act([young, old], states)
    np.testing.assert_allclose(chunks[1], wanted[0], atol=2e-5)


def test_acting_leaves_the_model_as_it_was(actor: RoboVLMsPolicy) -> None:
    """The reference keeps memory in its head: a second episode there starts with the first one's."""
    frame = tiny.observation(0)
    first, _ = actor.act([frame], actor.start(1))
    actor.act([tiny.observation(1)], actor.start(1))
    again, _ = actor.act([frame], actor.start(1))
    assert np.array_equal(first, again)


def test_the_newest_frame_acts_where_the_reference_takes_the_oldest() -> None:
    actor = policy(HISTORIES["pre-lstm"])
    frames = [tiny.observation(seed) for seed in range(3)]
    states = actor.start(1)
    for frame in frames:
        chunks, states = actor.act([frame], states)
    with torch.no_grad():
        arm, gripper = (x[0].numpy() for x in actor.model(window(actor, frames)))
    scaling, state = actor.model.config.scaling, frames[-1].state[0]
    np.testing.assert_allclose(chunks[0, 0], CalvinOutput(scaling=scaling)(arm, gripper, state), atol=2e-5)
    oldest = CalvinOutput(scaling=scaling, frame=0)(arm, gripper, state)
    assert np.abs(chunks[0, 0] - oldest).max() > 1e-3, "else this test says nothing"


def test_a_row_does_not_depend_on_its_neighbours_text_where_the_references_does() -> None:
    """Its action token stands before the last place of the padded row, and moves with the longest text."""
    actor = policy(tiny.CONFIG)
    frame = tiny.observation(0)
    ids = actor.ids(frame.instruction)
    padded = torch.cat([ids, torch.ones(1, 6, dtype=torch.long)], dim=1)
    given = window(actor, [frame])
    with torch.no_grad():
        alone, _ = actor.model(given)
        legacy, _ = actor.model(replace(given, ids=padded, mask=(padded != 1).long()))
    assert (alone - legacy).abs().max() > 1e-3
    other = tiny.observation(1, "lift the blue block up and place it in the drawer")
    chunks, _ = actor.act([frame, other], actor.start(2))
    np.testing.assert_allclose(chunks[0, :, :6], 0.65 * alone[0, 0].numpy(), atol=2e-5)


def test_regularising_is_undone_where_the_reference_forgets_it() -> None:
    scaling = ActionScaling(normal=(-0.65, 0.65), regular=(0.1, 0.5), mu=255.0)
    model = tiny.model(replace(tiny.CONFIG, scaling=scaling))
    actor = RoboVLMsPolicy(model, tiny.words())
    actions = np.random.default_rng(0).uniform(-0.6, 0.6, (4, 7))
    decoded = actor.decoded(scaling.apply(actions.copy()), np.zeros(15))
    np.testing.assert_allclose(decoded[:3, :6], actions[:3, :6], atol=1e-9)
    reference = scaling.undo(scaling.apply(actions.copy())[0])
    assert np.abs(reference[:6] - actions[0, :6]).max() > 1e-2


def test_actions_in_the_grippers_frame_are_turned_back() -> None:
    config = replace(tiny.CONFIG, tcp_rel=True, scaling=ActionScaling())
    actor = policy(config)
    state = np.array([0.1, 0.2, 0.3, 0.3, -0.2, 0.5, *np.zeros(9)])
    actions = np.random.default_rng(0).uniform(-1, 1, (4, 7))
    turned = world_to_tcp(actions, np.broadcast_to(state, (4, 15)))
    np.testing.assert_allclose(actor.decoded(turned, state)[:, :6], actions[:, :6], atol=1e-6)


def test_a_discrete_policy_speaks_action_tokens_only() -> None:
    """The reference takes the likeliest of all words, and one action of the chunk."""
    actor = policy(DISCRETE)
    assert actor.actions is not None
    frame = tiny.observation(0)
    (row,) = actor.rows([frame])
    free, logits = decode(actor.model, row, 28, None)
    assert not ((free > actor.actions.begin) & (free < actor.actions.end)).all(), "else this test says nothing"
    spoken, _ = decode(actor.model, row, 28, actor.actions)
    assert ((spoken > actor.actions.begin) & (spoken < actor.actions.end)).all()
    first = logits[0, 0, actor.actions.begin + 1 : actor.actions.end].argmax() + actor.actions.begin + 1
    assert spoken[0, 0] == first
    chunks, _ = actor.act([frame], actor.start(1))
    assert chunks.shape == (1, 4, 7)
    values = 0.65 * actor.actions.decode(spoken.numpy()).reshape(4, 7)[:, :6]
    np.testing.assert_allclose(chunks[0, :, :6], values, atol=1e-6)


def test_a_missing_camera_is_named() -> None:
    frame = tiny.observation(0)
    blind = replace(frame, images={"static": frame.images["static"]})
    actor = policy(tiny.CONFIG)
    with pytest.raises(ValueError, match="camera 'gripper'"):
        actor.act([blind], actor.start(1))


def test_from_its_two_files(tmp_path: Path) -> None:
    model = tiny.model()
    export_checkpoint(model, tmp_path / "x.pt")
    tiny.kosmos_config().save_pretrained(tmp_path / "vlm")
    head = {"type": "LSTMDecoder", "hidden_size": 32, "num_layers": 1}
    settings = {"window_size": 3, "fwd_pred_next_n": 4, "image_size": 28, "use_hand_rgb": True, "act_head": head}
    settings |= {"norm_action": True, "norm_min": -0.65, "norm_max": 0.65}
    (tmp_path / "x.json").write_text(json.dumps(settings))
    loaded = load_policy(tmp_path / "x.json", tmp_path / "x.pt", vlm=tmp_path / "vlm", tokenizer=tiny.TOKENIZER)
    frame = tiny.observation(0)
    wanted, _ = RoboVLMsPolicy(model, tiny.words()).act([frame], loaded.start(1))
    assert np.array_equal(loaded.act([frame], loaded.start(1))[0], wanted)


def test_a_mean_over_nothing_is_zero_where_the_references_is_nan() -> None:
    arm, gripper = torch.randn(1, 2, 3, 6), torch.randn(1, 2, 3, 1)
    nothing = torch.zeros(1, 2, 3, dtype=torch.bool)
    assert action_losses(arm, gripper, arm + 1, gripper[..., 0], nothing).total() == 0
    assert (arm[nothing] - 1).square().mean().isnan()


def test_vision_is_trained_beside_lora_where_the_reference_undoes_it() -> None:
    model = tiny.model()
    set_trainable(model, TrainSetup(lora_enable=True, lora_r=2, train_vision=True, train_text_embedding=False))
    trained = {name for name, p in model.named_parameters() if p.requires_grad}
    assert any("lora_A" in name and "text_model" in name for name in trained)
    assert "backbone.vision_model.model.post_layernorm.weight" in trained
    assert "backbone.text_model.model.layer_norm.weight" not in trained
    assert {"action_token", "act_head.actions.mlp.0.weight"} <= trained


def test_it_drives_a_simulator_as_every_actor_does() -> None:
    """Both cameras, several robots at once, a new memory for every command."""
    env = partial(DeskEnv, DeskConfig(image_sizes={"static": (32, 32), "gripper": (20, 20)}))
    trials = task_trials(("open_drawer", "close_drawer"), num_starts=1, first_seed=0, scenes=("A",))
    config = RolloutConfig(chunking=Execute(steps=2), max_steps=6, num_workers=0, slots_per_worker=2, batch=2)
    results = evaluate(policy(tiny.CONFIG), env, trials, config)
    actions = [result.attempts[0].actions for result in results]
    assert [len(executed) for executed in actions] == [6, 6]
    assert np.isfinite(np.stack(actions)).all()


def test_streaming_forgets_what_leaves_the_window() -> None:
    model = tiny.model()
    memory = streaming.start(model)
    actor = RoboVLMsPolicy(model, tiny.words())
    for seed in range(5):
        with torch.no_grad():
            _, _, (memory,) = streaming.step(model, actor.rows([tiny.observation(seed)]), [memory])
    assert len(memory.features) == 3
