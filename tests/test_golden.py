"""Our numbers against the reference's, and that the program that compares them sees every difference."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.golden_check.__main__ import check_for, checks, fixture_names, run
from tests.golden_check.fixture import Fixture, GoldenMismatch
from tests.source_tree import ROOT

GOLDEN = ROOT / "tests" / "golden"


@pytest.mark.parametrize("name", fixture_names(GOLDEN))
def test_golden_numbers_are_ours_and_any_other_is_seen(name: str) -> None:
    fixture, check = Fixture(GOLDEN, name), check_for(name, checks())
    check(fixture)
    fixture.finish()
    assert not [key for key, caught in fixture.changed_outputs().items() if not caught]
    assert not fixture.leaks(check)


def write(folder: Path, **arrays: np.ndarray) -> Path:
    """A folder with one fixture of b_action_tokenizer's family: 4 cells in a vocabulary of 30."""
    case = {"name": "own", "vocab_size": 30, "special": 0, "bins": 5, "min": -1, "max": 1, "call_1d": None}
    case |= {"orig_size": 20, "begin": 14, "end": 20, "vocab_size_prop": 5, "max_id": 19, "min_id": 15}
    (folder / "b_action_tokenizer_own.json").write_text(json.dumps({"cases": [case]}))
    table = np.array([[-1.0, 0.0]], np.float32)
    stored = {
        "x": np.array([-1.0, 0.3, 1.0]),
        "ids": np.array([19, 17, 15]),
        "decoded": np.array([-0.75, 0.25, 0.75]),
        "all_ids": np.array([14, 17, 20]),
        "all_decoded": np.array([0.75, 0.25, -0.75]),
        "bins": np.array([-1, -0.5, 0, 0.5, 1]),
        "centers": np.array([-0.75, -0.25, 0.25, 0.75]),
        "x2d": table,
        "ids2d": np.array([[19, 17]]),
        "ids_from_torch_flat": np.array([19, 17]),
    }
    np.savez(folder / "b_action_tokenizer_own.npz", **{f"own/{key}": value for key, value in (stored | arrays).items()})
    return folder


def test_a_fixture_of_a_known_family_passes_under_any_name(tmp_path: Path) -> None:
    assert list(run(write(tmp_path))) == [(True, "pass b_action_tokenizer_own arrays=16 max_error=0")]
    assert list(run(tmp_path, perturb=True)) == [(True, "perturb b_action_tokenizer_own outputs=13 caught=13")]


@pytest.mark.parametrize(
    ("arrays", "why"),
    [
        ({"ids": np.array([19, 17, 16])}, r"own/ids: at \(2,\) must be 16, is 15"),
        ({"centers": np.array([-0.75, -0.25, 0.25, 0.7501])}, "own/centers"),
        ({"centers": np.array([-0.75, -0.25, 0.25])}, "must have the shape"),
        ({"centers": np.array([-0.75, np.nan, 0.25, 0.75])}, "NaN or infinities in other places"),
        ({"extra": np.zeros(2)}, "1 of 11 arrays not read: own/extra"),
    ],
)
def test_what_is_not_as_it_must_be_fails(tmp_path: Path, arrays: dict[str, np.ndarray], why: str) -> None:
    [(good, line)] = run(write(tmp_path, **arrays))
    assert not good
    assert re.match(f"FAIL b_action_tokenizer_own .*{why}", line)


def test_the_program_says_and_exits_with_what_it_found(tmp_path: Path) -> None:
    np.savez(write(tmp_path) / "z_unknown.npz", x=np.zeros(1))
    command = [sys.executable, "-m", "tests.golden_check", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.stdout.splitlines() == [
        "pass b_action_tokenizer_own arrays=16 max_error=0",
        "FAIL z_unknown 0 checks know this name, one must",
    ], done.stderr
    assert done.returncode == 1


def made(folder: Path, **arrays: np.ndarray) -> Fixture:
    np.savez(folder / "f.npz", **arrays)
    (folder / "f.json").write_text(json.dumps({"text": ["a", None, {"b": [1.0, 2.0]}], "flag": True, "none": []}))
    return Fixture(folder, "f")


def test_an_array_is_input_or_output_and_an_output_only_once(tmp_path: Path) -> None:
    fixture = made(tmp_path, a=np.ones(2))
    fixture.compare("a", fixture.input("a"))
    with pytest.raises(GoldenMismatch, match="input and output at once: a"):
        fixture.finish()
    with pytest.raises(GoldenMismatch, match="compared twice"):
        fixture.compare("a", np.ones(2))
    with pytest.raises(GoldenMismatch, match="missing"):
        fixture.input("b")


def test_every_kind_of_output_is_perturbed(tmp_path: Path) -> None:
    stored = {
        "float": np.array([0.0, 1e-8, np.nan, np.inf]),
        "nan": np.array(np.nan),
        "zero": np.zeros((2, 2), np.float32),
        "int": np.array([[3, 4]]),
        "bool": np.array([True, False]),
        "empty": np.zeros((0, 3)),
        "scalar": np.float64(2.0),
    }
    fixture = made(tmp_path, **stored)
    for key, value in stored.items():
        fixture.compare(key, value, atol=1e-3, rtol=1e-2)
    fixture.compare_value("f", ("text",), ["a", None, {"b": [1.0, 2.0]}])
    fixture.compare_value("f", ("flag",), True)
    fixture.compare_value("f", ("none",), [])
    fixture.finish()
    caught = fixture.changed_outputs()
    assert len(caught) == len(stored) + 3
    assert all(caught.values())


def test_a_comparison_that_sees_nothing_is_told(tmp_path: Path) -> None:
    fixture = made(tmp_path, a=np.ones(2))
    fixture.compare("a", np.ones(2), seen=np.zeros_like)
    assert fixture.changed_outputs() == {"a": False}


def test_a_check_that_reads_a_result_is_seen(tmp_path: Path) -> None:
    def honest(fixture: Fixture) -> None:
        fixture.compare_value("f", ("text", 2, "b"), [1.0, 2.0])
        fixture.compare_value("f", ("text", 0), "a")

    def peeping(fixture: Fixture) -> None:
        honest(fixture)
        fixture.compare_value("f", ("flag",), fixture.json("f")["flag"])

    fixture = made(tmp_path)
    honest(fixture)
    assert fixture.leaks(honest) == []
    fixture = made(tmp_path)
    peeping(fixture)
    assert fixture.leaks(peeping) == ["f.json:flag"]
