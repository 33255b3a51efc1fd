"""From a recipe to a trained run folder (data, policy, loop, metrics, checkpoints), and from it back to a policy.

runs/NAME/{config.json, contract.json, metrics.jsonl, checkpoints/step_N/}
"""

from __future__ import annotations

import dataclasses
import json
import logging
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import save_file

from volition.auxiliary import feed, future_steps
from volition.config import Contract, Experiment, dump, locate, read
from volition.contract import RobotSpec, require_equal
from volition.data.fit import Part, unit_range
from volition.data.mixture import Mixture, Source, match
from volition.data.open import load_cached, load_spec
from volition.data.remote import located
from volition.data.statistics import RunningStatistics
from volition.data.transforms import BlackOut, Chain, NormalizeState, Transform, clip_to, make_scale
from volition.data.windows import Windows
from volition.policy import Policy
from volition.records import Episode
from volition.training import checkpoint as checkpoints
from volition.training.metrics import MetricsFile
from volition.training.train import Batches, NotFiniteError, Trainer, train
from volition.types import Batch, Target

logger = logging.getLogger(__name__)
Progress = Callable[[Mapping[str, float | int]], None]


def run_training(
    experiment: Experiment,
    run: Path,
    *,
    resume: bool = False,
    device: str = "cpu",
    progress: Progress = lambda _: None,
) -> Path:
    """Train to the end and return the last checkpoint. With `resume`, go on exactly where the run stopped."""
    if not experiment.data.path:
        raise ValueError("this recipe brings no dataset of its own: pass --data.path with the folder of one")
    episodes, robot = open_dataset(experiment.data)
    others = open_sources(experiment.data, robot)
    return run_training_on(
        experiment, episodes, robot, run, others=others, resume=resume, device=device, progress=progress
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
    progress: Progress = lambda _: None,
) -> Path:
    existing = checkpoints.list_checkpoints(run)
    if existing and not resume:
        raise ValueError(f"{run} already has {existing[-1].name}: pass --resume to go on, or another --run")
    torch.manual_seed(experiment.loop.seed)
    transforms = make_transforms(experiment, episodes, robot, others)
    policy = experiment.build(robot, transforms).to(usable_device(device))
    trainer = Trainer.create(policy, experiment.loop)
    contract = Contract(robot=robot, window=experiment.window, transforms=transforms)
    documents = {"config.json": dump(experiment), "contract.json": dump(contract)}
    if existing:
        require_equal(read(existing[-1] / "contract.json"), contract, left_name="the run", right_name="the dataset")
        require_same_recipe(json.loads((existing[-1] / "config.json").read_text()), documents["config.json"], run)
        checkpoints.restore(trainer, existing[-1])
    run.mkdir(parents=True, exist_ok=True)
    for name, document in documents.items():
        (run / name).write_text(json.dumps(document, indent=1) + "\n")
    loop = experiment.loop
    with MetricsFile(run / "metrics.jsonl", after_step=trainer.step) as metrics:
        try:
            for line in train(trainer, batches(experiment, policy, episodes, others), loop):
                metrics.write(line)
                progress(line)
                if trainer.step % loop.save_every == 0 or trainer.step == loop.num_steps:
                    checkpoints.save(run, trainer, documents, keep_last=loop.keep_last)
        except NotFiniteError as error:
            save_file(_arrays(error.batch, error.target), run / f"not_finite_step_{error.step}.safetensors")
            raise
    if not checkpoints.list_checkpoints(run):  # no step to take: the untrained policy, as a control
        checkpoints.save(run, trainer, documents, keep_last=loop.keep_last)
    return checkpoints.resolve(run)


# What a resumed run may change: how far it goes, how it is written down, and where its data lies.
_MAY_CHANGE = re.compile(
    r"loop\.(num_steps|log_every|save_every|keep_last)|data\.(path|sources\.\d+\.path)|data\.recording(\..*)?"
)


