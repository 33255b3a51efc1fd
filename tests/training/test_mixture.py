"""A run on datasets of two unlike robots, with questions about pictures: from folders to a resumed policy."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.toy import SPEC, Toy
from tests.training.test_train import EXPERIMENT, Recorded, lasting
from volition.auxiliary import CoTrainingConfig
from volition.config import Experiment, dump, load
from volition.contract import ActionSpace, Camera, Dimension, RobotSpec
from volition.data.action_transforms import Inverse, MapActions
from volition.data.lerobot_stage import EpisodeData, LeRobotConfig
from volition.data.lerobot_write import LeRobotWriter
from volition.data.mixture import Source, SourceConfig, match
from volition.data.transforms import NormalizeActions, Scale
from volition.data.windows import Windows
from volition.records import Start
from volition.studies.train_command import TrainCommand, execute, parse
from volition.studies.training import load_policy, make_batches, make_transforms, open_dataset, open_sources
from volition.training import checkpoint as checkpoints
from volition.training.metrics import read_metrics

# The same world, but moves in centimetres, y before x, and a light; seen by another camera that has more pixels.
OTHER = RobotSpec(
    action_space=ActionSpace(
        dimensions=(
            *(Dimension(name=name, unit="cm", low=-20.0, high=20.0) for name in "yx"),
            Dimension(name="light", unit="1 on", low=0.0),
        )
    ),
    cameras=(Camera(name="top", height=56, width=56),),
    state=("time",),
    control_hz=10.0,
)
LIGHT, (X, Y) = OTHER.action_space.dimensions[2], SPEC.action_space.dimensions
IN_STEPS = replace(OTHER.action_space, dimensions=(Y, X, LIGHT))
TRANSFORMS = (
    Inverse(of=NormalizeActions(scale=Scale(offset=(0.0,) * 3, factor=(0.05, 0.05, 1.0))), shown=IN_STEPS),
    MapActions(given=IN_STEPS, shown=SPEC.action_space, constants=(("light", 0.0),)),
)


def write(root: Path, spec: RobotSpec, seeds: range) -> Path:
    """As the toy's own robot records it, whose demonstrator is slow, or as the other one does."""
    with LeRobotWriter.create(root, spec, LeRobotConfig(images="png")) as writer:
        for seed in seeds:
            recorded = Recorded(seed, "reach_red")
            steps = np.arange(len(recorded))
            images, states, actions = recorded.images(steps), recorded.states(steps), recorded.actions(steps)
            if spec is SPEC:
                actions = actions / 2
            else:
                images = {"top": images["base"].repeat(2, axis=1).repeat(2, axis=2)}
                states = steps[:, None].astype(np.float32)
                actions = np.concatenate([20 * actions[:, ::-1], np.ones((len(steps), 1), np.float32)], axis=1)
            writer.add(
                EpisodeData(
                    task="reach_red", instructions=recorded.instructions, images=images, states=states, actions=actions
                )
            )
    return root


@pytest.fixture(scope="module")
def experiment(tmp_path_factory: pytest.TempPathFactory) -> Experiment:
    root = tmp_path_factory.mktemp("mixture")
    own, other = write(root / "own", SPEC, range(2)), write(root / "other", OTHER, range(2, 4))
    lines = []
    for i in range(3):
        Image.fromarray(np.full((30, 40, 3), 80 * i, np.uint8)).save(root / f"{i}.png")
        lines.append(json.dumps({"image": f"{i}.png", "question": "what is it", "answer": "the table"}))
    (root / "questions.jsonl").write_text("\n".join(lines))
    source = SourceConfig(path=str(other), weight=3.0, transforms=TRANSFORMS, cameras=(("base", "top"),))
    return replace(
        EXPERIMENT,
        data=replace(EXPERIMENT.data, path=str(own), sources=(source,)),
        auxiliary=(CoTrainingConfig(path=str(root / "questions.jsonl"), batch_size=2, every=2),),
        loop=replace(EXPERIMENT.loop, num_steps=8),
    )


def test_a_mixture_is_trained_and_a_resumed_run_equals_the_uninterrupted_one(experiment, tmp_path) -> None:
    half = replace(experiment, loop=replace(experiment.loop, num_steps=4))
    constant = replace(experiment.loop.optim, schedule="constant")  # which does not ask how long the run will be
    whole, half = (replace(e, loop=replace(e.loop, optim=constant)) for e in (experiment, half))
    execute(TrainCommand(experiment=whole, run=tmp_path / "whole"))
    execute(TrainCommand(experiment=half, run=tmp_path / "cut"))
    execute(TrainCommand(experiment=whole, run=tmp_path / "cut", resume=True))
    lines = [lasting(read_metrics(tmp_path / name / "metrics.jsonl")) for name in ("whole", "cut")]
    assert lines[0] == lines[1]
    assert all(line["caption_loss"] > 0 and line["action_loss"] > 0 for line in lines[0])
    weights = [(checkpoints.resolve(tmp_path / n) / "weights.safetensors").read_bytes() for n in ("whole", "cut")]
    assert weights[0] == weights[1]
    policy, contract = load_policy(tmp_path / "cut")
    assert contract.robot == SPEC
    toy = Toy()
    toy.reset(Start(seed=0, tasks=("reach_red",)))
    chunks, _ = policy.act([toy.observe("go to the red square")], policy.start(1))
    assert chunks.shape == (1, 3, 2)


