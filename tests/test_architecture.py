"""Who may import whom, read from the source itself: lazy, relative and named imports included.

records <- types <- backbones <- heads <- policy <- training <- config <- recipes <- studies <- cli
data, envs, evaluation and serving stand beside it: they know records and contract only, and never torch
volition_client, which robots install, stands below all of it and imports nothing of ours
"""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

from tests.source_tree import CLIENT, OURS, PACKAGE, imported, module_name

# part -> parts (or modules of parts) that it may import. A part may always import itself; a new part needs a row.
MAY_IMPORT: dict[str, set[str]] = {
    "records": set(),
    "contract": set(),
    "geometry": set(),
    "action_tokens": set(),
    "names": set(),
    "robots": {"records", "contract", "geometry", "action_tokens"},
    "types": {"records"},
    "data": {"records", "contract", "geometry"},
    "envs": {"records", "contract", "names", "geometry"},
    "evaluation": {"records", "contract"},
    "serving": {"records", "contract", "robots.meaning", "evaluation.batching"},
    "backbones": {"records", "types"},
    "heads": {"records", "contract", "types", "backbones"},
    "auxiliary": {
        "records",
        "types",
        "backbones",
        "heads",
        "data.transforms",
        "data.vision_language",
        "data.remote",
        "data.sampler",
    },
    "policy": {"records", "contract", "types", "backbones", "heads", "auxiliary", "data.transforms"},
    "training": {"records", "contract", "types", "backbones", "heads", "policy"},
    "config": {
        *("contract", "names", "backbones", "heads", "auxiliary", "policy", "training"),
        *("data.record", "data.transforms", "data.action_transforms", "data.fit", "data.calvin_select"),
        *("data.mixture", "data.codecs"),
        "envs.base",
    },
    "compat": {
        *("records", "contract", "geometry", "action_tokens", "types", "backbones", "heads", "policy"),
        "data.action_transforms",
    },
    "export": {
        *("records", "contract", "types", "backbones", "heads", "policy", "training", "config"),
        *("evaluation", "envs.base", "data.files"),
    },
    "recipes": {"contract", "backbones", "heads", "training", "config", "data", "envs"},
    "studies": {
        *("records", "contract", "types", "backbones", "heads", "policy", "training", "config", "recipes"),
        *("data", "envs", "evaluation", "auxiliary", "geometry", "names", "serving", "export"),
    },
    "cli": {
        *("records", "contract", "types", "backbones", "heads", "policy", "training", "config", "recipes"),
        *("data", "envs", "evaluation", "studies", "names"),
    },
}
# part -> packages besides Python's own. What a simulator, a robot or a data worker loads stays small.
MAY_NEED: dict[str, set[str]] = {
    "records": {"numpy"},
    "contract": set(),
    "geometry": {"numpy"},
    "action_tokens": {"numpy"},
    "names": set(),
    "robots": {"numpy", "volition_client"},
    "types": {"torch", "jaxtyping"},
    "data": {"numpy", "pyarrow", "av", "PIL", "h5py", "fsspec", "aiohttp"},
    "envs": {
        "numpy",
        "mujoco",
        "PIL",
        "yaml",
        "pybullet",
        "omegaconf",
        "calvin_env",
        "gymnasium",
        "metaworld",
        "libero",
        "simpler_env",
    },
    "evaluation": {"numpy", "av", "PIL"},
    "serving": {"numpy", "PIL", "msgpack", "starlette", "uvicorn", "uvloop", "zmq", "volition_client"},
    "backbones": {"torch", "jaxtyping", "transformers", "tokenizers", "safetensors"},
    "heads": {"torch", "jaxtyping", "tokenizers", "diffusers"},
    "auxiliary": {"numpy", "torch", "jaxtyping", "transformers"},
    "policy": {"numpy", "torch"},
    "training": {"torch", "transformers", "safetensors", "peft", "bitsandbytes", "trackio", "wandb"},
    "config": set(),
    "compat": {"numpy", "torch", "jaxtyping", "transformers", "safetensors", "peft", "PIL"},
    "export": {"numpy", "torch", "jaxtyping", "transformers", "safetensors", "onnx", "onnxruntime", "openvino"},
    "recipes": set(),
    "studies": {
        *("numpy", "torch", "jaxtyping", "safetensors", "matplotlib", "PIL", "av", "mujoco", "rich", "tyro"),
        *("ray", "optuna", "huggingface_hub", "rerun"),
    },
    "cli": {"tyro"},
}
WITHOUT_TORCH = (
    *("records", "contract", "geometry", "action_tokens", "names", "robots", "data", "envs", "evaluation", "serving"),
)


