"""Between two looks: whatever the latency, a robot does what its policy meant for that moment, and nothing twice."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.worlds import TASKS, RestlessConfig, Seeker
from tests.toy import SPEC, Toy, ToyConfig
from volition.contract import ActionSpace, Dimension
from volition.evaluation.chunking import STRATEGIES, Chunking, Ensemble, Execute, Overlap, RealTime, soft_weights
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import score_tasks, task_trials
from volition.records import Inpainter, Settled
from volition_client import realtime
from volition_client.chunks import ChunkBroker, Policy

SPACE = ActionSpace(dimensions=(Dimension(name="x", unit="m", high=100.0), Dimension(name="g", unit="", kind="binary")))
REST = np.array([-1.0, 1.0], np.float32)
HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=40, space=SPEC.action_space)
TRIALS = task_trials(TASKS, num_starts=6, first_seed=100)


def counting(first: int, horizon: int) -> np.ndarray:
    """A chunk whose actions are numbered."""
    return np.stack([np.arange(first, first + horizon), np.ones(horizon)], axis=1).astype(np.float32)


def run(
    chunking: Chunking, latency: int, horizon: int, looks: int = 5
) -> tuple[list[np.ndarray], list[Settled | None]]:
    """What is executed from look to look, by a policy that numbers its actions on from those executed before."""
    player = chunking.begin(SPACE, latency)
    pieces: list[np.ndarray] = []
    settled = []
    for _ in range(5):
        settled.append(player.settled())
        moved = sum(int((piece[:, 0] >= 0).sum()) for piece in pieces)
        pieces.append(player.take(counting(moved, horizon), REST))
    return pieces, settled


@given(st.sampled_from(sorted(STRATEGIES)), st.integers(1, 5), st.integers(0, 5), st.integers(0, 6))
def test_every_action_is_executed_once_and_in_its_turn(name: str, steps: int, latency: int, more: int) -> None:
    latency = min(latency, steps) if name != "execute" else latency
    pieces, _ = run(STRATEGIES[name](steps=steps), latency, steps + latency + more)
    done = np.concatenate(pieces)[:, 0]
    moved = done[done >= 0]
    np.testing.assert_allclose(moved, np.arange(len(moved)), atol=1e-4)
    waits = len(done) - len(moved)
    assert waits == latency * (len(pieces) if name == "execute" else 1)
    assert [len(piece) for piece in pieces[1:]] == [steps + (latency if name == "execute" else 0)] * 4
    assert not np.any(done[:latency] >= 0)


@given(st.integers(1, 4), st.integers(0, 4), st.integers(0, 4))
def test_what_is_said_to_be_settled_is_what_is_executed(steps: int, latency: int, more: int) -> None:
    latency = min(latency, steps)
    pieces, settled = run(RealTime(steps=steps), latency, steps + latency + more)
    assert settled[0] is None
    for told, piece in zip(settled[1:], pieces[1:]):
        assert told is not None
        assert len(told.actions) == len(told.weights) == latency + more
        np.testing.assert_array_equal(told.actions[:latency], piece[:latency])
        assert np.all(told.weights[:latency] == 1)
        assert np.all(told.weights[latency:] < 1)
        assert np.all(np.diff(told.weights) <= 0)
        assert np.all(told.weights > 0)


def test_weights_fall_as_they_should() -> None:
    # (count - i) / (count - settled + 1) for i = 2, 3: 2/3 and 1/3, times (e^c - 1) / (e - 1).
    expected = [1, 1, 2 / 3 * np.expm1(2 / 3) / np.expm1(1), 1 / 3 * np.expm1(1 / 3) / np.expm1(1)]
    np.testing.assert_allclose(soft_weights(4, 2), expected, rtol=1e-6)
    assert soft_weights(0, 0).shape == (0,)
    for count, settled in ((1, 0), (4, 2), (8, 8), (16, 3)):
        assert np.array_equal(soft_weights(count, settled), realtime.soft_weights(count, settled))


def test_an_ensemble_is_the_weighted_mean_with_the_oldest_first() -> None:
    player = Ensemble(steps=1, decay=0.3).begin(SPACE, 0)
    say = lambda x, grip: np.tile(np.array([x, grip], np.float32), (3, 1))
    np.testing.assert_allclose(player.take(say(10, -1), None), [[10, -1]])
    w = np.exp(-0.3 * np.arange(3))
    np.testing.assert_allclose(player.take(say(20, 1), None)[0, 0], (10 + 20 * w[1]) / (1 + w[1]), rtol=1e-6)
    third = player.take(say(40, 1), None)[0]
    np.testing.assert_allclose(third[0], (10 + 20 * w[1] + 40 * w[2]) / w.sum(), rtol=1e-6)
    assert third[1] == 1.0, "the two that say open outweigh the oldest"
    fourth = player.take(say(40, 1), None)[0]  # the first chunk had three actions: it speaks no more
    np.testing.assert_allclose(fourth[0], (20 + 40 * w[1] + 40 * w[2]) / w.sum(), rtol=1e-6)


sureness = st.lists(st.floats(0, 1, width=32), min_size=6, max_size=6)


@given(st.lists(sureness, min_size=1, max_size=5), st.integers(1, 6), st.floats(0, 1))
def test_a_policy_in_doubt_is_asked_as_soon_as_a_robot_would_ask_it(
    sure: list[list[float]], steps: int, least: float
) -> None:
    class Unsure(Policy):
        """Its actions say which look they answer, and how many steps later they are due."""

        looks = 0

        def infer(self, observation: Any) -> dict[str, Any]:
            confidence = np.array(sure[self.looks % len(sure)], np.float32)
            self.looks += 1
            return {"actions": counting(10 * self.looks, 6), "confidence": confidence}

    broker, policy = ChunkBroker(Unsure(), steps, least_confidence=least), Unsure()
    player = Execute(steps=steps, least_confidence=least).begin(SPACE, 0)
    done: list[np.ndarray] = []
    while len(done) < 30:
        answer = policy.infer({})
        done.extend(player.take(answer["actions"], None, answer["confidence"]))
    np.testing.assert_array_equal(done, [broker.act({}) for _ in done])


@dataclass(frozen=True)
class Doubt:
    """A state, as policies have that tell how sure they are."""

    confidence: np.ndarray | None


class Doubtful(Seeker):
    """Sure of its first two actions where it looks at the blue square, and of all where at the red one."""

    def start(self, n: int) -> list[Any]:
        return [Doubt(None)] * n

    def act(self, observations: Any, states: Any) -> tuple[np.ndarray, list[Any]]:
        chunks, _ = super().act(observations, [0] * len(observations))
        doubt, none = np.array([0.1, 0.9, 0.3, 0.8], np.float32), np.ones(4, np.float32)
        return chunks, [Doubt(none if "red" in seen.instruction else doubt) for seen in observations]


def test_confidence_comes_with_the_state_and_is_asked_for_where_there_is_none() -> None:
    config = replace(HERE, chunking=Execute(steps=4, least_confidence=0.5))
    for result in evaluate(Doubtful(), ToyConfig(), TRIALS, config):
        (attempt,) = result.attempts
        assert attempt.num_calls == -(-attempt.num_steps // (4 if result.task == "reach_red" else 2))
    with pytest.raises(ValueError, match=r"least_confidence=0.5 needs a policy that tells how sure it is"):
        evaluate(Seeker(), ToyConfig(), TRIALS, config)
    with pytest.raises(ValueError, match=r"least_confidence must be in 0..1, got 1.5"):
        Execute(least_confidence=1.5)


@pytest.mark.parametrize(
    ("chunking", "latency", "message"),
    [
        (Execute(steps=5), 0, "steps=5 need chunks of 5 actions or more, and this policy's have 4"),
        (Overlap(steps=3), 2, "steps=3 and latency=2 need chunks of 5 actions"),
        (Ensemble(steps=3), 2, "steps=3 and latency=2 need chunks of 5 actions"),
    ],
)
def test_chunks_that_are_too_short_are_named(chunking: Chunking, latency: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chunking.begin(SPACE, latency).take(counting(0, 4), REST)


def test_what_cannot_be_is_refused() -> None:
    with pytest.raises(ValueError, match="latency=3 is above steps=2"):
        Overlap(steps=2).begin(SPACE, 3)
    for kind in STRATEGIES.values():
        with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
            kind(steps=0)
    with pytest.raises(ValueError, match="needs the action space"):
        Ensemble().begin(None, 0)
    with pytest.raises(ValueError, match="a method `rest"):
        Execute().begin(SPACE, 1).take(counting(0, 4), None)
    with pytest.raises(ValueError, match="latency must be at least 0"):
        RolloutConfig(latency=-1)


@pytest.mark.parametrize("name", ["execute", "overlap", "ensemble"])
@pytest.mark.parametrize("latency", [0, 1, 2])
def test_the_world_goes_on_while_the_policy_thinks(name: str, latency: int) -> None:
    """Equal to the bit to a plain loop over control steps in which answers come late."""
    config = replace(HERE, chunking=STRATEGIES[name](steps=2), latency=latency)
    for result in evaluate(Seeker(horizon=6), ToyConfig(), TRIALS[:3], config):
        env, actor = Toy(), Seeker(horizon=6)
        env.reset(result.trial.start)
        env.begin(result.task)
        player, executed, done = config.chunking.begin(config.space, latency), [], False
        while not done and len(executed) < config.max_steps:
            observation = env.observe(env.instructions(result.task, "validation")[0])
            (chunk,), _ = actor.act([observation], [0])
            for action in player.take(chunk, env.rest())[: config.max_steps - len(executed)]:
                executed.append(action)
                done = env.step(action)
                if done:
                    break
        assert result.success == done
        np.testing.assert_array_equal(result.attempts[0].actions, np.stack(executed))


def test_waiting_counts_and_costs() -> None:
    prompt = evaluate(Seeker(horizon=6), ToyConfig(), TRIALS, replace(HERE, chunking=Execute(steps=2)))
    late = evaluate(Seeker(horizon=6), ToyConfig(), TRIALS, replace(HERE, chunking=Execute(steps=2), latency=3))
    for one, other in zip(prompt, late):
        assert other.num_steps == one.num_steps + 3 * other.attempts[0].num_calls
    none = evaluate(Seeker(horizon=6), ToyConfig(), TRIALS, replace(HERE, latency=40))
    assert score_tasks(none).success.value == 0.0
    overlapping = replace(HERE, chunking=Overlap(steps=3), latency=3)
    assert score_tasks(evaluate(Seeker(horizon=6), ToyConfig(), TRIALS, overlapping)).success.value == 1.0


def test_a_robot_that_cannot_wait_is_named() -> None:
    with pytest.raises(ValueError, match="a method `rest"):
        evaluate(Seeker(), RestlessConfig(), TRIALS, replace(HERE, latency=1))
    assert evaluate(Seeker(), RestlessConfig(), TRIALS[:1], HERE)[0].success


class Continuing(Seeker):
    """Begins its chunks with what is settled, as far as that is certain."""

    continues = True

    def __init__(self) -> None:
        super().__init__(horizon=6)
        self.told: list[Settled | None] = []

    def act_on(self, observations: Any, states: Any, settled: Any) -> tuple[np.ndarray, list[Any]]:
        self.told.extend(settled)
        chunks, after = self.act(observations, states)
        for chunk, told in zip(chunks, settled):
            if told is not None:
                sure = told.weights == 1
                chunk[: len(sure)][sure] = told.actions[sure]
        return chunks, after


def test_a_policy_is_told_what_is_settled() -> None:
    actor = Continuing()
    assert isinstance(actor, Inpainter)
    config = replace(HERE, chunking=RealTime(steps=2), latency=1)
    results = evaluate(actor, ToyConfig(), TRIALS, config)
    assert score_tasks(results).success.value == 1.0
    assert any(told is not None for told in actor.told)
    assert {len(told.actions) for told in actor.told if told is not None} == {4}
    alone = evaluate(Continuing(), ToyConfig(), TRIALS, replace(config, slots_per_worker=1, batch=1))
    assert results == alone
    with pytest.raises(ValueError, match="needs a head that can continue what is settled"):
        evaluate(Seeker(horizon=6), ToyConfig(), TRIALS, config)


def test_rows_that_continue_what_is_settled_are_tried_too(caplog: pytest.LogCaptureFixture) -> None:
    class Placed(Continuing):
        def act_on(self, observations: Any, states: Any, settled: Any) -> tuple[np.ndarray, list[Any]]:
            chunks, after = super().act_on(observations, states, settled)
            chunks[3:] *= 0.9
            return chunks, after

    config = replace(HERE, chunking=RealTime(steps=2), latency=1)
    evaluate(Continuing(), ToyConfig(), TRIALS, config)
    assert "row by row" not in caplog.text
    results = evaluate(Placed(), ToyConfig(), TRIALS, config)
    assert "row by row" in caplog.text
    assert results == evaluate(Placed(), ToyConfig(), TRIALS, replace(config, slots_per_worker=1))
