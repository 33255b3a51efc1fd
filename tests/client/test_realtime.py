"""Real-time chunking: which action of which chunk is executed while the policy thinks, and what it is told."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from tests.client.test_chunks import Counting, Listening, drive
from volition_client import OutOfActionsError, RealtimeChunks


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


def finished(broker: RealtimeChunks) -> None:
    assert broker._worker is not None
    broker._worker.wait()


def test_a_request_that_failed_is_not_counted_from() -> None:
    def gate(call: int) -> None:
        if call == 1:
            raise ConnectionError("the server is gone")

    policy = Listening(horizon=20, gate=gate)
    broker = RealtimeChunks(policy, replan_steps=4, fade=0)
    drive(broker, 5)  # asked at step 4, in vain
    finished(broker)
    with pytest.raises(ConnectionError):
        broker.act({})
    drive(broker, 4)
    assert [told[0] for told in policy.told] == [4, 8], "of the first chunk, which is still the last one"
    finished(broker)
    drive(broker, 4)
    assert policy.told[-1][0] == 4, "since step 8, where the answered request was made"


def test_held_steps_are_no_actions_that_were_carried_out() -> None:
    may_answer = threading.Event()
    policy = Listening(horizon=3, gate=lambda call: bool(may_answer.wait(20)) if call == 1 else None)
    broker = RealtimeChunks(policy, replan_steps=2, fade=0)
    drive(broker, 3)  # asked at step 2
    for _ in range(5):
        with pytest.raises(OutOfActionsError):
            broker.act({})
        broker.skip()
    may_answer.set()
    finished(broker)
    with pytest.raises(OutOfActionsError):  # all of it is in the past: asks again
        broker.act({})
    assert [told[0] for told in policy.told] == [2, 1]
