"""Success against latency, of a policy whose chunks are right."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.evaluation.worlds import Seeker
from tests.studies.test_probing import quiet, subject
from tests.toy import ToyConfig
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


def test_latency_is_told_or_measured(config: EvalConfig[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    late = subject(Seeker(horizon=10), Path("seeker"))
    assert latency_of(replace(config, latency=3), late) == 3
    assert latency_of(replace(config, latency="measured"), late) == 1  # of 100 ms; the toy's policy takes less
    monkeypatch.setattr(eval_subject, "seconds_per_call", lambda one: 0.25)
    assert latency_of(replace(config, latency="measured"), late) == 1, "every row of a table gets the same answer"
    another = subject(Seeker(horizon=10), Path("seeker"))
    assert latency_of(replace(config, latency="measured"), another) == 3
