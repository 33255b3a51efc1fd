"""The loop, its checkpoints and its resume, on a tiny policy and random data."""

import itertools
import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.tiny import SMALL
from tests.toy import SPEC, WORDINGS, Toy, ToyConfig
from volition.backbones import TinyPaliGemma
from volition.backbones.images import Augmentation
from volition.config import DataConfig, Experiment, WindowConfig, dump
from volition.heads import LSTMHeadConfig
from volition.records import Start
from volition.studies.same_recipe import require_same_recipe
from volition.studies.training import load_policy, run_training_on
from volition.training import checkpoint as checkpoints
from volition.training import writing
from volition.training.metrics import read_metrics
from volition.training.optim import OptimConfig, make_optimizer
from volition.training.recompute import RecomputeConfig
from volition.training.train import LoopConfig, NotFiniteError, Trainer, train

EXPERIMENT = Experiment(
    data=DataConfig(cameras=("base",)),
    window=WindowConfig(num_obs_steps=2, obs_stride=1, action_horizon=3, replan_steps=1),
    backbone=TinyPaliGemma(**SMALL),
    head=LSTMHeadConfig(hidden=32),
    loop=LoopConfig(
        num_steps=12,
        batch_size=4,
        log_every=2,
        save_every=4,
        keep_last=3,
        augmentation=Augmentation(shift=0.05, brightness=0.1),
        optim=OptimConfig(warmup_steps=3),
    ),
)


class Recorded:
    """A demonstration of the toy world, in memory."""

    def __init__(self, seed: int, task: str = "reach_red"):
        env = Toy(ToyConfig(noise=0.1))
        env.reset(Start(seed=seed, tasks=(task,)))
        env.begin(task)
        self.task, self.instructions = task, env.instructions(task, "train")
        seen, labels = [], []
        for executed, label in env.demonstrate(task, np.random.default_rng(seed)):
            seen.append(env.observe(""))
            labels.append(label)
            if env.step(executed):
                break
        self._images = np.concatenate([o.images["base"] for o in seen])
        self._states = np.concatenate([o.state for o in seen])
        self._actions = np.stack(labels).astype(np.float32)

    def __len__(self) -> int:
        return len(self._actions)

    def images(self, steps: np.ndarray) -> dict[str, np.ndarray]:
        return {"base": self._images[steps]}

    def states(self, steps: np.ndarray) -> np.ndarray:
        return self._states[steps]

    def actions(self, steps: np.ndarray) -> np.ndarray:
        return self._actions[steps]


@pytest.fixture(scope="module")
def episodes() -> list[Recorded]:
    return [Recorded(seed, task) for seed in range(6) for task in ("reach_red", "reach_blue")]


def lasting(lines: list[dict[str, float | int]]) -> list[dict[str, float | int]]:
    return [{k: v for k, v in line.items() if not k.endswith(("_seconds", "_per_second", "_bytes"))} for line in lines]


def test_a_resumed_run_equals_the_uninterrupted_one(episodes, tmp_path) -> None:
    run_training_on(EXPERIMENT, episodes, SPEC, tmp_path / "whole")

    class StoppedError(Exception):
        pass

    def stop_at_ten(line) -> None:
        if line["step"] == 10:  # past the checkpoint of step 8
            raise StoppedError

    with pytest.raises(StoppedError):
        run_training_on(EXPERIMENT, episodes, SPEC, tmp_path / "cut", progress=stop_at_ten)
    assert checkpoints.resolve(tmp_path / "cut").name == "step_8"
    run_training_on(EXPERIMENT, episodes, SPEC, tmp_path / "cut", resume=True)

    whole, cut = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("whole", "cut"))
    assert [line["step"] for line in whole] == [2, 4, 6, 8, 10, 12]
    assert lasting(whole) == lasting(cut)
    weights = [(checkpoints.resolve(tmp_path / n) / "weights.safetensors").read_bytes() for n in ("whole", "cut")]
    assert weights[0] == weights[1]


