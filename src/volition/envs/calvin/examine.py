"""What `volition doctor calvin` looks at: the clones, the packages, and both renderers by a self-test each.

The self-tests draw in processes of their own, because a broken graphics driver ends the process that asks it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from volition.envs.base import Finding
from volition.envs.calvin.annotations import FILES, sentences
from volition.envs.calvin.clones import CALVIN, CALVIN_ENV, Clone, commit
from volition.envs.calvin.simulator import RENDERERS, Renderer

PACKAGES = ("pybullet", "hydra-core", "omegaconf", "scipy", "pyyaml")
PATIENCE_SECONDS = 300.0  # for drawing all four scenes; a busy machine takes twenty
SELF_TEST = (
    "import json, sys; from pathlib import Path; from volition.envs.calvin.selftest import check; "
    "sys.stdout.write(json.dumps(check(Path(sys.argv[1]), sys.argv[2])))"
)
INSTALL = "pip install 'volition[calvin]'"


def examine(calvin_env: str, calvin: str, wanted: Renderer) -> list[Finding]:
    """All checks, in the order in which things are needed. `wanted`: the renderer that must work; the other one may."""
    findings = [packages(), clone(CALVIN_ENV, calvin_env), clone(CALVIN, calvin)]
    if findings[-1].fine:
        findings.append(language(CALVIN.find(calvin)))
    if all(finding.fine for finding in findings[:2]):
        folder = CALVIN_ENV.find(calvin_env)
        findings += [self_test(folder, renderer, needed=renderer == wanted) for renderer in RENDERERS]
    return findings


def packages(installed: Callable[[str], str] = version) -> Finding:
    found, missing = [], []
    for name in PACKAGES:
        try:
            found.append(f"{name} {installed(name)}")
        except PackageNotFoundError:
            missing.append(name)
    if missing:
        return Finding(what="packages", fine=False, found=f"{', '.join(missing)} not installed; {INSTALL}")
    return Finding(what="packages", fine=True, found=", ".join(found))


def clone(kind: Clone, given: str) -> Finding:
    """Present and whole; another commit than the tested one is said, and no failure."""
    what = f"clone of {kind.repository}"
    try:
        folder = kind.find(given)
    except ValueError as error:
        return Finding(what=what, fine=False, found=str(error))
    here = commit(folder)
    if not here:
        said = "no git checkout, so its commit is not known"
    elif here == kind.tested:
        said = f"commit {here[:12]}, the one that was tested"
    else:
        said = f"commit {here[:12]}; tested was {kind.tested[:12]}, so the self-tests below tell whether it will do"
    return Finding(what=what, fine=True, found=f"{folder}, {said}")


def language(folder: Path) -> Finding:
    try:
        counts = {split: sum(map(len, sentences(folder, split).values())) for split in FILES}
    except ValueError as error:
        return Finding(what="sentences", fine=False, found=str(error))
    found = ", ".join(f"{count} for {split}" for split, count in counts.items())
    return Finding(what="sentences", fine=True, found=found)


def self_test(folder: Path, renderer: Renderer, *, needed: bool, program: str = SELF_TEST) -> Finding:
    what = f"renderer {renderer}"
    wrong = _run_self_test(folder, renderer, program)
    if not wrong:
        return Finding(what=what, fine=True, found="all four scenes look as they should, through both cameras")
    use = "" if needed else " (not needed: --renderer tiny does without)"
    return Finding(what=what, fine=not needed, found="; ".join(wrong) + use)


def _run_self_test(folder: Path, renderer: Renderer, program: str) -> list[str]:
    """What is wrong, a sentence each."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    command = [sys.executable, "-c", program, str(folder), renderer]
    try:
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=PATIENCE_SECONDS)
    except subprocess.TimeoutExpired:
        return [f"no answer after {PATIENCE_SECONDS:.0f} s: the graphics driver hangs; use the renderer tiny"]
    if done.returncode == 0:
        return json.loads(done.stdout)
    if done.returncode < 0:
        return [
            f"the process that drew was ended by signal {-done.returncode}: for egl, a broken or missing graphics "
            "driver (Debian, Ubuntu: apt install libegl1 libegl-mesa0 libgl1-mesa-dri); for tiny, too little memory"
        ]
    lines = done.stderr.strip().splitlines() or [f"the process that drew ended with code {done.returncode}"]
    return [lines[-1].removeprefix("ValueError: ")]
