"""From a recipe to a trained run folder (data, policy, loop, metrics, checkpoints), and from it back to a policy.

runs/NAME/{config.json, contract.json, metrics.jsonl, checkpoints/step_N/}
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from volition.auxiliary import common_step, feed, future_steps
from volition.config import Contract, DataConfig, Experiment, dump, packages_of, read
from volition.contract import RobotSpec, require_equal
from volition.data.files import write_json
from volition.data.fit import Part, unit_range
from volition.data.mixture import Mixture, Source, match
from volition.data.open import load_cached, load_spec
from volition.data.remote import located
from volition.data.split import split_episodes
from volition.data.statistics import RunningStatistics
from volition.data.transforms import BlackOut, Chain, Deafen, NormalizeState, Transform, clip_to, make_scale
from volition.data.windows import Windows
from volition.policy import Policy
from volition.records import Episode, Sample
from volition.studies.begun_with import begin_with
from volition.studies.first_batch import draw_first_batch
from volition.studies.kept_batches import keep_batch
from volition.studies.one_length import OneLength
from volition.studies.same_recipe import dataset_hashes, require_ahead, require_same_data, require_same_recipe
from volition.studies.validation import Validation
from volition.training import checkpoint as checkpoints
from volition.training.device import usable_device
from volition.training.metrics import MetricsFile
from volition.training.ranks import Ranks
from volition.training.trackers import TrackerName, open_trackers
from volition.training.train import Batches, LoopConfig, NotFiniteError, Trainer, train
from volition.training.writing import Writer, snapshot
from volition.types import Batch, Target

Progress = Callable[[Mapping[str, float]], None]


def run_training(
    experiment: Experiment,
    run: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    ranks: Ranks | None = None,
    progress: Progress = lambda _: None,
    trackers: Sequence[TrackerName] = (),
) -> Path:
    """Train to the end and return the last checkpoint. With `resume`, go on exactly where the run stopped."""
    if not experiment.data.path:
        raise ValueError("this recipe brings no dataset of its own: pass --data.path with the folder of one")
    episodes, robot = open_dataset(experiment.data)
    others = open_sources(experiment.data, robot)
    return run_training_on(
        experiment,
        episodes,
        robot,
        run,
        others=others,
        resume=resume,
        device=device,
        ranks=ranks,
        data_hashes=dataset_hashes(experiment.data),
        progress=progress,
        trackers=trackers,
    )


def run_training_on(
    experiment: Experiment,
    episodes: Sequence[Episode],
    robot: RobotSpec,
    run: Path,
    *,
    others: Sequence[Source] = (),
    resume: bool = False,
    device: str = "cpu",
    ranks: Ranks | None = None,
    data_hashes: Sequence[str] = (),
    progress: Progress = lambda _: None,
    trackers: Sequence[TrackerName] = (),
) -> Path:
    """data_hashes: of the datasets, to notice on resuming that one was changed. trackers: besides metrics.jsonl."""
    ranks = ranks or Ranks()
    prepared = _prepare(experiment, episodes, robot, run, others, resume, device, ranks, data_hashes)
    with MetricsFile(
        run / "metrics.jsonl" if ranks.first else None,
        after_step=prepared.trainer.step,
        trackers=open_trackers(trackers, run, prepared.documents["config.json"]) if ranks.first else [],
    ) as metrics:

        def tell(line: Mapping[str, float]) -> None:
            metrics.write(line)
            progress(line)

        _train(prepared, tell)
    return checkpoints.resolve(run)


@dataclass(frozen=True, kw_only=True)
class _Prepared:
    """A run that may begin, or go on."""

    folder: Path
    loop: LoopConfig
    trainer: Trainer
    batches: Batches
    validate: Validation | None
    documents: dict[str, Any]  # that go with every checkpoint
    data: list[str]  # hashes of the datasets


def _prepare(
    experiment: Experiment,
    episodes: Sequence[Episode],
    robot: RobotSpec,
    run: Path,
    others: Sequence[Source],
    resume: bool,
    device: str,
    ranks: Ranks,
    data_hashes: Sequence[str],
) -> _Prepared:
    existing = checkpoints.list_checkpoints(run)
    if existing and not resume:
        raise ValueError(f"{run} already has {existing[-1].name}: pass --resume to go on, or another --run")
    loop = experiment.loop
    torch.manual_seed(loop.seed)
    learned, held_out = split_episodes(episodes, experiment.data.held_out)
    transforms = make_transforms(experiment, learned, robot, others)
    contract = Contract(robot=robot, window=experiment.window, transforms=transforms)
    policy = experiment.build(robot, transforms).to(usable_device(device))
    if experiment.start and not existing:
        begin_with(policy, experiment.start, contract)
    draw, epoch = make_batches(experiment, policy, learned, others)
    parts = ranks.count * loop.accumulate
    example = draw(common_step(policy.auxiliary), 0, parts) if loop.distributed.pipeline > 1 else None
    trainer = Trainer.create(policy, loop, ranks, example, steps_per_epoch=epoch)
    documents = {"config.json": dump(experiment), "contract.json": dump(contract)}
    if existing:
        before = read(existing[-1] / "contract.json", allow=packages_of(contract))
        require_equal(before, contract, left_name="the run", right_name="the dataset")
        require_same_recipe(json.loads((existing[-1] / "config.json").read_text()), documents["config.json"], run)
        require_same_data(checkpoints.read_state(existing[-1]), data_hashes, run)
        checkpoints.restore(trainer, existing[-1])
        require_ahead(trainer.step, loop.num_steps, run)
    ranks.barrier()  # nobody writes before all have read
    if ranks.first:
        for name, document in documents.items():
            write_json(run / name, document)
        if not existing and loop.num_steps:
            shown, seed = draw(1, 0, parts), loop.seed * 1_000_003 + 1
            draw_first_batch(run / "first_batch.png", policy, *shown, loop.augmentation, seed)
    return _Prepared(
        folder=run,
        loop=loop,
        trainer=trainer,
        batches=draw,
        validate=make_validation(experiment, policy, held_out, robot) if held_out else None,
        documents=documents,
        data=list(data_hashes),
    )


def _train(run: _Prepared, tell: Progress) -> None:
    """To the last step, with a checkpoint whenever one is due."""
    trainer, loop = run.trainer, run.loop
    keep = partial(keep_batch, run.folder, trainer.ranks.rank)
    with Writer(run.folder, trainer.ranks, keep_last=loop.keep_last, keep_best=loop.keep_best) as writer:
        try:
            for line in train(trainer, run.batches, loop, partial(keep, "spike")):
                due = trainer.step % loop.save_every == 0 or trainer.step == loop.num_steps
                found = run.validate(trainer) if due and run.validate is not None else {}
                tell({**line, **found})
                if due:
                    writer.save(snapshot(trainer, run.documents, {"data": run.data, **found}))
        except NotFiniteError as error:
            keep("not_finite", error.step, error.batch, error.target)
            raise
        if not trainer.step:  # no step to take: the untrained policy, as a control
            writer.save(snapshot(trainer, run.documents, {"data": run.data}))


def open_dataset(data: DataConfig) -> tuple[Sequence[Episode], RobotSpec]:
    path = located(data.path)
    if not path.exists():
        raise ValueError(
            f"data.path={str(path)!r} must be a dataset folder; record one with: volition record desk --out {path}"
        )
    return load_cached(path, reader=data.reader, pictures=data.cache), load_spec(path)


def open_sources(data: DataConfig, robot: RobotSpec) -> list[Source]:
    """The datasets beside the robot's own; ValueError where one does not come to what the robot has."""
    found = []
    for source in data.sources:
        path = located(source.path)
        adaptation = match(source, load_spec(path), robot, cameras=data.cameras, state=data.state)
        episodes = load_cached(path, reader=source.reader, pictures=data.cache)
        found.append(Source(episodes=episodes, weight=source.weight, adaptation=adaptation))
    return found


