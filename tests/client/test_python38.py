"""The robot's package keeps to Python 3.8: its syntax, and the library that was there then."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from tests.source_tree import CLIENT, relative

# What Python's own library got after 3.8 and is easy to reach for.
NEWER_NAMES = {"removeprefix", "removesuffix", "pairwise", "to_thread", "TaskGroup", "aclosing", "batched", "bit_count"}
NEWER_IMPORTS = {
    *("functools.cache", "zoneinfo", "tomllib", "graphlib", "types.NoneType", "math.lcm", "enum.StrEnum"),
    *(
        "typing.Self",
        "typing.ParamSpec",
        "typing.TypeAlias",
        "typing.Annotated",
        "typing.assert_never",
        "typing.override",
    ),
}
GENERIC = {"list", "dict", "tuple", "set", "frozenset", "type", "deque", "Callable", "Mapping", "Sequence"}


@pytest.mark.parametrize("path", CLIENT, ids=relative)
def test_the_syntax_is_that_of_python_3_8(path: Path) -> None:
    ast.parse(path.read_text(), feature_version=(3, 8))


@pytest.mark.parametrize("path", CLIENT, ids=relative)
def test_nothing_newer_than_python_3_8_is_used(path: Path) -> None:
    assert not list(too_new(path.read_text()))


def too_new(source: str) -> list[str]:
    """What would fail when the module is run (annotations are not: they stay text)."""
    tree = ast.parse(source)
    lazy = any(isinstance(node, ast.ImportFrom) and node.module == "__future__" for node in tree.body)
    annotations = {
        id(inner) for node in ast.walk(tree) for part in _annotations(node) if lazy for inner in ast.walk(part)
    }
    found = []
    for node in ast.walk(tree):
        if id(node) in annotations:
            continue
        if isinstance(node, ast.Attribute) and node.attr in NEWER_NAMES:
            found.append(node.attr)
        if isinstance(node, ast.ImportFrom):
            found += [f"{node.module}.{n.name}" for n in node.names if f"{node.module}.{n.name}" in NEWER_IMPORTS]
        if isinstance(node, ast.Import):
            found += [n.name for n in node.names if n.name in NEWER_IMPORTS]
        if isinstance(node, ast.Subscript) and isinstance(node.value, ast.Name) and node.value.id in GENERIC:
            found.append(f"{node.value.id}[...] at run time")
        if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
            found.append(f"line {node.lineno}: | at run time")
        words = {keyword.arg for keyword in getattr(node, "keywords", [])}
        if words & {"kw_only", "slots"} or ("strict" in words and getattr(node.func, "id", "") == "zip"):
            found.append(f"line {node.lineno}: {words}")
    return found


def _annotations(node: ast.AST) -> list[ast.AST]:
    if isinstance(node, ast.AnnAssign):
        return [node.annotation]
    if isinstance(node, ast.arg):
        return [node.annotation] if node.annotation else []
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        return [node.returns] if node.returns else []
    return []


@pytest.mark.parametrize(
    "source",
    [
        "x = 'a'.removeprefix('b')",
        "from functools import cache",
        "x = {} | {}",
        "x = list[int]()",
        "def f(x: list[int]): ...",
        "@dataclass(frozen=True, kw_only=True)\nclass A: ...",
        "zip(a, b, strict=True)",
    ],
)
def test_the_check_sees_what_is_too_new(source: str) -> None:
    assert too_new(source)


def test_annotations_that_stay_text_may_be_new() -> None:
    assert not too_new("from __future__ import annotations\ndef f(x: list[int] | None) -> dict[str, int]: ...")
