"""Results on the disk: nothing is lost, nothing is taken for what it is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from volition.evaluation.episodes import Attempt, Command, EpisodeResult, Trial
from volition.evaluation.journal import Journal, parse_result, read_all, read_journal, result_line
from volition.records import Start

WHAT = {"name": "toy", "rollout": {"replan_steps": 5}, "tasks": ("a", "b")}
names = st.text(max_size=8)


@st.composite
def results(draw: st.DrawFn) -> Callable[[], EpisodeResult]:
    """Made by the test: shape checks draw at random what they look at, which a strategy must not."""
    tasks = draw(st.lists(names, min_size=1, max_size=3))
    attempts = []
    for task in tasks[: draw(st.integers(0, len(tasks)))]:
        steps, width = draw(st.integers(1, 4)), draw(st.integers(1, 3))
        number = draw(st.lists(st.floats(width=32, allow_nan=False), min_size=steps * width, max_size=steps * width))
        attempts.append(
            partial(
                Attempt,
                task=task,
                instruction=draw(names),
                success=draw(st.booleans()),
                num_steps=steps,
                num_calls=draw(st.integers(0, 9)),
                achieved=draw(st.none() | st.lists(names).map(tuple)),
                measures=draw(
                    st.none() | st.dictionaries(names, st.booleans() | st.floats(allow_infinity=False, allow_nan=False))
                ),
                actions=np.array(number, np.float32).reshape(steps, width),
            )
        )
    start = partial(Start, seed=draw(st.integers(0, 2**40)), tasks=tuple(tasks), scene=draw(names))
    commands = tuple(Command(task=task, split=draw(names), wording=draw(st.integers(0, 5))) for task in tasks)
    error, repeats = draw(names), tuple(draw(st.lists(names, max_size=2)))
    return lambda: EpisodeResult(
        trial=Trial(start=start(), commands=commands),
        attempts=tuple(make() for make in attempts),
        error=error,
        repeats=repeats,
    )


@given(results(), st.integers(0, 10**6))
@settings(max_examples=60)
def test_a_line_says_all_of_a_result(make: Callable[[], EpisodeResult], number: int) -> None:
    result = make()
    again, back = parse_result(json.loads(json.dumps(result_line(number, result))))
    assert (again, back, back.repeats) == (number, result, result.repeats)
    for one, other in zip(result.attempts, back.attempts, strict=True):
        assert one.actions.tobytes() == other.actions.tobytes()
        assert one.actions.shape == other.actions.shape


def made(number: int, *, success: bool = True, error: str = "") -> EpisodeResult:
    trial = Trial(start=Start(number, ("a",)), commands=(Command(task="a"),))
    attempt = Attempt(
        task="a", instruction="do a", success=success, num_steps=2, num_calls=1, achieved=("a",),
        actions=np.full((2, 3), number, np.float32),
    )  # fmt: skip
    return EpisodeResult(trial=trial, attempts=() if error else (attempt,), error=error)


def test_it_goes_on_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "results.jsonl"
    with Journal(path, WHAT) as journal:
        journal.write(3, made(3))
    with Journal(path, WHAT) as journal:
        assert journal.results == {3: made(3)}
        journal.write(1, made(1))
    assert read_journal(path)[1] == {3: made(3), 1: made(1)}
    assert len(path.read_text().splitlines()) == 3


@pytest.mark.parametrize("lost", [1, 30, 200])
def test_a_line_that_was_cut_short_is_dropped(lost: int, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal(path, WHAT) as journal:
        journal.write(0, made(0))
        journal.write(1, made(1))
    path.write_bytes(path.read_bytes()[:-lost])
    assert read_journal(path)[1] == {0: made(0)}
    with Journal(path, WHAT) as journal:
        assert set(journal.results) == {0}
        journal.write(1, made(1))
    assert read_journal(path)[1] == {0: made(0), 1: made(1)}


def test_a_crash_before_the_first_line_was_whole_is_no_obstacle(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    path.write_bytes(b'{"settings": {"na')
    with Journal(path, WHAT) as journal:
        journal.write(0, made(0))
    assert read_journal(path)[1] == {0: made(0)}


def test_another_evaluation_is_not_gone_on_with(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    Journal(path, WHAT).close()
    with pytest.raises(ValueError, match=r"another evaluation(.|\n)*rollout.replan_steps: 3 != 5"):
        Journal(path, WHAT | {"rollout": {"replan_steps": 3}})
    Journal(path, WHAT).close()


def test_two_processes_do_not_write_one_file(tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal(path, WHAT), pytest.raises(ValueError, match="being written by another process"):
        Journal(path, WHAT)
    Journal(path, WHAT).close()


@pytest.mark.parametrize("spoil", [b"{}\n", b"nonsense\n", b'{"number": 2}\n', b"[1]\n"])
def test_a_line_that_makes_no_sense_is_named(spoil: bytes, tmp_path: Path) -> None:
    path = tmp_path / "results.jsonl"
    with Journal(path, WHAT) as journal:
        journal.write(0, made(0))
    path.write_bytes(path.read_bytes() + spoil)
    with pytest.raises(ValueError, match=r"results.jsonl must hold results.*line 3"):
        read_journal(path)
    path.write_bytes(spoil)
    with pytest.raises(ValueError, match="line 1"):
        read_journal(path)


def write(path: Path, found: dict[int, EpisodeResult], what: dict[str, object] = WHAT) -> Path:
    with Journal(path, what) as journal:
        for number, result in found.items():
            journal.write(number, result)
    return path


def test_files_are_joined_where_they_agree(tmp_path: Path) -> None:
    one = write(tmp_path / "1", {0: made(0), 2: made(2), 3: made(3, error="the machine went down")})
    other = write(tmp_path / "2", {1: made(1), 2: made(2), 3: made(3)})
    assert read_all([one, other])[1] == {number: made(number) for number in range(4)}
    assert read_all([other, one])[1] == {number: made(number) for number in range(4)}
    contrary = write(tmp_path / "3", {2: made(2, success=False)})
    with pytest.raises(ValueError, match="3 must tell of episode 2 what the other files do"):
        read_all([one, contrary])
    foreign = write(tmp_path / "4", {}, {"name": "desk"})
    with pytest.raises(ValueError, match="name: 'toy' != 'desk'"):
        read_all([one, foreign])
    with pytest.raises(ValueError, match="got none"):
        read_all([])


def test_only_an_error_gives_way_to_another_line(tmp_path: Path) -> None:
    lines = lambda *found: [json.dumps(result_line(2, result)) for result in found]
    path = write(tmp_path / "1", {})
    begun = path.read_text()

    def told(*found: EpisodeResult) -> EpisodeResult:
        path.write_text(begun + "\n".join(lines(*found)) + "\n")
        return read_journal(path)[1][2]

    broken = made(2, error="the machine went down")
    assert told(broken, made(2)) == told(made(2), broken) == told(made(2), made(2)) == made(2)
    with pytest.raises(ValueError, match="1 must tell of episode 2 what the other lines do"):
        told(made(2), made(2, success=False))


def test_actions_of_another_machine_are_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    other = made(2)
    other.attempts[0].actions[0, 0] += 0.001
    files = [write(tmp_path / "1", {2: made(2)}), write(tmp_path / "2", {2: other})]
    assert read_all(files[:1] * 2)[1] == {2: made(2)}
    assert not caplog.text
    read_all(files)
    assert "2 tells of other actions in episode 2 than the other files" in caplog.text


def test_a_file_of_a_shard_that_has_just_begun_is_passed_over(tmp_path: Path) -> None:
    with Journal(tmp_path / "results-1-of-2.jsonl", WHAT):
        pass
    empty, torn = tmp_path / "results-2-of-3.jsonl", tmp_path / "results-3-of-3.jsonl"
    empty.write_bytes(b"")
    torn.write_bytes(b'{"settings": {"na')
    assert read_all([tmp_path / "results-1-of-2.jsonl", empty, torn])[1] == {}
    with pytest.raises(ValueError, match="only empty ones"):
        read_all([empty, torn])