def test_a_run_is_not_overwritten(episodes, tmp_path) -> None:
    short = replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, num_steps=4))
    run_training_on(short, episodes, SPEC, tmp_path)
    with pytest.raises(ValueError, match="already has step_4: pass --resume"):
        run_training_on(short, episodes, SPEC, tmp_path)


def test_resume_refuses_another_contract(episodes, tmp_path) -> None:
    short = replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, num_steps=4))
    run_training_on(short, episodes, SPEC, tmp_path)
    faster = replace(SPEC, control_hz=20.0)
    with pytest.raises(ValueError, match=r"robot\.control_hz: 10\.0 != 20\.0"):
        run_training_on(EXPERIMENT, episodes, faster, tmp_path, resume=True)


def test_a_loaded_policy_acts_as_the_trained_one(episodes, tmp_path) -> None:
    run_training_on(replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, num_steps=4)), episodes, SPEC, tmp_path)
    env = Toy()
    env.reset(Start(seed=1, tasks=("reach_red",)))
    observation = env.observe(WORDINGS["train"][0].format("red"))
    chunks = []
    for _ in range(2):
        policy, contract = load_policy(tmp_path)
        chunk, _ = policy.act([observation], policy.start(1))
        chunks.append(chunk)
    assert chunks[0].shape == (1, 3, 2)
    assert np.array_equal(chunks[0], chunks[1])
    assert contract.robot == SPEC
    assert contract.window == EXPERIMENT.window


def test_training_lowers_the_loss(episodes, tmp_path) -> None:
    optim = OptimConfig(lr=3e-3, backbone_lr=3e-3, warmup_steps=10)
    loop = LoopConfig(num_steps=150, log_every=10, save_every=150, batch_size=8, optim=optim)
    run_training_on(replace(EXPERIMENT, loop=loop), episodes[:2], SPEC, tmp_path)
    losses = [line["loss"] for line in read_metrics(tmp_path / "metrics.jsonl")]
    assert losses[-1] < 0.3 * losses[0]


def test_a_damaged_checkpoint_is_named(episodes, tmp_path) -> None:
    run_training_on(replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, num_steps=4)), episodes, SPEC, tmp_path)
    weights = checkpoints.resolve(tmp_path) / "weights.safetensors"
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    with pytest.raises(ValueError, match=r"weights\.safetensors is damaged"):
        load_policy(tmp_path)
    weights.unlink()
    with pytest.raises(ValueError, match=r"weights\.safetensors is missing"):
        load_policy(tmp_path)


def test_a_failing_save_leaves_the_last_good_checkpoint(episodes, tmp_path, monkeypatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    saved = itertools.count()

    def save_once(tensors, path, metadata=None, original=writing.save_file):
        return full() if next(saved) >= 2 else original(tensors, path, metadata=metadata)

    monkeypatch.setattr(writing, "save_file", save_once)
    with pytest.raises(OSError, match="No space left"):
        run_training_on(EXPERIMENT, episodes, SPEC, tmp_path)
    assert [p.name for p in (tmp_path / "checkpoints").iterdir()] == ["step_4"]
    checkpoints.verify(checkpoints.resolve(tmp_path))


def test_nan_stops_and_keeps_the_batch(episodes, tmp_path) -> None:
    class Poisoned(Recorded):
        def actions(self, steps: np.ndarray) -> np.ndarray:
            return super().actions(steps) * np.nan

    with pytest.raises(NotFiniteError, match="loss at step 1, or its gradient, is not finite"):
        run_training_on(EXPERIMENT, [Poisoned(0)], SPEC, tmp_path)
    assert (tmp_path / "not_finite_step_1.safetensors").exists()
    assert not checkpoints.list_checkpoints(tmp_path)


def test_resume_refuses_another_recipe(episodes, tmp_path) -> None:
    short = replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, num_steps=4))
    run_training_on(short, episodes, SPEC, tmp_path)
    other = replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, optim=OptimConfig(lr=5e-4, warmup_steps=3)))
    with pytest.raises(ValueError, match=r"differs in\s+loop\.optim\.lr: 0\.001 != 0\.0005"):
        run_training_on(other, episodes, SPEC, tmp_path, resume=True)
    shorter = replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, num_steps=2))
    with pytest.raises(ValueError, match=r"has done 4 steps already, and loop\.num_steps is 2"):
        run_training_on(shorter, episodes, SPEC, tmp_path, resume=True)