def make_transforms(
    experiment: Experiment, episodes: Sequence[Episode], robot: RobotSpec, others: Sequence[Source] = ()
) -> Transform:
    """Actions are clipped to their space, changed as the recipe asks and brought to -1..1; a state is normalised.

    Those of other sources count in what the data has, once they are the robot's; the state is normalised as its own is.
    """
    data, space, horizon = experiment.data, robot.action_space, experiment.window.action_horizon
    chosen = Chain(transforms=(clip_to(space), *data.transforms))
    fitted = unit_range(
        chosen, space, episodes, horizon=horizon, kind=data.normalize, others=[as_part(x, chosen) for x in others]
    )
    parts: list[Transform] = [*chosen.transforms, *fitted]
    if experiment.data.state:
        seen = RunningStatistics(len(robot.state))
        for episode in episodes:
            seen.update(episode.states(np.arange(len(episode))))
        parts.append(NormalizeState(scale=make_scale(seen.result(), "mean_std")))
    if experiment.data.blind:
        parts.append(BlackOut())
    if experiment.data.deaf:
        parts.append(Deafen())
    return Chain(transforms=tuple(parts))


def as_part(source: Source, chosen: Transform) -> Part:
    """What a source beside the robot's own learns, for the statistics of all."""
    assert source.adaptation is not None, "the robot's own dataset is none of the others"
    encoder = Chain(transforms=(source.adaptation.transforms, chosen))
    return Part(encoder=encoder, episodes=source.episodes, known=chosen.known(source.adaptation.known))


