"""Where the user's clones of CALVIN are, and what is wrong with a folder that is none.

git clone https://github.com/mees/calvin_env        VOLITION_CALVIN_ENV or --env.calvin-env
git clone https://github.com/mees/calvin            VOLITION_CALVIN or --env.calvin: only its sentences are read
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, kw_only=True)
class Clone:
    """One of the two repositories: how it is named, found, recognised and known to work."""

    repository: str
    variable: str
    flag: str
    needed: tuple[str, ...]  # files that must be there
    tested: str  # the commit that everything was measured with

    def find(self, given: str = "") -> Path:
        """The folder that is `given`, else the one the environment variable names. ValueError says what is wrong."""
        folder = Path(given or os.environ.get(self.variable, "")).expanduser()
        if not given and not os.environ.get(self.variable):
            raise ValueError(
                f"CALVIN needs your own clone of {self.repository}: git clone https://github.com/{self.repository}, "
                f"then set {self.variable} to that folder (or pass {self.flag}); volition doctor calvin checks it"
            )
        missing = [name for name in self.needed if not (folder / name).is_file()]
        if missing:
            raise ValueError(f"{folder} must be a clone of {self.repository}, but {self._what_is(folder, missing)}")
        return folder.resolve()

    def _what_is(self, folder: Path, missing: list[str]) -> str:
        if not folder.is_dir():
            return f"there is no such folder; {self.variable} or {self.flag} names it"
        for other in CLONES:
            if other is not self and all((folder / name).is_file() for name in other.needed):
                return f"it is one of {other.repository}: {other.variable} is for that one"
        for near in (folder.parent, *sorted(path for path in folder.iterdir() if path.is_dir())):
            if all((near / name).is_file() for name in self.needed):
                return f"{near} is: name that folder"
        if len(missing) < len(self.needed):
            return f"these files are missing: {', '.join(missing)}; clone it anew, and not in parts"
        return f"it has no {missing[0]}; clone it: git clone https://github.com/{self.repository}"


CALVIN_ENV = Clone(
    repository="mees/calvin_env",
    variable="VOLITION_CALVIN_ENV",
    flag="--calvin-env",
    needed=(
        "calvin_env/envs/play_table_env.py",
        "calvin_env/envs/tasks.py",
        "conf/tasks/new_playtable_tasks.yaml",
        "conf/robot/panda_longer_finger.yaml",
        *(f"conf/scene/calvin_scene_{scene}.yaml" for scene in "ABCD"),
        *(f"data/calvin_table_{scene}/urdf/calvin_table_{scene}.urdf" for scene in "ABCD"),
        "data/franka_panda/panda_longer_finger.urdf",
    ),
    tested="797142c588c21e76717268b7b430958dbd13bf48",
)
CALVIN = Clone(
    repository="mees/calvin",
    variable="VOLITION_CALVIN",
    flag="--calvin",
    needed=tuple(f"calvin_models/conf/annotations/new_playtable{part}.yaml" for part in ("", "_validation")),
    tested="fa03f01f19c65920e18cf37398a9ce859274af76",
)
CLONES = (CALVIN_ENV, CALVIN)


def commit(folder: Path) -> str:
    """The checked-out commit, 40 digits, read without git; "" where the folder is no git checkout."""
    git = folder / ".git"
    if git.is_file():  # of a submodule or worktree: "gitdir: PATH"
        git = (folder / git.read_text().removeprefix("gitdir:").strip()).resolve()
    try:
        head = (git / "HEAD").read_text().strip()
        if not head.startswith("ref:"):
            return head
        name = head.removeprefix("ref:").strip()
        if (git / name).is_file():
            return (git / name).read_text().strip()
        packed = re.search(rf"^([0-9a-f]{{40}}) {re.escape(name)}$", (git / "packed-refs").read_text(), re.MULTILINE)
    except OSError:
        return ""
    return packed.group(1) if packed else ""
