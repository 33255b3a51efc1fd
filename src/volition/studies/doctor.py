"""What this machine can do, and how to mend what it can't: `volition doctor`.

Every check really does the thing once: draws a picture, encodes a film, writes a file. Drawing runs in a process of its
own, because a broken graphics driver may end the process that asks it; nothing here imports the simulator, because
without a graphics library even that fails.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from io import BytesIO
from pathlib import Path

import av
import numpy as np
import torch
from safetensors import SafetensorError, safe_open

from volition.backbones.precision import computes_in_bfloat16
from volition.backbones.tiny import weights_path
from volition.envs.base import Finding

OLDEST_PYTHON = (3, 11)
NEEDED_MEMORY_GB, NEEDED_DISK_GB = 4.0, 2.0  # the demo takes about half of either
PATIENCE_SECONDS = 120.0  # for drawing; a software rasteriser on a busy machine takes ten
SHIPPED_WEIGHTS = "volition:desk-vlm"  # what the demo's backbone begins with
SELF_TEST = (
    "import json, sys\n"
    "from volition.envs.desk import selftest as desk\n"
    "from volition.envs.mobile import selftest as mobile\n"
    "sys.stdout.write(json.dumps(desk.check() + mobile.check()))"
)


def examine(runs: Path = Path("runs")) -> list[Finding]:
    """All checks, in the order in which things are needed. `runs`: the folder that runs will be written to."""
    return [
        python_version(sys.version_info[:3]),
        torch_build(),
        cores(),
        memory(Path("/proc/meminfo")),
        disk(runs),
        writable(runs),
        drawing(os.environ),
        self_test(os.environ),
        films("libx264"),
        weights(SHIPPED_WEIGHTS),
    ]


def python_version(version: tuple[int, ...]) -> Finding:
    fine = version >= OLDEST_PYTHON
    text = ".".join(map(str, version))
    oldest = ".".join(map(str, OLDEST_PYTHON))
    mend = "" if fine else f"; Volition needs {oldest} or newer: make setup PYTHON=python{oldest}"
    return Finding(what="Python", fine=fine, found=f"{text} on {platform.system()} {platform.machine()}{mend}")


def torch_build() -> Finding:
    """Fine with and without a GPU: everything runs on a CPU."""
    if torch.cuda.is_available():
        names = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
        gpu = f"GPU: {', '.join(names)}"
    elif torch.version.cuda:
        gpu = f"built for CUDA {torch.version.cuda}, but no GPU can be used; the CPU will do the work"
    else:
        gpu = "a build without CUDA, so the CPU does the work (docs/your-own-gpu.md says how to bring another)"
    kinds = [kind for kind in ("cpu", "cuda") if kind == "cpu" or torch.cuda.is_available()]
    types = ", ".join(f"{kind} in {'bfloat16' if computes_in_bfloat16(kind) else 'float32'}" for kind in kinds)
    return Finding(what="torch", fine=True, found=f"{torch.__version__}, {gpu}; computes fastest on {types}")


def cores() -> Finding:
    here = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    slow = "; the demo takes about twice as long on one" if here < 2 else ""
    return Finding(what="CPU cores", fine=True, found=f"{here} for this process{slow}")


def memory(meminfo: Path) -> Finding:
    """`meminfo`: Linux' own account; other systems are not asked."""
    if not meminfo.exists():
        return Finding(what="memory", fine=True, found="not known on this system")
    sizes = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    free = int(sizes["MemAvailable"].split()[0]) * 1024 / 1e9
    fine = free >= NEEDED_MEMORY_GB
    mend = (
        ""
        if fine
        else f"; the demo wants {NEEDED_MEMORY_GB:.0f} GB: close other programs, or evaluate with --workers 1"
    )
    return Finding(what="memory", fine=fine, found=f"{free:.1f} GB free{mend}")


