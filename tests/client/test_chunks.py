"""Brokers: which action of which chunk is executed when, and what a robot sees of a slow or unsure policy."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition_client import ChunkBroker, OutOfActionsError, RealtimeChunks, TemporalEnsemble
from volition_client.chunks import combine


class Counting:
    """Call n answers with 100 n + (0, 1, 2, ...), so that every action says where it is from."""

    def __init__(self, horizon: int = 6, confidence: Any = None, gate: Callable[[int], None] = lambda call: None):
        self.horizon, self.confidence, self.gate = horizon, confidence, gate
        self.seen: list[Mapping[str, Any]] = []
        self.resets = 0

    def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
        call = len(self.seen)
        self.seen.append(observation)
        self.gate(call)
        actions = 100.0 * call + np.arange(self.horizon, dtype=np.float32)[:, None]
        return {"actions": actions, **({} if self.confidence is None else {"confidence": self.confidence})}

    def reset(self) -> None:
        self.resets += 1


def drive(broker: Any, steps: int) -> list[float]:
    return [float(broker.act({"step": step})[0]) for step in range(steps)]


def test_a_chunk_is_executed_as_far_as_the_policy_was_trained_for() -> None:
    policy = Counting()
    broker = ChunkBroker(policy, replan_steps=3)
    assert drive(broker, 7) == [0, 1, 2, 100, 101, 102, 200]
    assert [seen["step"] for seen in policy.seen] == [0, 3, 6]
    broker.reset()
    assert drive(broker, 1) == [300]
    assert policy.resets == 1


def test_low_confidence_asks_sooner_but_always_acts_once() -> None:
    sure = np.array([0.1, 0.9, 0.9, 0.3, 0.9, 0.9])
    broker = ChunkBroker(Counting(confidence=sure), replan_steps=6, least_confidence=0.5)
    assert drive(broker, 5) == [0, 1, 2, 100, 101]
    assert broker.early == 2
    broker = ChunkBroker(Counting(confidence=np.zeros(6)), replan_steps=6, least_confidence=0.5)
    assert drive(broker, 3) == [0, 100, 200]
    broker = ChunkBroker(Counting(confidence=sure), replan_steps=3, least_confidence=0.0)
    assert drive(broker, 4) == [0, 1, 2, 100]


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (np.zeros(3), "must answer with actions"),
        (np.full((3, 1), np.nan), "finite"),
        (np.zeros((2, 1)), "exceeds the 2"),
    ],
)
def test_what_is_no_chunk_is_an_error(answer: np.ndarray, message: str) -> None:
    class Wrong(Counting):
        def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
            return {"actions": answer}

    with pytest.raises(ValueError, match=message):
        ChunkBroker(Wrong(), replan_steps=3).act({})


def test_temporal_ensembling_is_the_weighted_mean_of_all_that_speak_of_a_step() -> None:
    broker = TemporalEnsemble(Counting(horizon=3), decay=0.5)
    given_actions = drive(broker, 4)
    weights = np.exp(-0.5 * np.arange(3))
    said = np.array([102.0 - 100, 101.0, 200.0])  # of step 2: what chunks 0, 1 and 2 say
    assert given_actions[2] == pytest.approx(float((weights * said).sum() / weights.sum()), rel=1e-6)
    assert given_actions[3] == pytest.approx(float((weights * [102, 201, 300]).sum() / weights.sum()), rel=1e-6)


def test_a_gripper_takes_one_of_its_two_positions() -> None:
    said = np.array([[0.0, 1.0], [1.0, -1.0], [2.0, -1.0]], np.float32)
    mixed = combine(said, np.array([1.0, 0.6, 0.6]), binary=[1])
    assert mixed[1] == -1.0
    assert combine(said, np.array([1.0, 0.3, 0.3]), binary=[1])[1] == 1.0


@given(st.integers(1, 5), st.floats(0, 3))
@settings(max_examples=50, deadline=None)
def test_chunks_that_agree_are_not_changed(count: int, decay: float) -> None:
    said = np.tile(np.array([0.25, -1.0], np.float32), (count, 1))
    assert np.allclose(combine(said, np.exp(-decay * np.arange(count)), [1]), said[0])


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_real_time_chunking_never_waits_and_drops_what_has_passed() -> None:
    gates = [threading.Event() for _ in range(3)]
    gates[0].set()
    policy = Counting(horizon=8, gate=lambda call: bool(gates[call].wait(20)))
    broker = RealtimeChunks(policy, replan_steps=2, fade=0)
    assert drive(broker, 2) == [0, 1]
    assert [float(broker.act({"step": step})[0]) for step in (2, 3, 4)] == [2, 3, 4]  # call 1 is under way since step 2
    assert policy.seen[1]["step"] == 2
    gates[1].set()
    wait_until(lambda: bool(broker._worker and broker._worker.done))
    assert float(broker.act({"step": 5})[0]) == 103  # the chunk began at step 2
    assert list(broker.delays) == [0, 3]
    gates[2].set()


def test_the_overlap_fades_from_the_old_chunk_to_the_new_one() -> None:
    gates = [threading.Event() for _ in range(3)]
    gates[0].set()
    policy = Counting(horizon=8, gate=lambda call: bool(gates[call].wait(20)))
    broker = RealtimeChunks(policy, replan_steps=2, fade=3)
    drive(broker, 2)
    broker.act({"step": 2})
    gates[1].set()
    wait_until(lambda: bool(broker._worker and broker._worker.done))
    gates[2].set()
    faded = [float(broker.act({"step": step})[0]) for step in (3, 4)]
    assert faded[0] == pytest.approx(0.75 * 3 + 0.25 * 101)
    assert 4 < faded[1] < 102


def test_a_policy_that_is_too_slow_is_told_and_the_robot_goes_on_when_it_answers() -> None:
    gates = [threading.Event() for _ in range(3)]
    gates[0].set()
    policy = Counting(horizon=3, gate=lambda call: bool(gates[call].wait(20)))
    broker = RealtimeChunks(policy, replan_steps=2, fade=0)
    assert drive(broker, 3) == [0, 1, 2]
    with pytest.raises(OutOfActionsError, match="step 3 has no action"):
        broker.act({"step": 3})
    broker.skip()  # the robot held
    gates[1].set()
    wait_until(lambda: bool(broker._worker and broker._worker.done))
    assert float(broker.act({"step": 4})[0]) == 102
    gates[2].set()


def test_an_error_of_the_policy_arrives_in_the_robots_loop() -> None:
    def gate(call: int) -> None:
        if call == 1:
            raise ConnectionError("the server is gone")

    broker = RealtimeChunks(Counting(horizon=8, gate=gate), replan_steps=1)
    drive(broker, 1)
    broker.act({"step": 1})
    wait_until(lambda: bool(broker._worker and broker._worker.done))
    with pytest.raises(ConnectionError, match="gone"):
        broker.act({"step": 2})
    assert isinstance(broker.act({"step": 2}), np.ndarray)


def test_a_reset_waits_for_the_answer_of_the_episode_that_ended() -> None:
    policy = Counting(horizon=8, gate=lambda call: time.sleep(0.02 * call))
    broker = RealtimeChunks(policy, replan_steps=1)
    drive(broker, 2)
    broker.reset()
    assert policy.resets == 1
    assert float(broker.act({"step": 0})[0]) == 200


def test_brokers_tell_of_which_look_an_action_is() -> None:
    """A chunk grows old while it is executed, however new the look that `act` is given."""
    observed = lambda step: {"time": 10.0 + step, "age": 0.5}
    broker = ChunkBroker(Counting(), replan_steps=3)
    told = []
    for step in range(4):
        broker.act(observed(step))
        told.append(broker.observed_at)
    assert told == [9.5, 9.5, 9.5, 12.5]
    broker.reset()
    broker.act({"step": 0})
    assert broker.observed_at is None
    ensemble = TemporalEnsemble(Counting())
    ensemble.act(observed(4))
    assert ensemble.observed_at == 13.5


def test_a_chunk_that_is_late_is_told_to_be_old() -> None:
    answer_now = threading.Event()
    chunks = RealtimeChunks(Counting(gate=lambda call: answer_now.wait(5) if call else None), replan_steps=1, fade=0)
    for step in range(4):  # the second request is under way from step 1 on
        chunks.act({"time": 10.0 + step})
        assert chunks.observed_at == 10.0
    answer_now.set()
    assert chunks._worker is not None
    chunks._worker.wait()
    chunks.act({"time": 14.0})
    assert chunks.observed_at == 11.0


def test_a_chunk_that_is_refused_makes_no_old_one_look_new() -> None:
    class Broken(Counting):
        def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
            answer = super().infer(observation)
            return {"actions": np.full((6, 1), np.nan)} if len(self.seen) > 1 else answer

    chunks = RealtimeChunks(Broken(), replan_steps=1, fade=0)
    chunks.act({"time": 1.0})
    chunks.act({"time": 2.0})
    assert chunks._worker is not None
    chunks._worker.wait()
    with pytest.raises(ValueError, match="finite"):
        chunks.act({"time": 3.0})
    chunks.act({"time": 3.0})
    assert chunks.observed_at == 1.0


class Listening(Counting):
    """Is told what was carried out and what is settled, as `Client` is."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.told: list[tuple[Any, ...]] = []

    def tell(self, executed: int, *settled: np.ndarray) -> None:
        self.told.append((executed, *settled))


