"""A JSON config of RoboVLMs -> `RoboVLMsConfig`, and what became of every key in it.

Every key is honoured (a field of ours), named as dead, named as said elsewhere, or refused. null counts as absent.
"""

from __future__ import annotations

import dataclasses
import difflib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, get_args, get_origin, get_type_hints

from volition.compat.actions import ActionScaling
from volition.compat.config import ActHeadConfig, LossWeights, OptimConfig, RoboVLMsConfig, TrainSetup
from volition.compat.families import FAMILIES
from volition.compat.keys import DEAD, ELSEWHERE, REFUSED, WHOLE

SCALING = {
    "norm_action": bool,
    "norm_min": float,
    "norm_max": float,
    "regular_action": bool,
    "x_mean": float,
    "x_std": float,
    "use_mu_law": bool,
    "mu_val": float,
}
TOP = ("robovlm_name", "model", "window_size", "fwd_pred_next_n", "use_hand_rgb", "image_size", "tcp_rel")
RENAMED = {
    "vlm.pretrained_model_name_or_path": "vlm_path",
    "tokenizer.pretrained_model_name_or_path": "tokenizer_path",
    "tokenizer.additional_special_tokens": "additional_special_tokens",
}
IN_TRAINER = ("max_epochs", "max_steps", "accumulate_grad_batches")
# The discrete keys are written at the top level by some files and in the head by others.
IN_HEAD_OR_TOP = ("n_bin", "min_action", "max_action")


@dataclass(frozen=True, kw_only=True)
class ConfigReport:
    """Dotted names of the file's keys. `dead` and `elsewhere` say why, and where."""

    honoured: tuple[str, ...]
    dead: Mapping[str, str]
    elsewhere: Mapping[str, str]


def read_config(path: Path) -> tuple[RoboVLMsConfig, ConfigReport]:
    """ValueError for an unknown key (with the nearest known one), a wrong value, or what cannot be run."""
    values = _flat(_merged(Path(path), ()))
    _check_family(path, values)  # first: files of other models have sections of their own
    hints = _hints()
    known = {*hints, *DEAD, *ELSEWHERE, *REFUSED}
    for key, value in values.items():
        if key not in known:
            near = difflib.get_close_matches(key, sorted(known), n=1, cutoff=0.4)
            raise ValueError(f"{path}: unknown key {key!r}" + (f"; did you mean {near[0]!r}?" if near else ""))
        if key in REFUSED and value not in (None, False):
            raise ValueError(f"{path}: {key!r} cannot be {value!r}: {REFUSED[key]}; leave it out")
    given = {key: _checked(path, key, value, hints[key]) for key, value in values.items() if key in hints}
    return _config(path, given), ConfigReport(
        honoured=tuple(sorted(given)),
        dead=MappingProxyType({key: DEAD[key] for key in sorted(values) if key in DEAD and key not in hints}),
        elsewhere=MappingProxyType({key: ELSEWHERE[key] for key in sorted(values) if key in ELSEWHERE}),
    )


def _check_family(path: Path, values: dict[str, Any]) -> None:
    name = values.get("robovlm_name", RoboVLMsConfig.robovlm_name)
    if name not in FAMILIES:
        raise ValueError(
            f"{path}: robovlm_name must be one of {', '.join(FAMILIES)}, whose checkpoints can be run as they are; "
            f"got {name!r}. Other models: fine-tune them with Volition's own backbones (volition backbones)"
        )


def _merged(path: Path, below: tuple[Path, ...]) -> dict[str, Any]:
    """The file over its parents; a parent's path is relative to the file that names it."""
    path = path.resolve()
    if path in below:
        raise ValueError(f"{path} is its own parent: {' -> '.join(map(str, (*below, path)))}")
    if not path.is_file():
        raise ValueError(f"{path} must be a JSON config of RoboVLMs, there is no such file")
    try:
        tree = json.loads(path.read_text())
    except json.JSONDecodeError as error:
        raise ValueError(f"{path} must be JSON: {error}") from error
    if not isinstance(tree, dict):
        raise ValueError(f"{path} must hold a JSON object, got {type(tree).__name__}")
    if not tree.get("parent"):
        return tree
    return _over(_merged(path.parent / tree["parent"], (*below, path)), tree)