def part_of(module: str) -> str:
    """'volition.data.cache' -> 'data'"""
    return module.split(".")[1]


def forbidden(source: str, module: str, *, is_package: bool = False) -> list[str]:
    """What the module imports against the two tables."""
    part = part_of(module)
    found = []
    for name in imported(ast.parse(source), module, is_package=is_package):
        root, _, rest = name.partition(".")
        if root == "volition":
            allowed = {part, *MAY_IMPORT[part]}
            if rest and not any(f"{rest}.".startswith(f"{target}.") for target in allowed):
                found.append(f"{module} imports {name}")
        elif root not in sys.stdlib_module_names and root not in MAY_NEED[part]:
            found.append(f"{module} needs {root}")
    return found


def test_the_robots_package_needs_little_and_nothing_of_ours() -> None:
    for path in CLIENT:
        names = {
            name.split(".")[0] for name in imported(ast.parse(path.read_text()), "volition_client.x", is_package=False)
        }
        assert names - set(sys.stdlib_module_names) <= {"numpy", "msgpack", "websockets", "volition_client"}, path


def parts_there_are() -> set[str]:
    return {part_of(module_name(path)) for path in OURS if module_name(path).count(".")}


def test_every_part_of_the_package_has_a_row_in_both_tables() -> None:
    assert parts_there_are() == MAY_IMPORT.keys()
    assert parts_there_are() == MAY_NEED.keys()


def test_the_table_of_imports_has_no_circle() -> None:
    settled: set[str] = set()
    while len(settled) < len(MAY_IMPORT):
        ready = {
            part
            for part, targets in MAY_IMPORT.items()
            if part not in settled and {target.split(".")[0] for target in targets} <= settled
        }
        assert ready, f"these import each other in a circle: {sorted(MAY_IMPORT.keys() - settled)}"
        settled |= ready


@pytest.mark.parametrize("path", OURS, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_run_one_way(path: Path) -> None:
    module = module_name(path)
    if module == "volition":
        assert not list(imported(ast.parse(path.read_text()), module, is_package=True))
        return
    assert not forbidden(path.read_text(), module, is_package=path.name == "__init__.py")


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from volition.heads import Head", "volition.backbones.base"),
        ("def f():\n    from volition import policy", "volition.heads.lstm"),
        ("from ..policy import Policy", "volition.heads.lstm"),
        ("from .. import data", "volition.evaluation.chain"),
        ("import volition.envs.desk.desk", "volition.evaluation.suite"),
        ("from importlib import import_module\nimport_module('volition.training')", "volition.heads.base"),
        ("from volition.data import cache", "volition.config"),
        ("if True:\n    import torch", "volition.data.windows"),
        ("from torch import nn", "volition.contract"),
        ("import numpy as np\nimport pandas", "volition.data.lerobot"),
    ],
)
def test_the_check_sees_every_way_to_import(source: str, module: str) -> None:
    assert forbidden(source, module)


@pytest.mark.parametrize(
    ("source", "module"),
    [
        ("from . import gl", "volition.envs.render"),
        ("import json\nfrom volition.data.transforms import Chain", "volition.policy"),
        ("from volition.records import Start", "volition.envs.desk.starts"),
    ],
)
def test_the_check_lets_through_what_the_table_allows(source: str, module: str) -> None:
    assert not forbidden(source, module)


def test_parts_beside_the_model_run_without_torch() -> None:
    modules = [module_name(path) for path in OURS]
    light = [name for name in modules if name != "volition" and part_of(name) in WITHOUT_TORCH]
    program = (
        "import sys, importlib\n"
        f"for name in {light!r}: importlib.import_module(name)\n"
        "sys.exit(', '.join(m for m in ('torch', 'transformers', 'jaxtyping') if m in sys.modules) or None)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, f"importing {', '.join(WITHOUT_TORCH)} also loads: {done.stderr}"
