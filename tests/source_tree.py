"""The repository's own source, for the tests that read it."""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "src" / "volition"


def sources(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


OURS = sources("src/volition")
CLIENT = sources("packages/volition-client/src")
ALL = sources("src", "packages", "tests", "examples", "benchmarks")


def example(name: str) -> ModuleType:
    """An example as a module: its name begins with a number, which `import` does not take."""
    spec = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def module_name(path: Path) -> str:
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def imported(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Full names of everything imported anywhere in the file: inside functions, relative, by a literal name."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")
                kept = above[: len(above) - node.level + is_package]
                base = ".".join([*kept, *([base] if base else [])])
            yield from (f"{base}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.Call) and called(node) in ("import_module", "__import__") and node.args:
            name = node.args[0]
            if isinstance(name, ast.Constant) and isinstance(name.value, str):
                yield name.value


def called(call: ast.Call) -> str:
    """'f' of f(...) and of a.f(...)."""
    return call.func.id if isinstance(call.func, ast.Name) else getattr(call.func, "attr", "")


def relative(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()
