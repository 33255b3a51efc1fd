"""`volition verify` names what was damaged on purpose, that and nothing else, and has no complaint about good data."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from tests.data.formats import calvin as calvin_format
from volition.contract import RobotSpec
from volition.data.cache import CachedEpisode
from volition.data.checks.finding import Finding
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_episodes, load_spec
from volition.data.record import RecordConfig, record
from volition.data.spec import UNKNOWN
from volition.data.verify import CHECKS, verify, verify_episodes
from volition.envs.desk.environment import DeskConfig, DeskEnv
from volition.geometry import world_to_tcp
from volition.records import Episode

TASKS = ("open_drawer", "lift_red_block_table", "move_slider_left", "push_blue_block_right", "rotate_red_block_left")
NAMES = (
    *("readable", "numbers", "action range", "instructions", "duplicates", "frozen frames", "torn episodes"),
    *("stillness", "control rate", "action axes", "action scale", "rotation", "action lag", "gripper", "cameras"),
)


@dataclass(frozen=True, kw_only=True)
class Timed(CachedEpisode):
    """Also says when its frames were taken."""

    hz: float
    lost: tuple[int, ...] = ()  # frames after which one was lost

    def times(self, steps: np.ndarray) -> np.ndarray:
        late = (np.asarray(steps)[:, None] > np.array(self.lost, int)).sum(1)
        return (np.asarray(steps) + late) / self.hz


Data = tuple[list[CachedEpisode], RobotSpec]


def keep(path: Path) -> Data:
    """A dataset in memory, to be damaged."""
    kept = []
    for episode in load_episodes(path):
        steps = np.arange(len(episode))
        states, actions = episode.states(steps), episode.actions(steps)
        kept.append(keep_one(episode, states, actions, episode.images(steps)))
    return kept, load_spec(path)


def keep_one(e: Episode, states: np.ndarray, actions: np.ndarray, frames: dict[str, np.ndarray]) -> CachedEpisode:
    return CachedEpisode(
        task=e.task, instructions=e.instructions, all_states=states, all_actions=actions, frames=frames
    )


def take(e: CachedEpisode, steps: np.ndarray) -> CachedEpisode:
    return keep_one(e, e.states(steps), e.actions(steps), e.images(steps))


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Recorded as `volition record` does it, noise included."""
    root = tmp_path_factory.mktemp("desk") / "d"
    env = DeskConfig(image_sizes={"static": (48, 48), "gripper": (48, 48)})
    config = RecordConfig(
        tasks=TASKS, episodes_per_task=2, scenes=("A", "B"), storage=LeRobotConfig(images="png"), workers=0
    )
    record(lambda: DeskEnv(env), config, root)
    return keep(root)


@pytest.fixture(scope="module")
def calvin(calvin_mini: Path) -> Data:
    return keep(calvin_mini)


@pytest.fixture(scope="module", params=["desk", "calvin"])
def good(request: pytest.FixtureRequest) -> Data:
    return request.getfixturevalue(request.param)


def complaints(data: Data) -> dict[str, Finding]:
    return {finding.name: finding for finding in verify_episodes(*data) if finding.level in ("warning", "error")}


def test_there_is_one_finding_a_check_and_none_is_bad(good: Data) -> None:
    findings = verify_episodes(*good)
    assert tuple(finding.name for finding in findings) == NAMES
    assert len(findings) == len(CHECKS)
    assert [finding for finding in findings if finding.level in ("warning", "error")] == []
    notes = {finding.name for finding in findings if finding.level == "note"}
    assert notes <= {"control rate"}  # neither dataset says its times through this wrapper


