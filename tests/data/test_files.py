"""Files that are there whole or not at all, whoever else writes them."""

import os
from pathlib import Path

import pytest

from volition.data.files import read_json, replacing, write_json


def test_two_may_write_one_file_at_the_same_time(tmp_path: Path) -> None:
    """Two shards of one evaluation end together: each replaces the file, and neither takes the other's away."""
    path = tmp_path / "score.json"
    with replacing(path) as mine:
        mine.write_text('{"by": "me"}')
        write_json(path, {"by": "another"})
        assert read_json(path) == {"by": "another"}
    assert read_json(path) == {"by": "me"}
    assert [one.name for one in tmp_path.iterdir()] == ["score.json"]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "score.json"
    write_json(path, {"old": 1})
    with pytest.raises(RuntimeError, match="half"):
        _write_half(path)
    assert read_json(path) == {"old": 1}
    assert [one.name for one in tmp_path.iterdir()] == ["score.json"]


def _write_half(path: Path) -> None:
    with replacing(path) as temporary:
        temporary.write_text("{")
        raise RuntimeError("half written")


def test_what_killed_writers_left_is_cleared_away_a_day_later(tmp_path: Path) -> None:
    left = [tmp_path / f".score.json.{name}.part.json" for name in ("0ld", "new")]
    for path in left:
        path.write_text("{")
    os.utime(left[0], (0, 0))
    write_json(tmp_path / "score.json", {})
    assert sorted(path.name for path in tmp_path.iterdir()) == [".score.json.new.part.json", "score.json"]
