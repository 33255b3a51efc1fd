"""What the table of probes says of policies whose habits are known."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.evaluation.worlds import Lazy, RestlessConfig, Seeker, WatchedConfig
from tests.toy import SIZE, SPEC, TASKS, Toy, ToyConfig
from volition.config import Contract, DataConfig, Experiment, WindowConfig
from volition.data.transforms import BlackOut, Chain, Deafen
from volition.envs.calvin.config import CalvinSimConfig
from volition.envs.desk.environment import DeskConfig
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import task_trials
from volition.records import Observation, Start
from volition.studies import eval_subject, probing
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_subject import Subject
from volition.studies.eval_text import lines
from volition.studies.training import make_transforms

Config = EvalConfig[Any]


def subject(actor: Seeker, path: Path, *transforms: Any) -> Subject:
    """An actor in a checkpoint's place, trained with these transforms."""
    contract = Contract(robot=SPEC, window=WindowConfig(num_obs_steps=1), transforms=Chain(transforms=transforms))
    return Subject(path=path, policy=actor, contract=contract, cameras=("base",))


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    monkeypatch.setattr(eval_subject, "checkpoint_hash", lambda path: str(path))
    monkeypatch.setattr(eval_subject, "run_folder", lambda path: tmp_path / path)
    return EvalConfig(
        checkpoint=Path("x"), environment=WatchedConfig(), env="toy", probes=True, starts=6, workers=0, max_steps=20
    )


def quiet(phase: str, share: float, text: str) -> None:
    pass


def test_a_policy_that_looks_and_listens(config: Config) -> None:
    config = replace(config, starts=12)
    found = probing.probe(config, subject(Seeker(horizon=6), Path("seeker")), config.environment, quiet)
    rows = {row["name"]: row for row in found["rows"]}
    assert list(rows) == [
        "undisturbed", "nothing said", "said as in training", "base camera black", "noisy pictures", "darker pictures",
        "brighter pictures", "pictures shifted by 5 %", "noisy actions", "actions 2 steps late",
    ]  # fmt: skip
    assert rows["undisturbed"]["success_rate"] == 1.0
    assert rows["base camera black"]["success_rate"] == 0.0
    assert rows["base camera black"]["change"]["difference"] == -1.0
    assert found["swap"]["commanded_rate"] == 1.0
    assert found["swap"]["original_rate"] == 0.0
    assert "it uses the base camera: -100 points without" in found["uses"]
    assert any(sentence.startswith("it uses the instruction: -50 points") for sentence in found["uses"])
    # Told nothing, it goes to the blue square: that task shows nothing of listening.
    assert [(row["task"], row["needs_no"]) for row in found["prove_nothing"]] == [("reach_blue", "listening")]
    assert found["tasks"]["reach_red"]["nothing said"]["success_rate"] == 0.0
    text = "\n".join(lines({"probes": found}))
    assert "base camera black" in text
    html = Path(found["page"]).read_text(encoding="utf-8")
    assert text.endswith(f"page: {found['page']}")
    assert "it uses the base camera: -100 points without" in html
    assert html.count('class="row') == 1 + len(rows) + 1  # the scale, the rows, a task that proves nothing
    assert "reach_blue needs no listening" in text


def test_with_one_camera_its_blackness_stands_for_the_blind_twin() -> None:
    trials = task_trials(TASKS, num_starts=2, first_seed=0)
    solved = evaluate(Seeker(horizon=1), ToyConfig(), trials, RolloutConfig(num_workers=0, slots_per_worker=4, batch=4))
    found = list(probing.prove_nothing({"undisturbed": solved, "base camera black": solved}))
    assert [(row["task"], row["needs_no"], row["shown_by"]) for row in found] == [
        (task, "seeing", "base camera black") for task in TASKS
    ]
    two = {"left camera black": solved, "right camera black": solved}
    assert not list(probing.prove_nothing(two)), "the other eye was open"


def test_twins_are_rows_and_say_what_proves_nothing(config: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    twins = {
        "blind": subject(Lazy(horizon=6), Path("blind"), BlackOut()),
        "deaf": subject(Seeker(horizon=6, deaf=True), Path("deaf"), Deafen()),
    }
    monkeypatch.setattr(Subject, "load", lambda path, config: twins[path.name])
    config = replace(config, blind_twin=Path("blind"), deaf_twin=Path("deaf"))
    found = probing.probe(config, subject(Seeker(horizon=6), Path("seeker")), config.environment, quiet)
    rows = {row["name"]: row for row in found["rows"]}
    assert (rows["blind twin"]["success_rate"], rows["deaf twin"]["success_rate"]) == (0.0, 0.5)
    assert [(row["task"], row["shown_by"]) for row in found["prove_nothing"]] == [("reach_red", "deaf twin")]
    with pytest.raises(ValueError, match=r"deaf is no blind twin: train one with the same recipe and --data\.blind"):
        probing.probe(replace(config, blind_twin=Path("deaf")), subject(Seeker(), Path("s")), config.environment, quiet)


def test_a_deaf_twin_is_trained_without_words_and_says_so(tmp_path: Path) -> None:
    recipe = Experiment(
        data=DataConfig(cameras=("base",), deaf=True), window=WindowConfig(num_obs_steps=1, obs_stride=5)
    )
    transforms = make_transforms(recipe, (), SPEC)
    collator = recipe.build(SPEC, transforms, pretrained=False).collator
    env = Toy()
    env.reset(Start(3, ("reach_red",)))
    one, other = (collator.batch([env.observe(text)]).inputs for text in ("go to the red square", "stop"))
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)
    assert subject(Seeker(), tmp_path, *transforms.transforms).senses() == (True, False)