def _over(base: dict[str, Any], top: dict[str, Any]) -> dict[str, Any]:
    merged = dict(base)
    for key, value in top.items():
        both = isinstance(value, dict) and isinstance(base.get(key), dict)
        merged[key] = _over(base[key], value) if both else value
    return merged


def _flat(tree: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names; null is absent."""
    flat: dict[str, Any] = {}
    for key, value in tree.items():
        name = f"{prefix}{key}"
        if isinstance(value, dict) and name not in WHOLE:
            flat |= _flat(value, f"{name}.")
        elif value is not None:
            flat[name] = value
    return flat


def _hints() -> dict[str, Any]:
    """Dotted key -> the type of its value, for every key that is honoured."""
    hints: dict[str, Any] = dict(SCALING)
    top = get_type_hints(RoboVLMsConfig)
    hints |= {name: top[name] for name in (*TOP, "use_vision_resampler", "use_clip_norm")}
    hints |= {key: top[name] for key, name in RENAMED.items()}
    hints |= {f"act_head.{name}": hint for name, hint in get_type_hints(ActHeadConfig).items()}
    hints |= {name: get_type_hints(ActHeadConfig)[name] for name in IN_HEAD_OR_TOP}
    hints |= {f"train_setup.{name}": hint for name, hint in get_type_hints(TrainSetup).items()}
    hints |= get_type_hints(LossWeights)
    for name, hint in get_type_hints(OptimConfig).items():
        hints[f"trainer.{name}" if name in IN_TRAINER else name] = hint
    return hints


def _checked(path: Path, key: str, value: Any, hint: Any) -> Any:
    if get_origin(hint) is Literal:
        if value not in get_args(hint):
            choices = ", ".join(map(repr, get_args(hint)))
            raise ValueError(f"{path}: {key} must be one of {choices}, got {value!r}")
        return value
    if get_origin(hint) is tuple:
        if not isinstance(value, list) or not all(isinstance(x, str) for x in value):
            raise ValueError(f"{path}: {key} must be a list of texts, got {value!r}")
        return tuple(value)
    allowed = (int, float) if hint is float else (hint,)
    if not isinstance(value, allowed) or (isinstance(value, bool) and hint is not bool):
        raise ValueError(f"{path}: {key} must be of type {hint.__name__}, got {value!r}")
    return hint(value)


def _config(path: Path, given: dict[str, Any]) -> RoboVLMsConfig:
    def part(kind: type, prefix: str = "") -> Any:
        names = [field.name for field in dataclasses.fields(kind)]
        return {name: given[f"{prefix}{name}"] for name in names if f"{prefix}{name}" in given}

    top = {key: given[key] for key in IN_HEAD_OR_TOP if key in given}
    plain = {key: given[key] for key in (*TOP, "use_vision_resampler", "use_clip_norm") if key in given}
    return RoboVLMsConfig(
        **plain,
        **{field: given[key] for key, field in RENAMED.items() if key in given},
        act_head=ActHeadConfig(**(top | part(ActHeadConfig, "act_head."))),
        train_setup=TrainSetup(**part(TrainSetup, "train_setup.")),
        scaling=_scaling(given),
        weights=LossWeights(**part(LossWeights)),
        optim=OptimConfig(**(part(OptimConfig) | part(OptimConfig, "trainer."))),
    )


def _scaling(given: dict[str, Any]) -> ActionScaling:
    normal = (given.get("norm_min", -1.0), given.get("norm_max", 1.0))
    regular = (given.get("x_mean", 0.0), given.get("x_std", 1.0))
    return ActionScaling(
        normal=normal if given.get("norm_action") else None,
        regular=regular if given.get("regular_action") else None,
        mu=given.get("mu_val", 255.0) if given.get("use_mu_law") else None,
    )