def test_brokers_tell_how_much_of_a_chunk_was_carried_out() -> None:
    policy = Listening(confidence=[1.0, 1.0, 0.1, 1.0, 1.0, 1.0])
    drive(ChunkBroker(policy, replan_steps=4, least_confidence=0.5), 5)
    assert policy.told == [(2,), (2,)]
    policy = Listening()
    drive(TemporalEnsemble(policy), 3)
    assert policy.told == [(1,), (1,)]


def test_real_time_chunking_tells_what_is_settled() -> None:
    gates = [threading.Event() for _ in range(3)]
    for gate in gates[:2]:
        gate.set()
    policy = Listening(horizon=8, gate=lambda call: bool(gates[call].wait(20)))
    broker = RealtimeChunks(policy, replan_steps=2, fade=0)
    drive(broker, 3)
    (executed, settled, weights) = policy.told[0]
    assert executed == 2
    assert settled[:, 0].tolist() == [2, 3, 4, 5, 6, 7]
    assert len(weights) == 6
    assert (np.diff(weights) < 0).all(), "no answer was waited for yet: nothing is settled for sure"
    wait_until(lambda: bool(broker._worker and broker._worker.done))
    broker.act({"step": 3})
    broker.act({"step": 4})
    executed, settled, weights = policy.told[1]
    assert executed == 2
    assert weights[0] == 1.0, "one step passed while it thought"
    gates[2].set()
