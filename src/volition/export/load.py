"""An exported policy, from its folder to what acts: it does as the checkpoint did, and nobody knows a difference.

observations -> Collator -> Passes (ONNX Runtime, AOTInductor ...) -> Head -> chunks, states
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor, nn

from volition.backbones.adapter import Adapter
from volition.config import Contract, Experiment, read
from volition.data.files import read_json
from volition.export.artefact import EXPORT, HEAD, PROOF, files_of
from volition.export.names import CODE
from volition.export.passes import Pass, Passes, PassKind
from volition.export.reads import require_same
from volition.export.small import from_int8
from volition.export.targets import TARGETS, Target
from volition.policy import Acting
from volition.training import checkpoint as checkpoints


@dataclass(frozen=True, kw_only=True)
class Artefact:
    """An exported policy, ready to act."""

    actor: Acting
    contract: Contract
    one_row: bool  # rows take a pass each: to ask for several at once gains nothing


def load_artefact(
    folder: Path, *, allow: tuple[str, ...] = (), unproved: bool = False, threads: int = 0, device: str = "cpu"
) -> Artefact:
    """ValueError for one that is damaged, read with another tokenizer, or, but with `unproved`, not signed.

    threads: of ONNX Runtime on a CPU, 0: what it takes by itself. allow: `CODE` among them where opening runs code.
    """
    _verify(folder, unproved=unproved)
    about = read_json(folder / EXPORT)
    target = _target(folder, about, allow)
    packages = tuple(name for name in allow if name != CODE)
    experiment: Experiment = read(folder / "config.json", allow=packages)
    contract: Contract = read(folder / "contract.json", allow=packages)
    policy = experiment.build(contract.robot, contract.transforms, pretrained=False).eval().float()
    require_same(policy.backbone.adapter, about, folder)
    _fill(policy.head, folder / HEAD)
    passes = open_passes(policy.backbone.adapter, about["passes"], target, folder, threads=threads, device=device)
    return Artefact(
        actor=Acting(passes, policy.head, policy.collator, policy.max_steps).eval(),
        contract=contract,
        one_row=not all(entry["free_rows"] for entry in about["passes"]),
    )


def open_passes(
    adapter: Adapter, entries: Sequence[Mapping[str, Any]], target: Target, folder: Path, *, threads: int, device: str
) -> Passes:
    """What `artefact.write_passes` wrote, ready to be asked."""
    opened: dict[PassKind, Pass] = {}
    for entry in entries:
        one = target.open(folder / Path(entry["file"]).name, threads=threads, device=device)
        opened[PassKind.from_json(entry["kind"])] = one if entry["free_rows"] else _row_by_row(one)
    return Passes(adapter, lambda kind, tensors: _find(opened, kind))


def _verify(folder: Path, *, unproved: bool) -> None:
    if not (folder / checkpoints.MANIFEST).exists():
        if unproved:
            return
        raise ValueError(
            f"{folder} is not signed: its proof did not hold or was not made ({PROOF} says more). "
            "Export again, or take the checkpoint"
        )
    sums = read_json(folder / checkpoints.MANIFEST)
    if found := set(sums) ^ set(files_of(folder)):
        raise ValueError(f"{folder} must hold the files of its manifest and no others: {', '.join(sorted(found))}")
    for name, expected in sums.items():
        if checkpoints.sha256(folder / name) != expected:
            raise ValueError(f"{folder / name} is not what was proved: its SHA-256 must be {expected}. Export again")


def _target(folder: Path, about: Mapping[str, Any], allow: tuple[str, ...]) -> Target:
    name = about["target"]
    if name not in TARGETS:
        raise ValueError(f"{folder} must be of one of the targets {', '.join(TARGETS)}, and is of {name!r}")
    target = TARGETS[name]
    if target.runs_code and CODE not in allow:
        raise ValueError(
            f"{folder} is of the target {name}, whose files run code when they are opened; "
            f"if you trust where it comes from, pass --allow {CODE}"
        )
    target.require()
    return target


def _fill(head: nn.Module, path: Path) -> None:
    weights = from_int8(load_file(path))
    wanted = {name: x.shape for name, x in head.state_dict().items()}
    if wanted != {name: x.shape for name, x in weights.items()}:
        raise ValueError(f"{path} must hold the weights of the head that config.json names, and holds others")
    head.load_state_dict(weights)


def _find(opened: Mapping[PassKind, Pass], kind: PassKind) -> Pass:
    assert kind in opened, f"{kind} is none of the passes that acting took when this was exported"
    return opened[kind]


def _row_by_row(one: Pass) -> Pass:
    def each(tensors: Sequence[Tensor]) -> Sequence[Tensor]:
        rows = [one([x[i : i + 1] for x in tensors]) for i in range(len(tensors[0]))]
        return [torch.cat(parts) for parts in zip(*rows)]

    return each
