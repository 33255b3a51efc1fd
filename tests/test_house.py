"""What no file of ours does, and how long files and functions may be: read from the source itself."""

from __future__ import annotations

import ast
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.source_tree import ALL, PACKAGE, ROOT, called, imported, module_name, relative

MAX_FILE, MAX_FUNCTION = 300, 50  # lines
LONGER: dict[str, str] = {}  # "path" or "path::function" -> the reason why it may be longer
# Names that only these files may use, with the reason.
EXCEPTIONS: dict[tuple[str, str], str] = {
    (
        "src/volition/data/calvin.py",
        "pickle",
    ): "CALVIN's annotations are a pickle; the unpickler admits numpy arrays only",
    (
        "src/volition/evaluation/workers.py",
        "pickle",
    ): "what makes an environment goes through a pipe to a process that this one started; nothing is read from a file",
    ("src/volition/evaluation/worker.py", "pickle"): "the other end of that pipe",
    ("src/volition/compat/checkpoint.py", "torch.load"): "foreign checkpoints are no other format; weights_only always",
    ("src/volition/compat/checkpoint.py", "pickle"): "the error that torch.load raises for a hostile file",
    (
        "src/volition/backbones/efficientnet.py",
        "torch.load",
    ): "the package carries its weights in torch's own format; it is read with weights_only, which runs no code",
    ("src/volition/names.py", "import_module"): "an import path becomes an object; configs check what they name before",
}


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_files_and_functions_are_short(path: Path) -> None:
    text = path.read_text()
    lengths = {relative(path): (len(text.splitlines()), MAX_FILE)}
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno is not None
            lengths[f"{relative(path)}::{node.name}"] = (node.end_lineno - node.lineno + 1, MAX_FUNCTION)
    long = {name: length for name, (length, limit) in lengths.items() if length > limit}
    assert not {name: length for name, length in long.items() if name not in LONGER}
    unused = [name for name in LONGER if name.split("::")[0] == relative(path) and name not in long]
    assert not unused, f"no exception is needed any more for {unused}"


PICKLES = {"pickle", "cPickle", "dill", "cloudpickle", "marshal", "shelve", "joblib"}


def misdeeds(tree: ast.Module, module: str) -> Iterator[tuple[str, int]]:
    """(what, line) for everything that no file of ours does."""
    for node in ast.walk(tree):
        line = getattr(node, "lineno", 0)
        if isinstance(node, ast.ExceptHandler) and node.type is None:
            yield "bare except", line
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = imported(ast.Module(body=[node], type_ignores=[]), module, is_package=False)
            yield from (("pickle", line) for name in names if name.split(".")[0] in PICKLES)
        if isinstance(node, ast.Call):
            if isinstance(node.func, ast.Name) and node.func.id in ("print", "eval", "exec", "compile", "breakpoint"):
                yield node.func.id, line
            if called(node) in ("import_module", "__import__") and not isinstance(node.args[0], ast.Constant):
                yield "import_module", line
            words = {keyword.arg: getattr(keyword.value, "value", None) for keyword in node.keywords}
            if words.get("allow_pickle") or words.get("trust_remote_code") or words.get("shell"):
                yield "a call that runs foreign code", line
            if isinstance(node.func, ast.Attribute) and ast.unparse(node.func) == "torch.load":
                yield "torch.load", line


@pytest.mark.parametrize("path", ALL, ids=relative)
def test_no_file_does_what_none_may(path: Path) -> None:
    module = module_name(path) if path.is_relative_to(PACKAGE) else "tests"
    found = set(misdeeds(ast.parse(path.read_text()), module))
    if path.is_relative_to(PACKAGE):
        allowed = {name for file, name in EXCEPTIONS if file == relative(path)}
        assert {what for what, _ in found} >= allowed, "an exception that is needed no more"
        found = {(what, line) for what, line in found if what not in allowed}
    else:  # tests make hostile files, to see them refused
        found = {(what, line) for what, line in found if what in ("bare except", "print", "exec")}
    assert not found


@pytest.mark.parametrize(
    ("source", "what"),
    [
        ("try:\n    f()\nexcept:\n    g()", "bare except"),
        ("print('x')", "print"),
        ("import pickle as p", "pickle"),
        ("def f():\n    from pickle import loads", "pickle"),
        ("np.load(path, allow_pickle=True)", "a call that runs foreign code"),
        ("torch.load(path)", "torch.load"),
        ("exec(text)", "exec"),
        ("importlib.import_module(name)", "import_module"),
    ],
)
def test_the_check_sees_misdeeds(source: str, what: str) -> None:
    assert what in {name for name, _ in misdeeds(ast.parse(source), "volition.data.cache")}


# Written in pieces, so that this file does not contain them.
UNWANTED = (
    re.compile(r"(?<![\w.~}<-])/(wo" + r"rk|tm" + r"p|ro" + r"ot)(/|\b(?![\w-]))"),
    re.compile(r"pypi" + r"\.org|python" + r"hosted|download" + r"\.pytorch|conda" + r"\.io"),
)


def tracked() -> list[Path]:
    """What git has or would add; without git (an unpacked archive) everything but what is hidden or built."""
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    if listed.returncode == 0:
        return [ROOT / name for name in listed.stdout.split("\0") if name and (ROOT / name).is_file()]
    ours = (path for path in ROOT.rglob("*") if path.is_file() and not skipped(path.relative_to(ROOT).parts[:-1]))
    return sorted(ours)


def skipped(folders: tuple[str, ...]) -> bool:
    """Folders that installing, testing and training make."""
    made = {"runs", "build", "dist", "__pycache__"}
    return any(name in made or name.endswith(".egg-info") or (name[0] == "." and name != ".ci") for name in folders)


def test_no_file_names_this_machine_or_a_package_registry() -> None:
    found = []
    for path in tracked():
        data = path.read_bytes()
        if b"\0" in data[:8192]:
            continue
        for number, line in enumerate(data.decode().splitlines(), start=1):
            found += [f"{relative(path)}:{number}: {line.strip()}" for shape in UNWANTED if shape.search(line)]
    assert not found


@pytest.mark.parametrize(
    "text", ["see /" + "tmp/x", 'Path("/' + 'work")', "cd /" + "root", "https://pypi" + ".org/simple"]
)
def test_the_check_sees_machine_paths(text: str) -> None:
    assert any(shape.search(text) for shape in UNWANTED)


@pytest.mark.parametrize("text", ["runs/" + "work/x", "https://a.example/wor" + "king", "https://py" + "torch.org"])
def test_the_check_lets_other_paths_through(text: str) -> None:
    assert not any(shape.search(text) for shape in UNWANTED)
