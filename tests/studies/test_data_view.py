"""Contact sheets, films and histograms show what they are given."""

from __future__ import annotations

import io
import json
import sys
from dataclasses import replace
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import write_toy
from tests.toy import SPEC
from volition.cli import main
from volition.contract import ActionSpace, Dimension, relative_arm_7d
from volition.data.checks.evidence import Trace, read_trace, spread
from volition.data.lerobot_stage import LeRobotConfig
from volition.data.open import load_episodes, load_spec
from volition.studies.data_view import film, groups, histograms, page, table


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    write_toy(tmp_path / "d", (12, 6, 8), LeRobotConfig(images="png"))
    return tmp_path / "d"


def whole(path: Path, number: int) -> Trace:
    episode = load_episodes(path)[number]
    return read_trace(episode, f"episode {number}", np.arange(len(episode)))


def test_a_contact_sheet_shows_the_pictures(dataset: Path, tmp_path: Path) -> None:
    out = tmp_path / "sheet.png"
    main(["data", "view", str(dataset), "--episode", "1", "--out", str(out), "--frames", "3"])
    sheet = np.asarray(Image.open(out).convert("RGB")).astype(int)
    steps = spread(6, 3)
    assert steps.tolist() == [0, 2, 5]
    for picture in load_episodes(dataset)[1].images(steps)["base"]:
        corner = picture[-1, -1]  # the brightest colour of that picture, which the sheet must have too
        assert (np.abs(sheet - corner).sum(-1) < 6).any()


def test_a_film_has_a_frame_a_step_and_a_cursor_that_moves(dataset: Path, tmp_path: Path) -> None:
    frames = film(whole(dataset, 0), load_spec(dataset))
    assert frames.shape[0] == 12
    assert frames.shape[1] % 2 == frames.shape[2] % 2 == 0
    dark = [(frame[380:500].max(-1) < 60).mean((0,)).argmax() for frame in frames]  # the darkest column of the plots
    assert dark == sorted(dark)
    assert dark[-1] - dark[0] > frames.shape[2] / 2
    out = tmp_path / "film.mp4"
    main(["data", "view", str(dataset), "--out", str(out)])
    with av.open(str(out)) as container:
        assert sum(1 for _ in container.decode(video=0)) >= 12


def test_dimensions_of_a_unit_share_a_plot() -> None:
    space = relative_arm_7d()
    spec = replace(SPEC, action_space=space)
    assert [(group.places, group.binary) for group in groups(spec)] == [
        ((0, 1, 2), False),
        ((3, 4, 5), False),
        ((6,), True),
    ]
    many = ActionSpace(dimensions=tuple(Dimension(name=str(i), unit="rad") for i in range(9)))
    assert [len(group.places) for group in groups(replace(SPEC, action_space=many))] == [7, 2]


def test_statistics_are_those_of_the_actions(dataset: Path, tmp_path: Path) -> None:
    out, numbers = tmp_path / "actions.html", tmp_path / "actions.json"
    main(["data", "stats", str(dataset), "--out", str(out), "--json", str(numbers)])
    actions = np.concatenate([e.actions(np.arange(len(e))) for e in load_episodes(dataset)])
    for i, row in enumerate(json.loads(numbers.read_text())):
        assert row["mean"] == pytest.approx(actions[:, i].mean(), abs=1e-6)
        assert row["max"] == pytest.approx(actions[:, i].max(), abs=1e-6)
    assert "data:image/png;base64," in out.read_text()


def test_the_share_at_the_limits_is_counted(dataset: Path) -> None:
    spec = load_spec(dataset)
    actions = np.zeros((10, 2))
    actions[:3, 0] = 1.0
    actions[3:5, 0] = -1.0
    trace = Trace(name="a", task="t", instructions=("x",), states=actions, actions=actions)
    rows = table([trace], spec)
    assert [row.at_limits for row in rows] == [0.5, 0.0]
    picture = histograms([trace], spec)
    assert Image.open(io.BytesIO(picture)).size[0] > 300
    assert "<script>" not in page(rows, picture, "<script>")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["view", "DATASET", "--episode", "3"], "episode must be in 0..2"),
        (["view", "DATASET", "--out", "x.gif"], "must end in .png, .mp4 or .rrd"),
        (["view", "DATASET", "--frames", "0"], "frames must be at least 1"),
        (["stats", "DATASET", "--out", "x.pdf"], "must end in .png or .html"),
    ],
)
def test_what_cannot_be_drawn_is_said(
    dataset: Path, capsys: pytest.CaptureFixture[str], words: list[str], message: str
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["data", *(str(dataset) if word == "DATASET" else word for word in words)])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_recording_for_rerun(dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    out = tmp_path / "episode.rrd"
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "rerun", None)  # as where it is not installed
        with pytest.raises(SystemExit):
            main(["data", "view", str(dataset), "--out", str(out)])
    assert not out.exists()
    pytest.importorskip("rerun", reason="an extra: pip install 'volition[viz]'")
    main(["data", "view", str(dataset), "--out", str(out)])
    content = out.read_bytes()
    assert content[:3] == b"RRF"
    for name in (b"camera/base", b"action/x", b"state/y", b"instruction"):
        assert name in content