def require_same_recipe(before: Any, now: Any, run: Path) -> None:
    """ValueError that names every field of the recipe in which a run differs from what it began with.

    A field that did not exist when the run began has its default, which is what the run did.
    """
    now = json.loads(json.dumps(now))
    old, new = dict(_leaves(_completed(before, now))), dict(_leaves(now))
    changed = [
        f"{name}: {old.get(name)!r} != {new.get(name)!r}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name) and not _MAY_CHANGE.fullmatch(name)
    ]
    if changed:
        listed = "\n  ".join(changed)
        raise ValueError(f"{run} must go on with the recipe that it began with; it differs in\n  {listed}")


def _completed(before: Any, now: Any) -> Any:
    """A config's JSON with the defaults of the fields that only the newer one has."""
    if isinstance(before, list) and isinstance(now, list) and len(before) == len(now):
        return [_completed(x, y) for x, y in zip(before, now)]
    if not isinstance(before, dict) or not isinstance(now, dict) or before.get("type") != now.get("type"):
        return before
    known = {f.name: f for f in dataclasses.fields(locate(now["type"]))} if "type" in now else {}
    added = {}
    for name in now.keys() - before.keys():
        if (default := known[name].default) is not dataclasses.MISSING:
            added[name] = dump(default)
        elif (make := known[name].default_factory) is not dataclasses.MISSING:
            added[name] = dump(make())
    return json.loads(json.dumps(added)) | {name: _completed(x, now.get(name)) for name, x in before.items()}


def _leaves(tree: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """('loop.optim.lr', 0.001) for every leaf of a config's JSON."""
    children = tree.items() if isinstance(tree, dict) else enumerate(tree) if isinstance(tree, list) else None
    if children is None:
        yield path, tree
        return
    for name, child in children:
        yield from _leaves(child, f"{path}.{name}" if path else str(name))


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
    return Chain(transforms=tuple(parts))


def as_part(source: Source, chosen: Transform) -> Part:
    """What a source beside the robot's own learns, for the statistics of all."""
    assert source.adaptation is not None, "the robot's own dataset is none of the others"
    encoder = Chain(transforms=(source.adaptation.transforms, chosen))
    return Part(encoder=encoder, episodes=source.episodes, known=chosen.known(source.adaptation.known))


def batches(
    experiment: Experiment, policy: Policy, episodes: Sequence[Episode], others: Sequence[Source] = ()
) -> Batches:
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

    def batch(step: int) -> tuple[Batch, Target]:
        samples = mixture.samples(step)
        seen, target = policy.collator(samples)
        return seen, replace(target, extras=feed(policy.auxiliary, samples, step))

    return batch


def usable_device(name: str) -> torch.device:
    """ "cpu", "cuda" or "cuda:1"; ValueError when this machine or this build of torch has no such device."""
    try:
        return torch.zeros(1, device=name).device
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise ValueError(
            f"device={name!r} must be one that torch can use here, such as 'cpu' or 'cuda': {reason} "
            "(docs/your-own-gpu.md says how to bring a build for your GPU)"
        ) from error


def load_policy(path: Path, *, allow: tuple[str, ...] = (), device: str = "cpu") -> tuple[Policy, Contract]:
    """A trained policy, ready to act, from a step folder or a run (its last)."""
    folder = checkpoints.resolve(path)
    experiment: Experiment = read(folder / "config.json", allow=allow)
    contract: Contract = read(folder / "contract.json", allow=allow)
    policy = experiment.build(contract.robot, contract.transforms, pretrained=False)
    checkpoints.load_weights(policy, folder)
    policy.backbone.prepare_to_act()
    return policy.eval().to(usable_device(device)), contract


def _arrays(batch: Batch, target: Target) -> dict[str, np.ndarray]:
    tensors = {**batch.inputs, **{f"image.{name}": x for name, x in batch.images.items()}, "state": batch.state}
    tensors |= {"actions": target.actions, "mask": target.mask}
    return {name: np.ascontiguousarray(x.cpu().numpy()) for name, x in tensors.items()}
