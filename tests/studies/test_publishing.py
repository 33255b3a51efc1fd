"""A policy as one folder: it acts as the run's does, and its card says what it is for."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.test_cli import volition
from tests.toy import SPEC, WORDINGS, Toy
from tests.training.test_train import EXPERIMENT, Recorded
from volition.records import Start
from volition.studies.publishing import export_policy, from_pretrained
from volition.studies.training import load_policy, run_training_on


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("publish") / "reacher"
    loop = replace(EXPERIMENT.loop, num_steps=4, ema_decay=0.5)
    experiment = replace(EXPERIMENT, data=replace(EXPERIMENT.data, held_out=0.2), loop=loop)
    episodes = [Recorded(seed, task) for seed in range(6) for task in ("reach_red", "reach_blue")]
    run_training_on(experiment, episodes, SPEC, folder)
    (folder / "eval").mkdir()
    score = {"success_rate": 0.75, "success_interval": [0.6, 0.9], "num_episodes": 20}
    (folder / "eval" / "toy.json").write_text(json.dumps(score))  # as the demo leaves it
    words = ("--env", "tests.toy:ToyConfig", "--starts", "1", "--max-steps", "3", "--workers", "0", "--films", "0")
    assert volition("eval", folder, *words) == 0
    return folder


def test_the_exported_policy_acts_as_the_runs(run: Path, tmp_path: Path) -> None:
    folder = export_policy(run, tmp_path / "out")
    assert {path.name for path in folder.iterdir()} == {
        *("weights.safetensors", "config.json", "contract.json", "trainer.json", "manifest.json", "README.md"),
    }
    env = Toy()
    env.reset(Start(seed=1, tasks=("reach_red",)))
    seen = env.observe(WORDINGS["train"][0].format("red"))
    chunks = [policy.act([seen], policy.start(1))[0] for policy, _ in (load_policy(run), from_pretrained(str(folder)))]
    assert np.array_equal(*chunks)


def test_the_card_says_what_it_is_for_and_how_well_it_does(run: Path, tmp_path: Path) -> None:
    card = (export_policy(run, tmp_path / "out") / "README.md").read_text()
    for text in (
        "library_name: volition",
        "# reacher",
        "| x | 0.2 | -1 to 1 | continuous |",
        "base (28 x 28)",
        "10 Hz",
    ):
        assert text in card
    assert "toy: 75% (60% to 90%, 20 episodes, closed-loop)" in card
    assert re.search(r"\n- ToyConfig-starts-1-\w+: 0% \(0% to \d+%, 2 episodes, closed-loop\)", card)
    assert "validation loss" in card


def test_nothing_is_overwritten_and_a_name_that_is_none_is_said(run: Path, tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("precious")
    with pytest.raises(ValueError, match="must be a new or empty folder"):
        export_policy(run, tmp_path)
    with pytest.raises(ValueError, match="must be a folder with a policy, or the name of one on the hub"):
        from_pretrained("nobody/there-is-none")
