"""Brokers: which action of which chunk is executed when, and what a robot sees of an unsure policy."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition_client import ChunkBroker, TemporalEnsemble
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


class Listening(Counting):
    """Is told what was carried out and what is settled, as `Client` is."""

    def __init__(self, **given: Any) -> None:
        super().__init__(**given)
        self.told: list[tuple[Any, ...]] = []

    def tell(self, executed: int, *settled: np.ndarray) -> None:
        self.told.append((executed, *settled))


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


def test_a_chunk_that_is_too_short_is_refused_whole_and_asked_for_again() -> None:
    class Shrinking(Listening):
        def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
            self.horizon = 3 if len(self.seen) == 1 else 8
            return super().infer(observation)

    policy = Shrinking()
    broker = ChunkBroker(policy, replan_steps=5)
    assert drive(broker, 5) == [0, 1, 2, 3, 4]
    with pytest.raises(ValueError, match="replan_steps=5 exceeds the 3 actions"):
        broker.act({"step": 5})
    assert drive(broker, 6) == [200, 201, 202, 203, 204, 300]
    assert policy.told == [(5,), (0,), (5,)], "of the refused chunk nothing was carried out"


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
@settings(max_examples=50)
def test_chunks_that_agree_are_not_changed(count: int, decay: float) -> None:
    said = np.tile(np.array([0.25, -1.0], np.float32), (count, 1))
    assert np.allclose(combine(said, np.exp(-decay * np.arange(count)), [1]), said[0])


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


def test_brokers_tell_how_much_of_a_chunk_was_carried_out() -> None:
    policy = Listening(confidence=[1.0, 1.0, 0.1, 1.0, 1.0, 1.0])
    drive(ChunkBroker(policy, replan_steps=4, least_confidence=0.5), 5)
    assert policy.told == [(2,), (2,)]
    policy = Listening()
    drive(TemporalEnsemble(policy), 3)
    assert policy.told == [(1,), (1,)]


def test_of_an_answer_that_an_ensemble_refuses_nothing_is_carried_out() -> None:
    class Mute(Listening):
        def infer(self, observation: Mapping[str, Any]) -> dict[str, Any]:
            answer = super().infer(observation)
            return answer if len(self.seen) != 2 else {}

    policy = Mute()
    broker = TemporalEnsemble(policy)
    drive(broker, 1)
    with pytest.raises((KeyError, ValueError)):
        drive(broker, 1)
    drive(broker, 1)
    assert policy.told == [(1,), (0,)]
