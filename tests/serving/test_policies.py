"""Real policies behind the server: memories do not mix, confidence is told, and a checkpoint is served by the verb."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.tiny import LSTM, MLP, SMALL
from volition.backbones import TinyPaliGemma
from volition.config import Contract, DataConfig, Experiment, WindowConfig, dump
from volition.contract import Camera, RobotSpec, relative_arm_7d
from volition.data.transforms import Chain
from volition.heads import EnsembleHeadConfig
from volition.policy import Policy
from volition.records import Confident, Observation
from volition.serving.batching import warm_up_observations
from volition.serving.config import ServeConfig
from volition.serving.served import Served
from volition.serving.server import background
from volition.studies.serving import load_served
from volition.training.train import LoopConfig, Trainer
from volition.training.writing import save
from volition_client import ChunkBroker, Client

SIZE = 32
ROBOT = RobotSpec(
    action_space=relative_arm_7d(),
    cameras=(Camera(name="static", height=SIZE, width=SIZE), Camera(name="gripper", height=SIZE, width=SIZE)),
    state=("x",),
    control_hz=30.0,
)
WINDOW = WindowConfig(num_obs_steps=3, obs_stride=2, replan_steps=2, action_horizon=4)
RECURRENT = Experiment(window=WINDOW, backbone=TinyPaliGemma(**SMALL), head=LSTM, data=DataConfig())
ENSEMBLE = Experiment(window=WINDOW, backbone=TinyPaliGemma(**SMALL), head=EnsembleHeadConfig(members=(MLP, LSTM)))
PROMPTS = ("open the drawer", "push the blue block over to the left side of the table", "lift it")


def build(experiment: Experiment) -> Policy:
    torch.manual_seed(0)
    policy = experiment.build(ROBOT)
    for parameter in policy.parameters():
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.1)
    return policy.eval()


def serve(policy: Policy) -> Served:
    return Served(
        actor=policy, robot=ROBOT, action_horizon=4, replan_steps=2, contract=ROBOT, memory="one", name="tiny/step_0"
    )


def look(seed: int, prompt: str) -> dict[str, Any]:
    rng = np.random.default_rng(seed)
    images = {f"observation/{c}": rng.integers(0, 256, (SIZE, SIZE, 3), dtype=np.uint8) for c in ("static", "gripper")}
    return {**images, "observation/state": np.zeros(1, np.float32), "prompt": prompt}


def in_process(policy: Policy, messages: list[dict[str, Any]]) -> list[np.ndarray]:
    (state,) = policy.start(1)
    answers = []
    for message in messages:
        images = {c: message[f"observation/{c}"][None] for c in ("static", "gripper")}
        chunks, (state,) = policy.act([Observation(images, np.zeros((1, 1), np.float32), message["prompt"])], [state])
        answers.append(chunks[0])
    return answers


def drive(policy: Policy, streams: list[list[dict[str, Any]]], config: ServeConfig) -> tuple[list[Any], float]:
    """What every stream is answered when all are sent at once, and the mean rows of a call."""
    answers: list[Any] = [None] * len(streams)

    def one(i: int) -> None:
        with Client(running.addresses.websocket, patience=60, request_seconds=60) as client:
            answers[i] = [client.infer(message)["actions"] for message in streams[i]]

    with background(serve(policy), config) as running:
        threads = [threading.Thread(target=one, args=(i,)) for i in range(len(streams))]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        rows = running.server.service.metrics.rows
        return answers, sum(map(len, streams)) / rows.count


@pytest.mark.slow
def test_robots_served_together_are_answered_as_robots_served_alone() -> None:
    policy = build(RECURRENT)
    streams = [[look(50 * i + k, PROMPTS[i % 3]) for k in range(5)] for i in range(6)]
    free, rows = drive(policy, streams, ServeConfig(port=0, request_seconds=60.0))
    assert rows > 1.2, "nothing was batched, so nothing was tested"
    for stream, given in zip(streams, free):
        assert np.allclose(np.stack(given), np.stack(in_process(policy, stream)), rtol=0, atol=1e-5)
    fixed = ServeConfig(port=0, request_seconds=60.0, fixed_batch=True, max_batch=4)
    together, _ = drive(policy, streams, fixed)
    for stream, given in zip(streams, together):
        (alone,), _ = drive(policy, [stream], fixed)
        assert np.array_equal(np.stack(given), np.stack(alone))
    answers = np.stack(in_process(policy, streams[0]))
    again = np.stack([in_process(policy, [message])[0] for message in streams[0]])
    assert not np.allclose(answers[1:], again[1:], atol=1e-4), "the policy has no memory to mix up"


def test_the_members_of_a_policy_say_how_sure_they_are_and_the_broker_asks_sooner() -> None:
    policy = build(ENSEMBLE)
    message = look(1, PROMPTS[0])
    images = {c: message[f"observation/{c}"][None] for c in ("static", "gripper")}
    observation = Observation(images, np.zeros((1, 1), np.float32), message["prompt"])
    _, (state,) = policy.act([observation], policy.start(1))
    assert isinstance(state, Confident)
    sure = state.confidence
    assert sure is not None
    assert sure.shape == (4,)
    assert ((sure >= 0) & (sure <= 1)).all()
    with background(serve(policy), ServeConfig(port=0)) as running, Client(running.addresses.websocket) as client:
        assert np.allclose(client.infer(message)["confidence"], sure, atol=1e-5)
        careful = ChunkBroker(client, replan_steps=2, least_confidence=1.0)
        for _ in range(3):
            careful.act(message)
        assert careful.early == 3
    alone = build(RECURRENT)
    _, (silent,) = alone.act([observation], alone.start(1))
    assert silent.confidence is None


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("run")
    policy = build(RECURRENT)
    contract = Contract(robot=ROBOT, window=WINDOW, transforms=Chain())
    documents = {"config.json": dump(RECURRENT), "contract.json": dump(contract)}
    save(folder, Trainer.create(policy, LoopConfig()), documents, keep_last=1)
    return folder


@pytest.mark.slow
def test_the_verb_serves_a_checkpoint_records_and_replays(run: Path, tmp_path: Path) -> None:
    said = tmp_path / "address.json"
    paths = os.pathsep.join(path or os.getcwd() for path in sys.path)
    volition = [sys.executable, "-c", "from volition.cli import main; main()", "serve", str(run)]
    environment = {**os.environ, "PYTHONPATH": paths}
    recorded = ["--record", str(tmp_path / "requests")]
    process = subprocess.Popen([*volition, "--port", "0", "--json", str(said), *recorded], env=environment)
    try:
        deadline = time.monotonic() + 200
        while not (said.exists() and said.read_text().endswith("}\n")):
            assert process.poll() is None
            assert time.monotonic() < deadline
            time.sleep(0.05)
        messages = [look(seed, PROMPTS[0]) for seed in range(3)]
        with Client(json.loads(said.read_text())["websocket"], patience=60, request_seconds=60) as client:
            answers = [client.infer(message)["actions"] for message in messages]
            assert client.metadata["policy"] == f"{run.name}/step_0"
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
    assert np.allclose(np.stack(answers), np.stack(in_process(build(RECURRENT), messages)), rtol=0, atol=1e-5)
    found = tmp_path / "replay.json"
    replayed = [*volition, "--replay", str(tmp_path / "requests"), "--json", str(found)]
    assert subprocess.run(replayed, env=environment, timeout=200).returncode == 0
    assert json.loads(found.read_text())["requests"] == 3


@pytest.mark.slow
def test_a_server_that_is_started_anew_serves_its_checkpoint_to_the_robots_that_come_back(run: Path) -> None:
    messages = [look(seed, PROMPTS[0]) for seed in range(4)]
    with background(load_served(run), ServeConfig(port=0)) as first:
        port = int(first.addresses.url.rpartition(":")[2])
        client = Client(first.addresses.websocket, patience=60, request_seconds=60)
        answers = [client.infer(message)["actions"] for message in messages[:2]]
    with background(load_served(run), ServeConfig(port=port)), client:
        after = [client.infer(message) for message in messages[2:]]
    assert [answer["fresh"] for answer in after] == [True, False]
    assert (client.reconnects, client.fresh_starts) == (1, 1)
    policy = build(RECURRENT)
    wanted = [*in_process(policy, messages[:2]), *in_process(policy, messages[2:])]
    answers += [answer["actions"] for answer in after]
    assert np.allclose(np.stack(answers), np.stack(wanted), rtol=0, atol=1e-5)
    assert not np.allclose(answers[3], in_process(policy, messages)[3], rtol=0, atol=1e-4), "no memory was lost"


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the compiler, about itself
@pytest.mark.skipif(shutil.which("gcc") is None, reason="kernels need a C compiler")
def test_a_compiled_checkpoint_answers_as_the_checkpoint(run: Path) -> None:
    plain, compiled = load_served(run), load_served(run, compiled=True)
    observations = warm_up_observations(plain.robot, 2)
    answers = []
    for served in (plain, compiled):
        states = served.actor.start(2)
        for _ in range(2):
            chunks, states = served.actor.act(observations, states)
        answers.append(chunks)
    assert np.abs(answers[0] - answers[1]).max() < 1e-5
