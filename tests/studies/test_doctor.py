"""The doctor really tries everything, and says how to mend what is broken."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from volition.backbones import HubBackbone
from volition.recipes import demo
from volition.studies import doctor


def test_a_machine_that_runs_these_tests_is_well(tmp_path: Path) -> None:
    findings = {finding.what: finding for finding in doctor.examine(tmp_path / "runs")}
    assert list(findings) == [
        *("Python", "torch", "CPU cores", "memory", "disk", "runs"),
        *("drawing", "self-test picture", "films", "shipped weights"),
    ]
    for what in ("Python", "torch", "CPU cores", "runs", "drawing", "self-test picture", "films", "shipped weights"):
        assert findings[what].fine, findings[what].found
    assert list(tmp_path.iterdir()) == []


def test_an_old_python_is_told_what_to_type() -> None:
    assert doctor.python_version((3, 11, 0)).fine
    finding = doctor.python_version((3, 10, 14))
    assert not finding.fine
    assert "3.10.14" in finding.found
    assert "PYTHON=python3.11" in finding.found


@pytest.mark.parametrize(("kilobytes", "fine"), [(8_000_000, True), (2_000_000, False)])
def test_memory(tmp_path: Path, kilobytes: int, fine: bool) -> None:
    (tmp_path / "meminfo").write_text(f"MemTotal: 9000000 kB\nMemAvailable: {kilobytes} kB\n")
    assert doctor.memory(tmp_path / "meminfo").fine is fine


def test_memory_of_other_systems_is_not_guessed(tmp_path: Path) -> None:
    assert doctor.memory(tmp_path / "nothing").found == "not known on this system"


def test_a_full_disk_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert str(tmp_path) in doctor.disk(tmp_path / "a" / "b").found
    monkeypatch.setattr(doctor, "NEEDED_DISK_GB", 1e9)
    finding = doctor.disk(tmp_path)
    assert not finding.fine
    assert "make room" in finding.found


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    finding = doctor.writable(tmp_path / "file" / "runs")
    assert not finding.fine
    assert "--run" in finding.found


def test_a_folder_that_is_there_stays(tmp_path: Path) -> None:
    assert doctor.writable(tmp_path).fine
    assert tmp_path.is_dir()


def test_drawing_without_a_graphics_library_says_what_to_install() -> None:
    without = {**os.environ, "MUJOCO_GL": "disable"}
    for finding in (doctor.drawing(without), doctor.self_test(without)):
        assert not finding.fine
        assert "libegl1" in finding.found


def test_the_doctor_comes_even_where_the_simulator_cannot_be_imported(tmp_path: Path) -> None:
    (tmp_path / "mujoco.py").write_text("raise ImportError('no graphics library here')")
    command = "from volition.studies import doctor; import os; raise SystemExit(doctor.drawing(os.environ).found)"
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", command], env=environment, capture_output=True, text=True, timeout=100)
    assert "libegl1" in done.stderr
    assert "Traceback" not in done.stderr


def test_the_weights_that_the_demo_needs_are_looked_for() -> None:
    backbone = demo().backbone
    assert not isinstance(backbone, HubBackbone)
    assert backbone.weights == doctor.SHIPPED_WEIGHTS


def test_a_driver_that_hangs_is_not_waited_for_forever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "PATIENCE_SECONDS", 0.01)
    finding = doctor.drawing(os.environ)
    assert not finding.fine
    assert "osmesa" in finding.found


def test_a_codec_that_is_missing() -> None:
    finding = doctor.films("no-such-codec")
    assert not finding.fine
    assert "no-such-codec" in finding.found


def test_weights_that_are_missing_or_damaged(tmp_path: Path) -> None:
    assert "no-such" in doctor.weights("volition:no-such").found
    path = tmp_path / "weights.safetensors"
    save_file({"x": np.zeros(3)}, path)
    assert doctor.weights(str(path)).fine
    path.write_bytes(path.read_bytes()[:20])
    assert not doctor.weights(str(path)).fine
