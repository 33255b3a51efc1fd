"""Do recorded demonstrations succeed again, through the input and output path of a policy?

    dataset --find--> Demonstration(start, states, labels, executed)      its start is looked for: see _start
    executed --encode, Collator, decode--> Env.step --> success          required of every demonstration
    executed --a usual mistake undone--> Env.step --> success            on failure: which mistake explains it

A label is what the expert would have done, and what was executed had noise, so that labels alone do not succeed when
they are repeated (7 of 25 on the desk). What was executed stands in the state of the next frame, `previous_*`; labels
are compared with it instead.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from volition.config import DataConfig, Experiment, load
from volition.contract import RobotSpec
from volition.data.checks.evidence import PREVIOUS, Places, places, spread
from volition.data.checks.finding import Finding, listed
from volition.data.lerobot import LeRobotEpisode
from volition.data.open import detect, load_spec
from volition.data.perform import PerformConfig, attempt_seed
from volition.envs.base import EnvConfig
from volition.envs.table import find_env
from volition.geometry import tcp_to_world, world_to_tcp
from volition.policy import Collator
from volition.records import Env, Observation, Sample, Start
from volition.studies.recording import recorded
from volition.studies.training import load_policy, make_transforms

ALIKE = 1e-5  # metres, radians: a start is the recorded one when no entry of its state differs by more
AGREE = 0.5  # cosine between labels and what was executed, per dimension
TIE = 0.02  # cosines that differ by less are equal
RADIANS = 0.05  # of an action of 1, where a frame is tried that is not the contract's
Say = Callable[[str, float, str], None]


@dataclass(frozen=True, kw_only=True)
class Demonstration:
    name: str
    task: str
    start: Start
    instruction: str
    states: np.ndarray  # float32[n, S]
    labels: np.ndarray  # float32[n, A]
    executed: np.ndarray  # float32[n, A]; the labels in a dataset that does not keep it


def replay(
    path: Path, env_name: str, *, num_episodes: int, checkpoint: Path | None, say: Say, allow: tuple[str, ...] = ()
) -> list[Finding]:
    """Findings about a dataset that `volition record` made. Without a checkpoint, the path is a new policy's."""
    spec = load_spec(path)
    env = noted_env(path, env_name).make()
    try:
        found, tried = find(env, path, num_episodes=num_episodes)
        collator = load_policy(checkpoint, allow=allow)[0].collator if checkpoint is not None else new_collator(spec)
        return judge(env, found, tried, spec, collator, say)
    finally:
        env.close()


def find(env: Env, path: Path, *, num_episodes: int) -> tuple[list[Demonstration], int]:
    """Demonstrations whose start `env` comes back to, and how many were tried."""
    episodes = [e for e in detect(path).load(path) if isinstance(e, LeRobotEpisode) and _is_single(e)]
    if not episodes:
        raise ValueError(f"{path} must hold single tasks, which begin with a reset, but holds parts of chains only")
    config = PerformConfig(**_note(path)["record"]["perform"])
    chosen = [episodes[i] for i in spread(len(episodes), num_episodes)]
    found = [_demonstration(env, episode, config, load_spec(path)) for episode in chosen]
    return [demonstration for demonstration in found if demonstration is not None], len(chosen)


def noted_env(path: Path, name: str) -> EnvConfig:
    """The environment as the recorder noted it; ValueError where it is not the one of this name."""
    kind, note = find_env(name), _note(path)["environment"]
    if note["type"] != f"{kind.__module__}:{kind.__qualname__}":
        raise ValueError(f"{path} must have been recorded in {name} to be repeated there, but was in {note['type']}")
    return load(note, allow=(kind.__module__.split(".")[0],))


def _note(path: Path) -> dict[str, Any]:
    """How the recorder made a dataset."""
    if (note := recorded(path)) is None:
        raise ValueError(f"{path} must be a recording by `volition record` to be replayed: others do not keep starts")
    return note


def judge(
    env: Env, found: Sequence[Demonstration], tried: int, spec: RobotSpec, collator: Collator, say: Say
) -> list[Finding]:
    """The three findings of a replay: starts, success, labels."""
    starts = f"{len(found)} of {tried} recorded starts come back to the digit"
    if len(found) < tried:
        fix = "replay with the environment that the dataset was recorded in, or record it again"
        return [Finding(name="replay starts", level="error", said=starts, fix=fix)]
    failed: list[Demonstration] = []
    for number, demonstration in enumerate(found):
        say("replay", number / len(found), f"{number - len(failed)} of {number} succeeded")
        if not _through_policy(env, demonstration, collator):
            failed.append(demonstration)
    say("replay", 1.0, f"{len(found) - len(failed)} of {len(found)} succeeded")
    return [
        Finding(name="replay starts", level="ok", said=starts),
        _success(env, found, failed, spec),
        labels_agree(found, spec),
    ]


