"""What is said about folders that are no clones."""

from __future__ import annotations

from pathlib import Path

import pytest

from volition.envs.calvin.clones import CALVIN, CALVIN_ENV, CLONES, Clone, commit

HASH = "0123456789abcdef0123456789abcdef01234567"


def make(folder: Path, clone: Clone, leave_out: str = "") -> Path:
    """A folder with the files of a clone, empty."""
    for name in clone.needed:
        if name != leave_out:
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).touch()
    return folder


@pytest.fixture(autouse=True)
def unset(monkeypatch: pytest.MonkeyPatch) -> None:
    for clone in CLONES:
        monkeypatch.delenv(clone.variable, raising=False)


def test_a_clone_is_found_by_flag_and_by_variable(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    one, other = make(tmp_path / "one", CALVIN_ENV), make(tmp_path / "other", CALVIN_ENV)
    assert CALVIN_ENV.find(str(one)) == one
    monkeypatch.setenv(CALVIN_ENV.variable, str(other))
    assert CALVIN_ENV.find() == other
    assert CALVIN_ENV.find(str(one)) == one


def test_where_nothing_is_said_the_error_says_what_to_do() -> None:
    with pytest.raises(ValueError, match="mees/calvin_env, then set VOLITION_CALVIN_ENV"):
        CALVIN_ENV.find()


def test_each_mistake_is_told_from_the_others(tmp_path: Path) -> None:
    env, language = make(tmp_path / "env", CALVIN_ENV), make(tmp_path / "language", CALVIN)
    with pytest.raises(ValueError, match="no such folder"):
        CALVIN_ENV.find(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="it is one of mees/calvin: VOLITION_CALVIN is for that one"):
        CALVIN_ENV.find(str(language))
    with pytest.raises(ValueError, match="it is one of mees/calvin_env: VOLITION_CALVIN_ENV is"):
        CALVIN.find(str(env))
    with pytest.raises(ValueError, match=r"env is: name that folder"):
        CALVIN_ENV.find(str(env / "calvin_env"))
    with pytest.raises(ValueError, match=r"env is: name that folder"):
        CALVIN_ENV.find(str(tmp_path))
    (tmp_path / "apart" / "empty").mkdir(parents=True)
    with pytest.raises(ValueError, match=r"has no calvin_env/envs/play_table_env.py; clone it"):
        CALVIN_ENV.find(str(tmp_path / "apart" / "empty"))
    lost = CALVIN_ENV.needed[-1]
    with pytest.raises(ValueError, match=f"these files are missing: {lost}; clone it anew"):
        CALVIN_ENV.find(str(make(tmp_path / "apart" / "part", CALVIN_ENV, leave_out=lost)))


def test_the_commit_is_read_without_git(tmp_path: Path) -> None:
    git = tmp_path / ".git"
    assert commit(tmp_path) == ""
    (git / "refs" / "heads").mkdir(parents=True)
    (git / "HEAD").write_text(f"{HASH}\n")
    assert commit(tmp_path) == HASH
    (git / "HEAD").write_text("ref: refs/heads/main\n")
    assert commit(tmp_path) == ""
    (git / "packed-refs").write_text(f"# pack-refs with: peeled\n{HASH} refs/heads/main\n")
    assert commit(tmp_path) == HASH
    (git / "refs" / "heads" / "main").write_text("f" * 40)
    assert commit(tmp_path) == "f" * 40
    inside = tmp_path / "inside"
    inside.mkdir()
    (inside / ".git").write_text("gitdir: ../.git\n")
    assert commit(inside) == "f" * 40