def disk(folder: Path) -> Finding:
    existing = next(p for p in (folder.absolute(), *folder.absolute().parents) if p.is_dir())
    free = shutil.disk_usage(existing).free / 1e9
    fine = free >= NEEDED_DISK_GB
    mend = (
        "" if fine else f"; runs and recordings want {NEEDED_DISK_GB:.0f} GB: make room, or use --run on another disk"
    )
    return Finding(what="disk", fine=fine, found=f"{free:.1f} GB free at {existing}{mend}")


def writable(folder: Path) -> Finding:
    """Writes a file into `folder`, and leaves nothing behind that was not there."""
    absent = [p for p in (folder.absolute(), *folder.absolute().parents) if not p.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"volition")
        for made in absent:
            made.rmdir()
    except OSError as error:
        mend = f"cannot be written ({error}); run from a folder that is yours, or name another with --run"
        return Finding(what="runs", fine=False, found=f"{folder} {mend}")
    return Finding(what="runs", fine=True, found=f"{folder.absolute()} can be written")


def drawing(environment: Mapping[str, str]) -> Finding:
    backend = environment.get("MUJOCO_GL") or "chosen by the system"
    code, said = _python(["-m", "volition.envs.gl"], environment)
    found = f"pictures can be drawn (MUJOCO_GL: {backend})" if code == 0 else said
    return Finding(what="drawing", fine=code == 0, found=found)


def self_test(environment: Mapping[str, str]) -> Finding:
    code, said = _python(["-c", SELF_TEST], environment)
    if code:
        return Finding(what="self-test picture", fine=False, found=said)
    wrong: list[str] = json.loads(said)
    found = "; ".join(wrong) if wrong else "both simulators look as they should, in all scenes and through all cameras"
    return Finding(what="self-test picture", fine=not wrong, found=found)


def films(codec: str) -> Finding:
    """Encodes a short film in memory: datasets and reports hold h264."""
    try:
        with av.open(BytesIO(), "w", format="mp4") as film:
            stream = film.add_stream(codec, rate=30)
            stream.width = stream.height = 64
            stream.pix_fmt = "yuv420p"
            for brightness in (0, 128, 255):
                frame = av.VideoFrame.from_ndarray(np.full((64, 64, 3), brightness, np.uint8), format="rgb24")
                film.mux(stream.encode(frame))
            film.mux(stream.encode())
    except (av.FFmpegError, ValueError) as error:
        broken = f"PyAV {av.__version__} cannot encode with {codec} ({error})"
        return Finding(what="films", fine=False, found=f"{broken}; install it anew: pip install --force-reinstall av")
    return Finding(what="films", fine=True, found=f"PyAV {av.__version__} encodes with {codec}")


def weights(name: str) -> Finding:
    """A pretrained backbone can be opened; `name` as in `volition.backbones.tiny.weights_path`."""
    try:
        path = weights_path(name)
        with safe_open(path, framework="numpy") as file:
            number = len(list(file.keys()))
    except (ValueError, OSError, SafetensorError) as error:
        mend = f"{error}; take the file from the repository again, or install the package anew"
        return Finding(what="shipped weights", fine=False, found=mend)
    return Finding(
        what="shipped weights", fine=True, found=f"{name}, {number} tensors, {path.stat().st_size / 1e6:.1f} MB"
    )


def _python(arguments: list[str], environment: Mapping[str, str]) -> tuple[int, str]:
    """Exit code and what was said: stdout of a success, the last line of stderr of a failure."""
    try:
        done = subprocess.run(
            [sys.executable, *arguments],
            env=dict(environment),
            capture_output=True,
            text=True,
            timeout=PATIENCE_SECONDS,
        )
    except subprocess.TimeoutExpired:
        return 1, f"no answer after {PATIENCE_SECONDS:.0f} s: the graphics driver hangs; try MUJOCO_GL=osmesa"
    if done.returncode == 0:
        return 0, done.stdout
    lines = done.stderr.strip().splitlines() or [f"the process ended with code {done.returncode}"]
    return done.returncode, lines[-1].removeprefix("ImportError: ")
