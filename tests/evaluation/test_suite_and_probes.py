import pytest

from tests.evaluation.worlds import TASKS, Lazy, Seeker, WatchedWorld
from tests.toy import ToyConfig
from volition.evaluation.probes import score_swaps, swap_trials
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.suite import compare, score_tasks, task_trials
from volition.records import Start

HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=20)
TRIALS = task_trials(TASKS, num_starts=5, first_seed=0)


def all_tasks(start: Start) -> tuple[str, ...]:
    return TASKS


def test_starts_are_unseen_twice_and_dealt_to_scenes_and_wordings() -> None:
    trials = task_trials(("a", "b"), num_starts=8, first_seed=50, scenes=("A", "B"))
    assert sorted(t.start.seed for t in trials) == list(range(50, 66))
    assert [t.start.scene for t in trials[:4]] == ["A", "B", "A", "B"]
    assert [t.commands[0].wording for t in trials[:8]] == [0, 0, 1, 1, 2, 2, 3, 3], "each scene hears each wording"
    with pytest.raises(ValueError, match="num_starts >= 1"):
        task_trials(("a",), num_starts=0, first_seed=0)


def test_scores_per_task_and_their_mean() -> None:
    score = score_tasks(evaluate(Seeker(deaf=True), ToyConfig(), TRIALS, HERE))
    by_task = {t.task: t.success.value for t in score.tasks}
    assert by_task["reach_red"] == 1.0
    assert by_task["reach_blue"] == 0.0
    assert score.success.value == 0.5
    assert score.tasks[0].steps > 0
    assert score.tasks[1].steps == 0
    found = score.to_json()
    assert found["success_rate"] == 0.5
    assert found["success_interval"][0] < 0.5 < found["success_interval"][1]
    assert found["tasks"]["reach_red"]["num_episodes"] == 5


def test_two_policies_are_compared_start_by_start() -> None:
    seeing, lazy = (evaluate(actor, ToyConfig(), TRIALS, HERE) for actor in (Seeker(), Lazy()))
    found = compare(seeing, lazy)
    assert (found.value, found.only_first, found.only_second) == (1.0, 10, 0)
    with pytest.raises(ValueError, match="same trials"):
        compare(seeing, list(reversed(lazy)))


def test_a_swap_tells_those_who_listen_from_those_who_do_not() -> None:
    swaps = swap_trials(TRIALS, all_tasks, TASKS)
    assert all(s.start == t.start and s.commands[0].task != t.commands[0].task for s, t in zip(swaps, TRIALS))
    listens = score_swaps(evaluate(Seeker(), WatchedWorld(), swaps, HERE))
    assert (listens.commanded.value, listens.original.value) == (1.0, 0.0)
    deaf = score_swaps(evaluate(Seeker(deaf=True), WatchedWorld(), swaps, HERE))
    assert (deaf.commanded.value, deaf.original.value) == (0.5, 0.5)
    assert deaf.to_json()["pairs"][0] == {
        "start": "reach_red",
        "told": "reach_blue",
        "told_done": False,
        "start_done": True,
    }


def test_swaps_ask_only_for_what_can_be_done_and_spread_over_tasks() -> None:
    only = swap_trials(TRIALS, lambda start: {"reach_blue"}, TASKS)
    assert len(only) == 5
    assert {t.commands[0].task for t in only} == {"reach_blue"}
    names = [f"task_{i}" for i in range(5)]
    spread = swap_trials(task_trials(names, num_starts=10, first_seed=0), lambda start: names, names)
    told = [t.commands[0].task for t in spread]
    assert all(9 <= told.count(name) <= 11 for name in names)


def test_swaps_need_a_world_that_watches() -> None:
    with pytest.raises(ValueError, match="achieved"):
        score_swaps(evaluate(Seeker(), ToyConfig(), swap_trials(TRIALS, all_tasks, TASKS), HERE))