def test_only_what_the_policy_looks_at_is_drawn(tmp_path: Path) -> None:
    seeker = subject(Seeker(), tmp_path)
    for desk in (DeskConfig(), CalvinSimConfig(image_sizes={"static": (20, 30), "gripper": (9, 9)})):
        contract = Contract(robot=desk.spec, window=WindowConfig(num_obs_steps=1), transforms=Chain())
        one = replace(seeker, contract=contract, cameras=("gripper",))
        assert one.fit(desk).spec.image_sizes == {"gripper": desk.spec.image_sizes["gripper"]}
        assert replace(one, cameras=("static", "gripper")).fit(desk) == desk
        with pytest.raises(ValueError, match="tcp"):
            replace(one, contract=replace(contract, robot=replace(desk.spec, state=()), convention="")).fit(desk)
    assert replace(seeker, cameras=()).fit(ToyConfig()) == ToyConfig(), "it always draws its one camera"


def test_what_an_environment_cannot_say_leaves_its_row_empty(config: Config, tmp_path: Path) -> None:
    config = replace(config, environment=RestlessConfig(), workers=1, starts=1)
    found = probing.probe(config, subject(Lazy(horizon=6), Path("lazy")), config.environment, quiet)
    empty = [row for row in found["rows"] if "error" in row]
    assert [row["name"] for row in empty] == ["actions 2 steps late"]
    assert "no method `rest() -> action`" in empty[0]["error"]
    assert found["swap"] is None
    text = "\n".join(lines({"probes": found}))
    assert "could not be tried: the environment does not say how its robot waits" in text
    assert "whether it does what it is told could not be tried" in text
    assert not list(tmp_path.rglob("*-late-*")), "what cannot be tried is not run"


@dataclass(frozen=True, kw_only=True)
class MovableConfig(WatchedConfig):
    """Its camera can be where it sees nothing of the squares."""

    away: bool = False

    def make(self) -> Toy:
        made = super().make()
        if self.away:
            made._draw = lambda scale: np.full((SIZE * scale, SIZE * scale, 3), 200, np.uint8)  # type: ignore[method-assign]
        return made

    def camera_moved(self) -> tuple[str, MovableConfig]:
        return "camera turned away", replace(self, away=True)


def test_an_environment_that_can_move_its_camera_is_tried_with_it_there(config: Config) -> None:
    config = replace(config, environment=MovableConfig())
    found = probing.probe(config, subject(Seeker(horizon=6), Path("seeker")), config.environment, quiet)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["undisturbed"]["success_rate"] == 1.0
    assert rows["camera turned away"]["success_rate"] == 0.0
    assert rows["camera turned away"]["change"]["num_pairs"] == 12, "the same starts"


class FewWords(Toy):
    """Has so many sentences for validation, the first of which is all there is for training."""

    def __init__(self, count: int):
        super().__init__()
        self.count = count

    def instructions(self, task: str, split: str) -> tuple[str, ...]:
        colour = task.removeprefix("reach_")
        return tuple(f"{colour} {i}" for i in range(self.count if split == "validation" else 1))


@dataclass(frozen=True, kw_only=True)
class FewWordsConfig(ToyConfig):
    count: int = 1

    def make(self) -> Toy:
        return FewWords(self.count)


class LostForWords(Seeker):
    """Knows the first wordings alone."""

    def _chunk(self, observation: Observation) -> np.ndarray:
        return super()._chunk(observation) * (np.nan if observation.instruction.endswith("1") else 1.0)


def test_without_another_wording_nothing_is_said_in_other_words(config: Config, tmp_path: Path) -> None:
    config = replace(config, environment=FewWordsConfig(), starts=1)
    found = probing.probe(config, subject(Seeker(horizon=6), Path("seeker")), config.environment, quiet)
    row = next(row for row in found["rows"] if row["name"] == "said in other words")
    assert row["error"] == "the environment has no other wording"
    assert "the environment has no other wording" in Path(found["page"]).read_text(encoding="utf-8")
    assert not list(tmp_path.rglob("*-said-in-*")), "nothing is run for it"


def test_a_wording_that_breaks_every_episode_keeps_its_row(config: Config) -> None:
    config = replace(config, environment=FewWordsConfig(count=2), starts=1)
    found = probing.probe(config, subject(LostForWords(horizon=6), Path("lost")), config.environment, quiet)
    rows = {row["name"]: row for row in found["rows"]}
    assert rows["undisturbed"]["success_rate"] == 1.0
    assert "actions must be finite" in rows["said in other words"]["error"]
