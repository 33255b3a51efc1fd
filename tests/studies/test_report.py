import dataclasses
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.evaluation.worlds import TASKS, Lazy, Seeker, WatchedWorld
from volition.evaluation.probes import score_swaps, swap_trials
from volition.evaluation.rollout import RolloutConfig, evaluate
from volition.evaluation.statistics import wilson
from volition.evaluation.suite import score_tasks, task_trials
from volition.studies.report import write_report
from volition.studies.report_build import blind_twin, choose_episodes, describe_machine, group_rows, make_clips
from volition.studies.report_numbers import THIN, duration, interval, percent
from volition.studies.report_parts import Curve, Fact, NextCommand, Phase, Report, Swap
from volition.studies.report_plots import Axes, line_plot

HERE = RolloutConfig(num_workers=0, slots_per_worker=4, batch=4, max_steps=20)
TRIALS = task_trials(TASKS, num_starts=3, first_seed=0)
VOID = {"meta", "img", "br", "line", "circle", "polyline"}


class Reader(HTMLParser):
    """Checks that tags are closed in order; collects tags, attributes and text."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def read(path: Path) -> Reader:
    reader = Reader()
    reader.feed(path.read_text(encoding="utf-8"))
    assert reader.open == []
    return reader


@pytest.fixture(scope="module")
def report() -> Report:
    """A report of real episodes in the toy world, with every part."""
    seeing, blind = (evaluate(actor, WatchedWorld(), TRIALS, HERE) for actor in (Seeker(deaf=True), Lazy()))
    swaps = evaluate(Seeker(), WatchedWorld(), swap_trials(TRIALS, lambda start: TASKS, TASKS), HERE)
    shown = choose_episodes(seeing, num_successes=2, num_failures=2)
    told, swapped = make_clips(WatchedWorld(), [seeing[0], swaps[0]], control_hz=10.0, num_workers=0)
    return Report(
        title="A point that goes where it is told",
        lead="It has learned <nothing> & everything.",
        success=score_tasks(seeing).success,
        seconds=291.4,
        groups=group_rows(seeing, {"Squares": TASKS}, blind),
        phases=(Phase(name="Recording", seconds=61.0, note="2 cores"), Phase(name="Training", seconds=172.0)),
        settings=(("Recipe", "toy"),),
        machine=describe_machine(),
        commands=(NextCommand(line='volition eval "runs/a b" && true', what="More of it"),),
        unseen="None of these starts were in the training data.",
        facts=(Fact(label="Tasks", value="2", note="red and blue"),),
        losses=(Curve(name="seeing", points=tuple((float(s), 1.0 / s) for s in range(1, 100))),),
        progress=(Curve(name="seeing", points=((1.0, 0.3), (5.0, 0.9)), intervals=((0.2, 0.4), (0.8, 1.0))),),
        clips=make_clips(WatchedWorld(), shown, control_hz=10.0, num_workers=0),
        swap=Swap(score=score_swaps(swaps), pairs=((told, swapped),)),
        blind=blind_twin(seeing, blind, "The twin saw nothing."),
        created=1.7e9,
    )


def test_the_numbers_that_others_read(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    found = json.loads((tmp_path / "report.json").read_text())
    assert found["success_rate"] == 0.5
    assert found["success_interval"] == list(report.success.interval)
    assert found["seconds"] == 291.4
    assert found["num_episodes"] == 6
    assert found["tasks"]["reach_red"]["success_rate"] == 1.0
    assert found["tasks"]["reach_red"]["blind_rate"] == 0.0
    assert found["swap"]["commanded_rate"] == 1.0
    assert found["blind"]["difference"] == 0.5
    assert found["phases"][0] == {"name": "Recording", "phase_seconds": 61.0, "note": "2 cores"}
    assert sorted(p.name for p in tmp_path.iterdir()) == ["report.html", "report.json"], "nothing half-written stays"


def test_the_page_is_whole_and_says_everything(report: Report, tmp_path: Path) -> None:
    text = read(write_report(report, tmp_path)).text
    for part in (
        "A point that goes where it is told",
        f"50{THIN}%",
        "4min51s",
        "What was learned",
        "See for yourself",
        "None of these starts",
        "reach red",
        "Does it listen?",
        "Does it look?",
        "The twin saw nothing.",
        "+50points",
        "Success after minutes of training",
        f"2{THIN}min 52{THIN}s",
        'volition eval "runs/a b" && true',
        "Everything else",
    ):
        assert part in text, part


def test_the_page_needs_nothing_beside_itself(report: Report, tmp_path: Path) -> None:
    path = write_report(report, tmp_path)
    reader = read(path)
    sources = [
        value for _, attributes in reader.tags for name, value in attributes.items() if name in ("src", "poster")
    ]
    assert len(sources) >= 2 * len(report.clips)
    assert all(value is not None and value.startswith("data:") for value in sources)
    assert not [tag for tag, attributes in reader.tags if tag == "link" or "href" in attributes]
    assert not re.findall(r"https?://|url\(|@import", path.read_text(encoding="utf-8"))
    policy = next(a["content"] for tag, a in reader.tags if tag == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")


def test_words_from_outside_are_shown_and_never_run(report: Report, tmp_path: Path) -> None:
    evil = '<script>alert("1")</script>" onload="x$title${body}'
    clip = dataclasses.replace(report.clips[0], instruction=evil, task=evil)
    changed = dataclasses.replace(
        report,
        title=evil,
        lead=evil,
        unseen=evil,
        clips=(clip, clip),
        settings=((evil, evil),),
        facts=(Fact(label=evil, value=evil),),
        phases=(Phase(name=evil, seconds=1.0, note=evil),),
        losses=(Curve(name=evil, points=((0.0, 1.0),)), Curve(name=evil, points=((0.0, 1.0),))),
        swap=None if report.swap is None else dataclasses.replace(report.swap, pairs=((clip, clip),)),
    )
    reader = read(write_report(changed, tmp_path))
    assert [tag for tag, _ in reader.tags].count("script") == 1
    assert not [a for _, a in reader.tags if "onload" in a]
    assert reader.text.count(evil) >= 10


def test_parts_that_are_missing_leave_no_trace(report: Report, tmp_path: Path) -> None:
    bare = dataclasses.replace(
        report, clips=(), swap=None, blind=None, losses=(), progress=(), facts=(), settings=(), machine=(), commands=()
    )
    reader = read(write_report(bare, tmp_path))
    assert [a for t, a in reader.tags if t in ("video", "img", "svg")] == []
    headings = re.findall(r"<h2>(.*?)</h2>", (tmp_path / "report.html").read_text(encoding="utf-8"))
    assert headings == ["Task by task", "Where the time went"]


def test_a_number_that_is_none_is_refused_and_the_old_report_stays(report: Report, tmp_path: Path) -> None:
    write_report(report, tmp_path)
    before = (tmp_path / "report.html").read_bytes()
    broken = dataclasses.replace(report, losses=(Curve(name="loss", points=((1.0, float("nan")),)),))
    with pytest.raises(ValueError, match="must be finite"):
        write_report(broken, tmp_path)
    assert (tmp_path / "report.html").read_bytes() == before


def test_films_show_successes_of_many_tasks_and_then_failures() -> None:
    results = evaluate(Seeker(), WatchedWorld(), TRIALS, HERE)
    results += evaluate(Lazy(), WatchedWorld(), TRIALS[:1], HERE)
    shown = choose_episodes(results, num_successes=3, num_failures=2)
    assert [(r.task, r.success) for r in shown] == [
        ("reach_red", True),
        ("reach_blue", True),
        ("reach_red", True),
        ("reach_red", False),
    ]


def test_clips_are_h264_at_the_robots_own_speed(report: Report) -> None:
    clip = report.clips[0]
    assert clip.film[4:8] == b"ftyp"
    assert clip.poster[:2] == clip.strip[:2] == b"\xff\xd8"
    assert 0 < clip.duration <= 2.0


def test_groups_must_name_every_task_once() -> None:
    results = evaluate(Seeker(), WatchedWorld(), TRIALS, HERE)
    with pytest.raises(ValueError, match="must name every task of the results once"):
        group_rows(results, {"Red": TASKS[:1]})


@pytest.mark.parametrize(
    ("value", "written"), [(1.0, "100"), (0.997, "99"), (0.0, "0"), (0.002, "1"), (0.936, "94"), (0.5, "50")]
)
def test_a_rate_is_never_rounded_to_all_or_nothing(value: float, written: str) -> None:
    assert percent(value) == f"{written}{THIN}%"


def test_intervals_are_rounded_outwards() -> None:
    assert interval(wilson(19, 20)) == f"76\u2013100{THIN}%"
    assert wilson(19, 20).high > 0.99


@pytest.mark.parametrize(
    ("seconds", "written"),
    [(4.21, "4.2 s"), (9.96, "10 s"), (59.7, "1 min 00 s"), (291.4, "4 min 51 s"), (4021.0, "1 h 07 min")],
)
def test_durations(seconds: float, written: str) -> None:
    assert duration(seconds).replace(THIN, " ") == written


class TestPlots:
    axes = Axes(x_label="step", y_label="loss")

    def line(self, drawing: str) -> np.ndarray:
        found = re.findall(r'<polyline class="line" points="([^"]*)"', drawing)
        return np.array([[float(v) for v in pair.split(",")] for pair in found[0].split()])

    def test_a_curve_stands_where_its_ticks_say(self) -> None:
        drawing = line_plot([Curve(name="a", points=((0.0, 0.0), (50.0, 1.0), (100.0, 2.0)))], self.axes)
        first, middle, last = self.line(drawing)
        assert middle == pytest.approx((first + last) / 2, abs=0.1)
        assert first[1] > last[1], "up is more"
        at = {
            text: float(y)
            for y, text in re.findall(r'class="tick end"[^>]* y="([\d.]+)">([^<]*)<', drawing.split("</svg>")[0])
        }
        assert at["1"] - 4 == pytest.approx(middle[1], abs=0.2)

    def test_a_logarithmic_axis_spaces_factors_alike(self) -> None:
        points = ((0.0, 0.01), (1.0, 0.1), (2.0, 1.0))
        axes = dataclasses.replace(self.axes, log=True)
        first, middle, last = self.line(line_plot([Curve(name="a", points=points)], axes))
        assert middle[1] == pytest.approx((first[1] + last[1]) / 2, abs=0.1)

    @pytest.mark.parametrize("count", [1, 2, 39, 40, 5000])
    def test_any_number_of_points_can_be_drawn(self, count: int) -> None:
        points = tuple((float(i), 3.0) for i in range(count))
        line = self.line(line_plot([Curve(name="a", points=points)], self.axes))
        assert 1 <= len(line) <= 400
        assert np.isfinite(line).all()

    def test_a_smoothed_curve_is_not_moved_by_one_spike(self) -> None:
        values = [1.0] * 60
        values[30] = 100.0
        drawing = line_plot([Curve(name="a", points=tuple(enumerate_floats(values)))], self.axes)
        assert np.ptp(self.line(drawing)[:, 1]) < 0.2

    def test_intervals_must_belong_to_points(self) -> None:
        with pytest.raises(ValueError, match="an interval for each or for none"):
            Curve(name="a", points=((0.0, 1.0),), intervals=((0.0, 1.0), (0.0, 1.0)))


def enumerate_floats(values: list[float]) -> list[Any]:
    return [(float(i), value) for i, value in enumerate(values)]
