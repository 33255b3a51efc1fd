"""Success against latency, of a policy whose chunks are right."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.worlds import RestlessConfig, Seeker
from tests.studies.test_probing import quiet, subject
from tests.toy import ToyConfig
from volition.records import Observation
from volition.studies import eval_subject, timing
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_subject import latency_of
from volition.studies.eval_text import lines


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EvalConfig[Any]:
    monkeypatch.setattr(eval_subject, "checkpoint_hash", lambda path: str(path))
    monkeypatch.setattr(eval_subject, "run_folder", lambda path: tmp_path)
    return EvalConfig(
        checkpoint=Path("x"), environment=ToyConfig(), env="toy", timing=True, latencies=(2, 4, 20), starts=4,
        workers=0, max_steps=25, replan_steps=4,
    )  # fmt: skip


def test_success_falls_with_latency_where_the_robot_waits(config: EvalConfig[Any], tmp_path: Path) -> None:
    found = timing.timing(config, subject(Seeker(horizon=10), Path("seeker")), config.environment, quiet)
    rows = {(row["chunking"], row["latency"]): row for row in found["rows"]}
    assert [rows["execute", late]["success_rate"] for late in (0, 2, 4)] == [1.0, 1.0, 1.0]
    assert rows["execute", 20]["success_rate"] < 1.0
    assert rows["execute", 20]["change"]["difference"] < 0
    assert rows["overlap", 4]["success_rate"] == 1.0
    assert "latency=20 is above steps=4" in rows["overlap", 20]["left_out"]
    assert all("cannot continue" in rows["realtime", late]["left_out"] for late in (0, 2, 4, 20))
    assert rows["ensemble", 4]["success_rate"] == 1.0
    assert found["policy_call_seconds"] > 0
    drawn = Path(found["plot"]).read_text()
    assert drawn.startswith("<?xml")
    assert drawn == Path(found["plot"]).read_text()
    text = "\n".join(lines({"timing": found}))
    assert "success, if late by" in text
    assert "cannot continue what is settled" in text
    assert tmp_path in Path(found["plot"]).parents


def test_a_robot_that_cannot_wait_is_never_late_and_keeps_its_table(config: EvalConfig[Any]) -> None:
    config = replace(config, environment=RestlessConfig(), starts=1)
    found = timing.timing(config, subject(Seeker(horizon=10), Path("seeker")), config.environment, quiet)
    rows = {(row["chunking"], row["latency"]): row for row in found["rows"]}
    assert rows["execute", 0]["success_rate"] == rows["overlap", 0]["success_rate"] == 1.0
    assert all(
        "how its robot waits" in row["left_out"]
        for (name, late), row in rows.items()
        if late in (2, 4) and name != "realtime"
    )
    assert "has no method `rest() -> action`" in "\n".join(lines({"timing": found}))


class Breaking(Seeker):
    """Answers what is no number."""

    def act(self, observations: Sequence[Observation], states: Sequence[Any]) -> tuple[np.ndarray, list[Any]]:
        chunks, after = super().act(observations, states)
        return chunks * np.nan, after


def test_a_row_of_errors_says_so(config: EvalConfig[Any]) -> None:
    config = replace(config, latencies=(2,), starts=1)
    found = timing.timing(config, subject(Breaking(horizon=10), Path("breaking")), config.environment, quiet)
    tried = [row for row in found["rows"] if "left_out" not in row]
    assert len(tried) == 6
    assert all("must be finite" in row["error"] for row in tried)
    assert Path(found["plot"]).exists()
    text = "\n".join(lines({"timing": found}))
    assert text.count("only errors") == 6
    assert "actions must be finite" in text


def test_latency_is_told_or_measured(config: EvalConfig[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    late = subject(Seeker(horizon=10), Path("seeker"))
    assert latency_of(replace(config, latency=3), late) == 3
    assert latency_of(replace(config, latency="measured"), late) == 1  # of 100 ms; the toy's policy takes less
    monkeypatch.setattr(eval_subject, "seconds_per_call", lambda one: 0.25)
    assert latency_of(replace(config, latency="measured"), late) == 1, "every row of a table gets the same answer"
    another = subject(Seeker(horizon=10), Path("seeker"))
    assert latency_of(replace(config, latency="measured"), another) == 3
