"""Fixed calls: equal to the bit in any company, and nobody pays for what another robot asks."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from tests.serving.process import wait_until
from tests.serving.robots import ROBOT, Recalling, served
from volition.records import Observation
from volition.serving.batching import Job, Memory, PolicyThread, warm_up_observations
from volition.serving.metrics import Metrics

SIZE = 4


class Rounding(Recalling):
    """Answers depend a little on how many rows a call has, as a matrix product's do; lists whom it answered."""

    dependent = ""  # an instruction of which rows depend on their place as well

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        chunks, after = super().act(observations, states)
        places = np.array([i * (o.instruction == self.dependent) for i, o in enumerate(observations)])
        return (chunks + 1e-3 * len(observations) + places[:, None, None]).astype(np.float32), after


def look(seed: int, prompt: str) -> Observation:
    return warm_up_observations(ROBOT, 1, [prompt], seed)[0]


def thread_of(actor: Recalling) -> PolicyThread:
    made = PolicyThread(served(actor), Metrics(), max_batch=SIZE, fixed=True)
    actor.calls.clear()
    return made


def drive(actor: Recalling, prompts: Sequence[str], beside: Sequence[str]) -> list[np.ndarray]:
    """What a robot is answered that asks for these, one after the other, beside others that ask with it."""
    policy, answers = thread_of(actor), list[np.ndarray]()
    policy.start()
    memories: list[Memory | None] = [None] * (1 + len(beside))
    for step, prompt in enumerate(prompts):
        asked = [prompt, *beside]
        jobs = [Job(observation=look(100 * i + step, asked[i]), memory=memory) for i, memory in enumerate(memories)]
        with policy._wake:  # so that all of them wait together
            for job in reversed(jobs):
                policy.submit(job)
        results = [job.future.result(20) for job in jobs]
        memories = [result.memory for result in results]
        answers.append(results[0].chunk)
    assert policy.stop(20)
    return answers


@pytest.mark.parametrize("dependent", ["", "open it"])
def test_a_robot_is_answered_to_the_bit_as_if_it_were_alone(dependent: str) -> None:
    """Before an instruction is tried, while it is, after it, and where its rows turn out to depend on each other."""
    prompts = ["open it"] * 4 + ["shut it"] * 3
    actor = Rounding()
    actor.dependent = dependent
    alone = drive(actor, prompts, [])
    together = drive(actor, prompts, ["open it", "shut it", "open it", "shut it", "open it"])
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))
    assert set(actor.calls) == {SIZE}


def test_jobs_of_an_instruction_share_calls_once_it_is_tried() -> None:
    actor = Recalling()
    policy = thread_of(actor)
    policy.start()
    rows: list[list[int]] = []
    for _ in range(2):
        jobs = [Job(observation=look(i, "open it"), memory=None) for i in range(SIZE)]
        with policy._wake:
            for job in jobs:
                policy.submit(job)
        rows.append([job.future.result(20).rows for job in jobs])
        wait_until(lambda: bool(policy._shared))
    assert rows == [[1] * SIZE, [SIZE] * SIZE]
    assert policy.stop(20)


def test_an_instruction_that_only_one_robot_has_costs_one_call() -> None:
    actor = Recalling()
    policy = thread_of(actor)
    policy.start()
    for i in range(5):
        job = Job(observation=look(i, f"do {i}"), memory=None)
        policy.submit(job)
        job.future.result(20)
    assert policy.stop(20)
    assert actor.calls == [SIZE] * 5


def test_others_are_answered_between_the_calls_of_a_trial() -> None:
    """Behind two of a new instruction: between two answers there is one call of the trial at most."""
    actor = Recalling()
    policy = thread_of(actor)
    done: list[int] = []
    for i, prompt in enumerate(["new"] * 2 + [f"other {i}" for i in range(5)]):
        job = Job(observation=look(i, prompt), memory=None)
        job.future.add_done_callback(lambda _: done.append(len(actor.calls)))
        policy.submit(job)
    policy.start()
    assert policy.stop(20)
    assert done == [1, 3, 5, 7, 9, 11, 13]
    assert len(actor.calls) > 13


def test_a_policy_whose_rows_depend_on_each_other_is_asked_for_one_row_at_a_time() -> None:
    actor = Rounding()
    actor.dependent = "open the drawer"  # with which it is warmed up
    policy = thread_of(actor)
    jobs = [Job(observation=look(i, "open it"), memory=None) for i in range(3)]
    for job in jobs:
        policy.submit(job)
    policy.start()
    assert policy.stop(20)
    assert actor.calls == [1, 1, 1]


def test_a_call_that_hangs_is_given_up_and_no_policy_takes_over_after_the_end() -> None:
    actor = Recalling()
    policy = thread_of(actor)
    policy.start()
    actor.seconds = 1.0
    policy.submit(Job(observation=look(1, "open it"), memory=None))
    began = time.monotonic()
    assert not policy.stop(0.05)
    assert time.monotonic() - began < 0.9
    with pytest.raises(RuntimeError, match="about to stop"):
        policy.replace(served(), 1)
    assert policy.stop(20)