def test_what_the_other_robot_recorded_becomes_what_the_first_would_have(experiment) -> None:
    """The same demonstrations written both ways give the same samples, but for pictures that were larger."""
    (other,) = open_sources(experiment.data, SPEC)
    for seed, episode in zip((2, 3), other.episodes, strict=True):
        recorded, steps = Recorded(seed, "reach_red"), np.arange(len(episode))
        sample = other.adaptation(Windows([episode], num_obs_steps=1, action_horizon=len(episode)).sample(0))
        np.testing.assert_allclose(sample.actions[0], recorded.actions(steps), atol=1e-6)
        difference = sample.observation.images["base"].astype(int) - recorded.images(steps[:1])["base"]
        assert np.abs(difference).mean() < 6


def test_ranges_of_the_data_are_those_of_all_of_it(experiment) -> None:
    fitted = replace(experiment, data=replace(experiment.data, normalize="min_max"))
    episodes, robot = open_dataset(fitted.data)
    others = open_sources(fitted.data, robot)
    alone, together = (make_transforms(fitted, episodes, robot, more).transforms[1].scale for more in ((), others))
    assert alone != together
    rows = np.concatenate(
        [e.actions(np.arange(len(e))) for e in episodes]
        + [e.actions(np.arange(len(e)))[:, 1::-1] / 20 for e in others[0].episodes]
    )
    np.testing.assert_allclose(together.factor, (rows.max(0) - rows.min(0)) / 2, atol=1e-5)


class OnLine(Recorded):
    """Of a robot that moves along x only."""

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return super().actions(steps)[:, :1]


def test_a_dimension_that_a_source_lacks_moves_neither_loss_nor_ranges() -> None:
    line, turned = (replace(SPEC.action_space, dimensions=dimensions) for dimensions in ((X,), (Y, X)))
    added = MapActions(given=line, shown=SPEC.action_space, constants=(("y", 1.0),))
    config = SourceConfig(path="line", transforms=(added,))
    adaptation = match(config, replace(SPEC, action_space=line), SPEC, cameras=("base",), state=())
    own, others = [Recorded(0)], [Source(episodes=[OnLine(1)], weight=3.0, adaptation=adaptation)]
    data = replace(
        EXPERIMENT.data, transforms=(MapActions(given=SPEC.action_space, shown=turned),), normalize="quantiles"
    )
    experiment = replace(EXPERIMENT, data=data)
    transforms = make_transforms(experiment, own, SPEC, others)
    scales = [make_transforms(experiment, own, SPEC, more).transforms[2].scale for more in ((), others)]
    assert scales[0].factor[0] == scales[1].factor[0]  # y, of which the other says nothing
    assert scales[0].factor[1] != scales[1].factor[1]
    policy = experiment.build(SPEC, transforms)
    batch, target = make_batches(experiment, policy, own, others)[0](1)
    assert sorted(target.known.tolist()) == [[False, True]] * 3 + [[True, True]]
    loss = policy(batch, target).total
    for known, same in ((target.known, True), (None, False)):
        changed = replace(target, actions=target.actions.masked_fill(~target.counts, 0.3), known=known)
        assert (policy(batch, changed).total == loss) == same


def test_a_resumed_run_may_find_its_datasets_elsewhere_but_not_weigh_them_otherwise(experiment, tmp_path) -> None:
    assert load(json.loads(json.dumps(dump(experiment)))) == experiment
    run, (source,) = tmp_path / "run", experiment.data.sources
    short = replace(experiment, loop=replace(experiment.loop, num_steps=2))
    execute(TrainCommand(experiment=short, run=run))
    moved = replace(source, path=str(shutil.copytree(source.path, tmp_path / "moved")))
    there = replace(experiment, data=replace(experiment.data, sources=(moved,)))
    execute(TrainCommand(experiment=replace(there, loop=replace(there.loop, num_steps=3)), run=run, resume=True))
    heavier = replace(there, data=replace(there.data, sources=(replace(moved, weight=1.0),)))
    with pytest.raises(ValueError, match=r"differs in\s+data\.sources\.0\.weight: 3\.0 != 1\.0"):
        execute(TrainCommand(experiment=heavier, run=run, resume=True))


def test_what_does_not_fit_is_refused_before_anything_is_decoded(experiment, tmp_path) -> None:
    bare = replace(experiment.data.sources[0], transforms=())
    wrong = replace(experiment, data=replace(experiment.data, sources=(bare,)))
    with pytest.raises(ValueError, match=r"other: its actions must be those of the first dataset"):
        execute(TrainCommand(experiment=wrong, run=tmp_path / "run"))
    assert not (tmp_path / "run").exists()


def recipe() -> Experiment:
    source = SourceConfig(path="elsewhere", transforms=TRANSFORMS)
    return replace(EXPERIMENT, data=replace(EXPERIMENT.data, sources=(source,)))


def test_weights_and_folders_are_flags() -> None:
    flags = ["--data.weight", "2", "--data.sources.0.weight", "0.5", "--data.sources.0.path", "there"]
    data = parse("tests.training.test_mixture:recipe", flags).experiment.data
    assert (data.weight, data.sources[0].weight, data.sources[0].path) == (2.0, 0.5, "there")
    assert data.sources[0].transforms == TRANSFORMS