def make_validation(
    experiment: Experiment, policy: Policy, held_out: Sequence[Episode], robot: RobotSpec
) -> Validation:
    """On whatever tasks the held-out episodes have, every frame the same weight."""
    data, loop = replace(experiment.data, task_weights=(), balance_tasks=False), replace(experiment.loop, seed=0)
    draw, _ = make_batches(replace(experiment, data=data, loop=loop), policy, held_out)
    return Validation(draw, held_out, robot, stride=experiment.window.replan_steps)


def make_batches(
    experiment: Experiment, policy: Policy, episodes: Sequence[Episode], others: Sequence[Source] = ()
) -> tuple[Batches, float]:
    """And how many of them an epoch has: as many as hold every window once."""
    window, data, loop = experiment.window, experiment.data, experiment.loop
    make_windows = partial(
        Windows,
        num_obs_steps=window.num_obs_steps,
        obs_stride=window.obs_stride,
        action_horizon=window.action_horizon,
        future_steps=future_steps(policy.auxiliary),
        skip_frames=data.skip_frames,
    )
    mixture = Mixture(
        [Source(episodes=episodes, weight=data.weight), *others],
        make_windows,
        batch_size=loop.batch_size,
        seed=loop.seed,
        balance="tasks" if data.balance_tasks else "frames",
        task_weights=dict(data.task_weights),
    )

    collate: Callable[[Sequence[Sample]], tuple[Batch, Target]] = policy.collator
    if loop.distributed.pipeline > 1:
        collate = OneLength.of(policy.collator, [episodes, *(x.episodes for x in others)], window.num_obs_steps)

    def batch(step: int, part: int = 0, parts: int = 1) -> tuple[Batch, Target]:
        samples = mixture.samples(step, rank=part, num_ranks=parts)
        seen, target = collate(samples)
        return seen, replace(target, extras=feed(policy.auxiliary, samples, step))

    return batch, sum(len(windows) for windows in mixture.windows) / loop.batch_size


def load_policy(path: Path, *, allow: tuple[str, ...] = (), device: str = "cpu") -> tuple[Policy, Contract]:
    """A trained policy, ready to act, from a step folder or a run (its last)."""
    folder = checkpoints.resolve(path)
    experiment: Experiment = read(folder / "config.json", allow=allow)
    contract: Contract = read(folder / "contract.json", allow=allow)
    policy = experiment.build(contract.robot, contract.transforms, pretrained=False)
    checkpoints.load_weights(policy, folder)
    policy.eval().to(usable_device(device))
    policy.backbone.prepare_to_act()
    return policy, contract