def test_a_field_that_came_later_had_its_default() -> None:
    now = dump(EXPERIMENT)
    before = json.loads(json.dumps(now))
    del before["loop"]["recompute"], before["loop"]["keep_last"], before["train"]
    require_same_recipe(before, now, Path("runs/old"))
    other = dump(replace(EXPERIMENT, loop=replace(EXPERIMENT.loop, recompute=RecomputeConfig(vision="layers"))))
    with pytest.raises(ValueError, match=r"differs in\s+loop\.recompute\.vision: 'nothing' != 'layers'"):
        require_same_recipe(before, other, Path("runs/old"))


def test_optimizer_groups(episodes) -> None:
    policy = EXPERIMENT.build(SPEC)
    config = OptimConfig(lr=1e-3, backbone_lr=1e-4, weight_decay=0.1)
    groups = make_optimizer(policy, config).param_groups
    found = {(g["lr"], g["weight_decay"]): {id(p) for p in g["params"]} for g in groups}
    new = policy.backbone.embedding.new
    assert id(new) in found[1e-3, 0.0]
    assert id(policy.head.lstm.weight_ih_l0) in found[1e-3, 0.1]
    assert id(policy.backbone.embedding.base.weight) in found[1e-4, 0.0]
    every = [p for group in groups for p in group["params"]]
    assert len(every) == len({id(p) for p in every}) == len(list(policy.parameters()))


def test_clipping_bounds_the_step(episodes) -> None:
    """With plain SGD, the weights move by no more than lr * max_grad_norm."""
    torch.manual_seed(0)
    policy = EXPERIMENT.build(SPEC)
    trainer = Trainer.create(policy, EXPERIMENT.loop)
    trainer.optimizer = torch.optim.SGD(policy.parameters(), lr=1.0)
    trainer.optimizer.param_groups[0]["base_lr"] = 1.0
    before = torch.cat([p.detach().flatten().clone() for p in policy.parameters()])
    loop = replace(
        EXPERIMENT.loop, num_steps=1, optim=OptimConfig(max_grad_norm=1e-3, warmup_steps=0, schedule="constant")
    )
    from volition.studies.training import make_batches

    (line,) = train(trainer, make_batches(EXPERIMENT, policy, episodes)[0], loop)
    after = torch.cat([p.detach().flatten() for p in policy.parameters()])
    assert line["grad_norm"] > 1e-3
    assert (after - before).norm().item() == pytest.approx(1e-3, rel=1e-2)


KILLED = """
import sys
from pathlib import Path
from tests.training.test_train import EXPERIMENT, Recorded
from tests.toy import SPEC
from volition.studies.training import run_training_on
episodes = [Recorded(seed, task) for seed in range(6) for task in ("reach_red", "reach_blue")]
run_training_on(EXPERIMENT, episodes, SPEC, Path(sys.argv[1]), resume=True,
                progress=lambda line: print(json.dumps(line), flush=True))
"""


@pytest.mark.slow
def test_killed_and_resumed(episodes, tmp_path) -> None:
    """kill -9 between two checkpoints, then resume in a new process: the metrics equal the uninterrupted run's."""
    command = [sys.executable, "-c", "import json\n" + KILLED, str(tmp_path / "cut")]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=root, env=environment) as process:
        assert process.stdout is not None
        for text in process.stdout:
            if json.loads(text)["step"] == 6:
                process.send_signal(signal.SIGKILL)
                break
    subprocess.run(command, check=True, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    command[-1] = str(tmp_path / "whole")
    subprocess.run(command, check=True, cwd=root, env=environment, stdout=subprocess.DEVNULL)
    cut, whole = (read_metrics(tmp_path / name / "metrics.jsonl") for name in ("cut", "whole"))
    assert lasting(cut) == lasting(whole)
    assert whole[-1]["step"] == 12
