"""Two distributions from one source: the robot's alone, and ours with the robot's in it."""

from __future__ import annotations

import re
import subprocess
import sys
import tomllib
from typing import Any

from tests.source_tree import ROOT

CLIENT = ROOT / "packages" / "volition-client"


def project(folder: Any) -> Any:
    return tomllib.loads((folder / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w-]", requirement)[0] for requirement in requirements}


def test_both_have_the_same_version_and_ours_has_what_the_robots_needs() -> None:
    ours, robots = project(ROOT), project(CLIENT)
    assert ours["project"]["version"] == robots["project"]["version"]
    assert robots["project"]["requires-python"] == ">=3.8"
    assert names(robots["project"]["dependencies"]) == {"numpy", "msgpack", "websockets"}
    have = names([*ours["project"]["dependencies"], *ours["project"]["optional-dependencies"]["serve"]])
    assert names(robots["project"]["dependencies"]) <= have


def test_ours_installs_the_robots_package_from_where_it_lives() -> None:
    where = project(ROOT)["tool"]["setuptools"]["packages"]["find"]["where"]
    found = {path.parent.name for folder in where for path in (ROOT / folder).glob("*/__init__.py")}
    assert found == {"volition", "volition_client"}


def test_a_robot_needs_nothing_of_ours_to_import_it() -> None:
    program = (
        f"import sys; sys.path.insert(0, {str(CLIENT / 'src')!r}); import volition_client; "
        "sys.exit(', '.join(m for m in sys.modules if m.split('.')[0] in ('volition', 'torch', 'starlette')) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