def _success(env: Env, found: Sequence[Demonstration], failed: Sequence[Demonstration], spec: RobotSpec) -> Finding:
    said = f"{len(found) - len(failed)} of {len(found)} demonstrations succeed again through a policy's path"
    if not failed:
        return Finding(name="replay", level="ok", said=said)
    counts = {name: sum(_repeat(env, d, undo(d.executed, d, spec)) for d in failed) for name, undo in MISTAKES.items()}
    best = max(counts, key=lambda name: counts[name])
    said = f"{said}; failed: {listed([d.name for d in failed])}"
    if 2 * counts[best] < len(failed):
        fix = "none of the usual mistakes explains it: compare the environment's version, and look at an episode"
        return Finding(name="replay", level="error", said=said, fix=fix)
    said = f"{said}; taken to be {best}, {counts[best]} of these {len(failed)} succeed"
    return Finding(name="replay", level="error", said=said, fix=f"the actions are {best}: convert them back")


def labels_agree(found: Sequence[Demonstration], spec: RobotSpec) -> Finding:
    """Labels against what was executed: same direction, about the same size."""
    if all(np.array_equal(d.labels, d.executed) for d in found):
        return Finding(name="labels", level="ok", said="labels are what was executed")
    worst = _agreement(found, spec, lambda labels, d, spec: labels)
    said = f"labels point along what was executed (cosine {worst:.2f} or more in every dimension)"
    if worst >= AGREE:
        return Finding(name="labels", level="ok", said=said)
    scores = {name: _agreement(found, spec, undo) for name, undo in MISTAKES.items()}
    # Under a hand that points straight down, both ways between the frames are the same: the first name counts.
    best = next(name for name in scores if scores[name] >= max(scores.values()) - TIE)
    said = f"labels do not point along what was executed (cosine {worst:.2f} in the worst dimension)"
    if scores[best] < AGREE:
        fix = "none of the usual mistakes explains it: look at an episode with volition data view"
        return Finding(name="labels", level="error", said=said, fix=fix)
    said = f"{said}; taken to be {best}, {scores[best]:.2f}"
    return Finding(name="labels", level="error", said=said, fix=f"the labels are {best}: convert them back")


Undo = Callable[[np.ndarray, Demonstration, RobotSpec], np.ndarray]


def _agreement(found: Sequence[Demonstration], spec: RobotSpec, undo: Undo) -> float:
    """The lowest cosine of any dimension that is used; sizes that differ more than threefold count as none."""
    labels = np.concatenate([undo(d.labels, d, spec) for d in found]).astype(np.float64)
    executed = np.concatenate([d.executed for d in found]).astype(np.float64)
    told, done = (np.sqrt((x**2).sum(0)) for x in (labels, executed))
    used = done > 0.05 * done.max()
    cosine = (labels * executed).sum(0)[used] / np.maximum(told * done, 1e-9)[used]
    sizes = told[used] / done[used]
    return float(np.where((sizes > 1 / 3) & (sizes < 3), cosine, 0.0).min())


def _mirrored(chosen: Callable[[Places], Sequence[int]]) -> Undo:
    def undo(actions: np.ndarray, demonstration: Demonstration, spec: RobotSpec) -> np.ndarray:
        signs = np.ones(actions.shape[1], np.float32)
        signs[list(chosen(places(spec)))] = -1
        return actions * signs

    return undo


def _ordered(chosen: Callable[[Places], Sequence[int]], order: tuple[int, int, int]) -> Undo:
    def undo(actions: np.ndarray, demonstration: Demonstration, spec: RobotSpec) -> np.ndarray:
        where = np.array(chosen(places(spec)), int)
        changed = actions.copy()
        if len(where):
            changed[:, where] = actions[:, where[list(order)]]
        return changed

    return undo


def _scaled(factor: float) -> Undo:
    def undo(actions: np.ndarray, demonstration: Demonstration, spec: RobotSpec) -> np.ndarray:
        factors = np.ones(actions.shape[1], np.float32)
        factors[list(spec.action_space.continuous)] = factor
        return actions * factors

    return undo