def actions(change: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[[Data], Data]:
    """Every episode's actions changed: float[n, A], float[n, S] -> float[n, A]."""

    def damage(data: Data) -> Data:
        episodes, spec = data
        return [replace(e, all_actions=change(e.all_actions, e.all_states).astype(np.float32)) for e in episodes], spec

    return damage


def one(change: Callable[[CachedEpisode], CachedEpisode], number: int = 2) -> Callable[[Data], Data]:
    def damage(data: Data) -> Data:
        episodes, spec = data
        return [change(e) if i == number else e for i, e in enumerate(episodes)], spec

    return damage


def mirrored(*columns: int) -> np.ndarray:
    signs = np.ones(7)
    signs[list(columns)] = -1
    return signs


def in_tcp_frame(told: np.ndarray, seen: np.ndarray) -> np.ndarray:
    return np.clip(world_to_tcp(told, seen[:, 3:6], rotation_scale=0.05), -1, 1)


def shifted(steps: int) -> Callable[[np.ndarray, np.ndarray], np.ndarray]:
    return lambda told, seen: told[np.clip(np.arange(len(told)) + steps, 0, len(told) - 1)]


def exchange(e: CachedEpisode) -> CachedEpisode:
    static, gripper = e.frames.values()
    size = min(len(static[0]), len(gripper[0]))
    return replace(e, frames={"static": gripper[:, :size, :size], "gripper": static[:, :size, :size]})


def with_nan(e: CachedEpisode) -> CachedEpisode:
    seen = e.all_states.copy()
    seen[5, 1] = np.nan
    return replace(e, all_states=seen)


def doubled(data: Data) -> Data:
    episodes, spec = data
    return [take(e, np.repeat(np.arange(len(e)), 2)) for e in episodes], spec


def joined(first: CachedEpisode, second: CachedEpisode) -> CachedEpisode:
    both = {name: np.concatenate([x, second.frames[name]]) for name, x in first.frames.items()}
    states = np.concatenate([first.all_states, second.all_states])
    return replace(
        first, frames=both, all_states=states, all_actions=np.concatenate([first.all_actions, second.all_actions])
    )


def torn(data: Data) -> Data:
    """One episode goes on with the second half of another, as after a crash of the recorder."""
    episodes, spec = data
    return [joined(take(episodes[0], np.arange(12)), take(episodes[3], np.arange(18, 30))), *episodes[1:]], spec


def pause(e: CachedEpisode) -> CachedEpisode:
    """Three seconds in which nothing is told and the state only trembles."""
    rest = np.arange(10, 100)
    longer = take(e, np.concatenate([np.arange(10), np.full(len(rest), 10), np.arange(10, len(e))]))
    states, actions = longer.all_states.copy(), longer.all_actions.copy()
    states[rest] += np.random.default_rng(0).normal(0, 1e-6, states[rest].shape).astype(np.float32)
    actions[rest, :6] = 0
    return replace(longer, all_states=states, all_actions=actions)


DAMAGES: dict[str, tuple[Callable[[Data], Data], set[str], set[str]]] = {
    # what was done: how, what must be named, what may be as well because it really is another symptom
    "gripper sign": (actions(lambda a, s: a * mirrored(6)), {"gripper"}, set()),
    "stored one step late": (actions(shifted(-1)), {"action lag"}, set()),
    "stored one step early": (actions(shifted(1)), {"action lag"}, set()),
    "x and y swapped": (actions(lambda a, s: a[:, [1, 0, 2, 3, 4, 5, 6]]), {"action axes"}, set()),
    "y mirrored": (actions(lambda a, s: a * mirrored(1)), {"action axes"}, set()),
    "angles mirrored": (actions(lambda a, s: a * mirrored(3, 4, 5)), {"rotation"}, set()),
    "tcp frame": (actions(in_tcp_frame), {"action axes"}, {"rotation"}),
    "ten times": (
        actions(lambda a, s: a * np.array([10.0] * 6 + [1])),
        {"action range", "action scale", "rotation"},
        set(),
    ),
    "a tenth": (actions(lambda a, s: a * np.array([0.1] * 6 + [1])), {"action scale", "rotation"}, set()),
    "gripper 0 and 1": (actions(lambda a, s: np.where(np.arange(7) == 6, a > 0, a)), {"action range"}, set()),
    "cameras exchanged once": (one(exchange), {"cameras"}, set()),
    "cameras exchanged everywhere": (lambda d: ([exchange(e) for e in d[0]], d[1]), {"cameras"}, set()),
    "a black camera": (
        one(lambda e: replace(e, frames=e.frames | {"gripper": np.zeros_like(e.frames["gripper"])})),
        {"cameras"},
        set(),
    ),
    "a camera that hangs": (
        one(lambda e: replace(e, frames=e.frames | {"static": np.repeat(e.frames["static"][:1], len(e), axis=0)})),
        {"cameras"},
        set(),
    ),
    "one camera twice": (
        one(lambda e: replace(e, frames=dict.fromkeys(e.frames, e.frames["static"]))),
        {"cameras"},
        set(),
    ),
    "frames doubled": (doubled, {"frozen frames"}, {"action scale", "rotation", "action lag"}),
    "torn": (torn, {"torn episodes"}, set()),
    "an episode twice": (lambda d: ([*d[0], d[0][1]], d[1]), {"duplicates"}, set()),
    "nan": (one(with_nan), {"numbers"}, set()),
    "no instruction": (one(lambda e: replace(e, instructions=(" ",))), {"instructions"}, set()),
    "a long pause": (one(pause), {"stillness"}, {"frozen frames"}),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_the_damage_is_named_and_nothing_else(good: Data, name: str) -> None:
    damage, must, may = DAMAGES[name]
    found = complaints(damage(good))
    assert must <= found.keys() <= must | may, {n: f.said for n, f in found.items()}
    assert all(finding.fix for finding in found.values())


def test_frames_at_another_rate_and_lost_ones_are_named(desk: Data) -> None:
    episodes, spec = desk

    def timed(hz: float, lost: tuple[int, ...]) -> Finding:
        found = [Timed(**vars(e), hz=hz, lost=lost if i == 1 else ()) for i, e in enumerate(episodes)]
        return next(finding for finding in verify_episodes(found, spec) if finding.name == "control rate")

    assert timed(30.0, ()).level == "ok"
    assert "frames come at 15 Hz, the contract says 30 Hz" in timed(15.0, ()).said
    lost = timed(30.0, (7,))
    assert (lost.level, lost.said.endswith("in episode 1")) == ("error", True)


def test_what_a_dataset_does_not_say_is_inferred(calvin: Data) -> None:
    episodes, spec = calvin
    silent = tuple(replace(d, unit=UNKNOWN) for d in spec.action_space.dimensions)
    space = replace(spec.action_space, dimensions=silent, frame=UNKNOWN, rotation=UNKNOWN)
    found = {finding.name: finding for finding in verify_episodes(episodes, replace(spec, action_space=space))}
    assert "(x, y, z) in the world frame" in found["action axes"].said
    assert "0.01" in found["action scale"].said
    assert "increments of the Euler angles" in found["rotation"].said
    assert {found[name].level for name in ("action axes", "action scale", "rotation")} == {"note"}


def test_numbers_without_names_are_left_alone(calvin: Data) -> None:
    episodes, spec = calvin
    dimensions = tuple(replace(d, name=str(i)) for i, d in enumerate(spec.action_space.dimensions))
    nameless = replace(spec, action_space=replace(spec.action_space, dimensions=dimensions))
    found = {finding.name: finding.level for finding in verify_episodes(episodes, nameless)}
    motion = ("action axes", "action scale", "rotation", "action lag", "gripper")
    assert {found[name] for name in motion} == {"note"}


def test_an_episode_that_cannot_be_read_is_named_and_the_others_are_checked(tmp_path: Path) -> None:
    root = calvin_format.make(tmp_path)
    (root / "episode_0000004.npz").write_bytes(b"no")
    findings = {finding.name: finding for finding in verify(root)}
    assert findings["readable"].level == "error"
    assert "episode 0: " in findings["readable"].said
    assert "episode_0000004.npz" in findings["readable"].said
    assert findings.keys() == set(NAMES)


def test_nothing_to_read_is_no_crash(tmp_path: Path) -> None:
    root = calvin_format.make(tmp_path)
    for path in root.glob("*.npz"):
        path.write_bytes(b"no")
    assert [finding.level for finding in verify(root)] == ["error", "ok"]


def test_only_some_are_looked_at_when_told(calvin: Data) -> None:
    said = verify_episodes(*calvin, max_episodes=5, max_pictured=2)[0].said
    assert said.startswith("5 of 12 episodes read")
    assert said.endswith("pictures of 2")
    with pytest.raises(ValueError, match="max_episodes"):
        verify_episodes(*calvin, max_episodes=0)
