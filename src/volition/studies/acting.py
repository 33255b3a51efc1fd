"""What acts, from a folder: a checkpoint or an exported policy. Evaluation and serving know no difference."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch

from volition.config import Contract
from volition.export.artefact import is_artefact
from volition.export.load import load_artefact
from volition.policy import Acting
from volition.studies.training import load_policy
from volition.training import checkpoint as checkpoints


@dataclass(frozen=True, kw_only=True)
class Loaded:
    """`folder`: where its config.json, contract.json and manifest.json lie."""

    actor: Acting
    contract: Contract
    folder: Path
    one_row: bool = False  # rows of a batch are gone through one by one


def load_actor(path: Path, *, allow: tuple[str, ...] = (), device: str = "cpu") -> Loaded:
    """An exported policy, a step folder, or a run (its last step). ValueError for what is damaged or not signed.

    An exported policy takes as many threads as torch has.
    """
    if is_artefact(path):
        found = load_artefact(path, allow=allow, threads=torch.get_num_threads(), device=device)
        return Loaded(actor=found.actor, contract=found.contract, folder=path, one_row=found.one_row)
    folder = checkpoints.resolve(path)
    policy, contract = load_policy(folder, allow=allow, device=device)
    return Loaded(actor=policy, contract=contract, folder=folder)


def name_of(folder: Path) -> str:
    """'demo/step_900', or 'demo-int8' of an exported policy: for people."""
    return f"{folder.parent.parent.name}/{folder.name}" if folder.parent.name == "checkpoints" else folder.name