def _shifted(steps: int) -> Undo:
    def undo(actions: np.ndarray, demonstration: Demonstration, spec: RobotSpec) -> np.ndarray:
        return actions[np.clip(np.arange(len(actions)) + steps, 0, len(actions) - 1)]

    return undo


def _turned(convert: Callable[..., np.ndarray]) -> Undo:
    def undo(actions: np.ndarray, demonstration: Demonstration, spec: RobotSpec) -> np.ndarray:
        where = places(spec)
        if (*where.move, *where.turn) != tuple(range(6)) or not where.euler:
            return actions
        return convert(actions, demonstration.states[:, list(where.euler)], rotation_scale=RADIANS)

    return undo


MISTAKES: dict[str, Undo] = {
    # "the actions are ..." -> what undoes it
    "of the other gripper polarity": _mirrored(lambda p: () if p.gripper is None else (p.gripper,)),
    "in the tool's frame": _turned(tcp_to_world),
    "turned as if they were in the tool's frame": _turned(world_to_tcp),
    "ten times too large": _scaled(0.1),
    "ten times too small": _scaled(10.0),
    "with x and y exchanged": _ordered(lambda p: p.move, (1, 0, 2)),
    "with the angles in the order z, y, x": _ordered(lambda p: p.turn, (2, 1, 0)),
    "with the angles of the other sign": _mirrored(lambda p: p.turn),
    "stored one step late": _shifted(1),
    "stored one step early": _shifted(-1),
}


def _through_policy(env: Env, demonstration: Demonstration, collator: Collator) -> bool:
    """Every action is collated as a training sample with what is seen now, and decoded as a policy's answer is."""
    env.reset(demonstration.start)
    env.begin(demonstration.task)
    look = partial(env.observe, demonstration.instruction)
    return any(env.step(_there_and_back(collator, look(), action)) for action in demonstration.executed)


def _there_and_back(collator: Collator, observation: Observation, action: np.ndarray) -> np.ndarray:
    sample = Sample(observation=observation, actions=action[None, None], mask=np.ones((1, 1), bool))
    _, target = collator([sample])
    return collator.transforms.decode(target.actions[0, 0].numpy(), observation)[0]


def _repeat(env: Env, demonstration: Demonstration, actions: np.ndarray) -> bool:
    """Whether these actions succeed from the demonstration's start, without looking."""
    env.reset(demonstration.start)
    env.begin(demonstration.task)
    return any(env.step(action) for action in actions)


def _demonstration(env: Env, episode: LeRobotEpisode, config: PerformConfig, spec: RobotSpec) -> Demonstration | None:
    """None where the environment does not come back to the episode's start."""
    steps = np.arange(len(episode))
    states, labels = episode.states(steps), episode.actions(steps)
    start = _start(env, episode, states[0], config)
    if start is None:
        return None
    return Demonstration(
        name=f"episode {episode.row['episode_index']}",
        task=episode.task,
        start=start,
        instruction=episode.instructions[0],
        states=states,
        labels=labels,
        executed=executed(states, labels, spec),
    )


def _start(env: Env, episode: LeRobotEpisode, state: np.ndarray, config: PerformConfig) -> Start | None:
    """Which attempt of its job succeeded is not kept: the one that begins as the episode does."""
    for attempt in range(config.max_attempts):
        seed = attempt_seed(config.seed, int(episode.source["job"]), attempt)
        start = Start(seed, (episode.task,), str(episode.source["scene"]))
        env.reset(start)
        if np.allclose(env.observe("").state[0], state, rtol=0, atol=ALIKE):
            return start
    return None


def executed(states: np.ndarray, labels: np.ndarray, spec: RobotSpec) -> np.ndarray:
    """float32[n, A]: what was executed, as the next state tells; the labels where the state has no such entries."""
    names = [f"{PREVIOUS}{dimension.name}" for dimension in spec.action_space.dimensions]
    if not set(names) <= set(spec.state):
        return labels
    return np.concatenate([states[1:, [spec.state.index(name) for name in names]], labels[-1:]])


def _is_single(episode: LeRobotEpisode) -> bool:
    """Began with a reset of its own: not part of a chain."""
    return episode.source.get("chain") is False


def new_collator(spec: RobotSpec) -> Collator:
    """That of a policy with the default recipe."""
    recipe = Experiment(data=DataConfig(cameras=tuple(camera.name for camera in spec.cameras)))
    return recipe.build(spec, make_transforms(recipe, (), spec), pretrained=False).collator
