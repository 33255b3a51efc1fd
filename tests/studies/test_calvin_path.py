"""The whole path on data that our own simulator did not make: CALVIN's format, recorded in the real simulator."""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.tiny import SMALL
from volition.backbones import TinyPaliGemma
from volition.data.calvin import SPEC
from volition.envs.desk.environment import DeskConfig
from volition.heads import ActionLoss, LSTMHeadConfig
from volition.recipes import calvin
from volition.studies.evaluating import EvalConfig, evaluate_checkpoint
from volition.studies.training import run_training
from volition.training.metrics import read_metrics
from volition.training.optim import OptimConfig

MINI = Path(__file__).parents[3] / "shared" / "data" / "calvin_mini" / "training"
pytestmark = pytest.mark.skipif(not MINI.exists(), reason="shared/data/calvin_mini does not lie beside this checkout")


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("calvin")
    base = calvin()
    experiment = replace(
        base,
        data=replace(base.data, path=str(MINI), state=SPEC.state[:7]),
        backbone=TinyPaliGemma(**SMALL),
        head=LSTMHeadConfig(hidden=64, loss=ActionLoss(kind="l1", binary_weight=0.1)),
        loop=replace(
            base.loop, num_steps=200, batch_size=8, log_every=10, save_every=200,
            optim=OptimConfig(lr=3e-3, backbone_lr=3e-3, warmup_steps=10),
        ),
    )  # fmt: skip
    run_training(experiment, folder)
    return folder


def test_training_on_it_lowers_the_loss(run: Path) -> None:
    losses = [line["loss"] for line in read_metrics(run / "metrics.jsonl")]
    assert losses[-1] < 0.8 * losses[0]


def test_offline_evaluation_beats_a_constant_answer(run: Path) -> None:
    score = evaluate_checkpoint(EvalConfig(checkpoint=run, environment=DeskConfig(), offline=MINI))["offline"]
    assert score["num_episodes"] == 12
    # Turns are rare in these segments: a constant 0 is hard to beat there, in so short a training.
    moves = [(score["mae"][axis]["value"], score["constant_mae"][axis]) for axis in "xyz"]
    assert sum(mae for mae, _ in moves) < 0.9 * sum(constant for _, constant in moves), moves
    assert score["accuracy"]["gripper"]["value"] >= score["constant_accuracy"]["gripper"]


def test_it_is_not_taken_for_a_policy_of_the_desk(run: Path) -> None:
    """CALVIN's state and cameras are not the desk's: the difference is printed, nothing moves."""
    with pytest.raises(ValueError, match="must agree on what actions and observations mean"):
        evaluate_checkpoint(EvalConfig(checkpoint=run, environment=DeskConfig(), starts=1))
