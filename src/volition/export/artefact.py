"""An exported policy as a folder, which is signed only if it was proved.

config.json contract.json    of the checkpoint, as they were
pass0.onnx ... weights/      the passes of its VLM (see `passes`)
head.safetensors             its head
export.json                  what was exported, to what, from which checkpoint, which pass is in which file, and
                             SHA-256 of what is read elsewhere (see `reads`)
proof.json                   how it compares with the checkpoint: the same observations, the same starts
manifest.json                SHA-256 of all these files; only where the proof holds, and asked for by whoever loads
"""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from safetensors.torch import save_file
from torch import Tensor

from volition.backbones.base import Backbone
from volition.config import Contract, Experiment, read
from volition.data.files import write_json
from volition.export.names import TargetName
from volition.export.passes import PassGraph, PassKind, calls_of, noise
from volition.export.reads import PACKAGES, READS, reads
from volition.export.small import in_int8
from volition.export.targets import TARGETS, Target
from volition.export.trace import RowsFixedError
from volition.policy import Policy
from volition.training import checkpoint as checkpoints

logger = logging.getLogger(__name__)
HEAD, EXPORT, PROOF = "head.safetensors", "export.json", "proof.json"


@dataclass(frozen=True, kw_only=True)
class Source:
    """The checkpoint that is exported, in float32."""

    folder: Path
    policy: Policy
    contract: Contract
    calls: Mapping[PassKind, Sequence[Tensor]]  # of its VLM, with tensors to try them on


def load_source(path: Path, *, allow: tuple[str, ...] = ()) -> Source:
    """ValueError for what cannot be exported."""
    folder = checkpoints.resolve(path)
    experiment: Experiment = read(folder / "config.json", allow=allow)
    contract: Contract = read(folder / "contract.json", allow=allow)
    policy = experiment.build(contract.robot, contract.transforms, pretrained=False)
    checkpoints.load_weights(policy, folder)
    policy.backbone.autocast = None
    policy = policy.eval().float()
    return Source(folder=folder, policy=policy, contract=contract, calls=calls_of(policy, noise(contract.robot)))


def write_artefact(
    source: Source, name: TargetName, out: Path, say: Callable[[float, str], None] = lambda share, text: None
) -> Path:
    """Everything but the proof and the manifest. ValueError where the folder holds something, or it cannot be done."""
    TARGETS[name].require()
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} must be empty or not there yet: name another with --out")
    with _whole_or_not_at_all(out) as folder:
        passes = write_passes(source.policy.backbone, source.calls, name, folder, say)
        head = {key: x.detach().contiguous().clone() for key, x in source.policy.head.state_dict().items()}
        save_file(in_int8(head) if TARGETS[name].small else head, folder / HEAD)
        for document in ("config.json", "contract.json"):
            shutil.copyfile(source.folder / document, folder / document)
        about = {
            "target": name,
            "checkpoint": source.folder.name,
            "checkpoint_manifest": checkpoints.sha256(source.folder / checkpoints.MANIFEST),
            "versions": {package: version(package) for package in PACKAGES},
            READS: reads(source.policy.backbone.adapter),
            "passes": passes,
        }
        write_json(folder / EXPORT, about)
    return out


@contextmanager
def _whole_or_not_at_all(out: Path) -> Iterator[Path]:
    """A folder to fill, which becomes `out` when the block ends well."""
    out.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=out.parent, prefix=f".{out.name}.") as around:
        folder = Path(around) / out.name
        folder.mkdir()
        yield folder
        folder.replace(out)


def write_passes(
    backbone: Backbone,
    calls: Mapping[PassKind, Sequence[Tensor]],
    name: TargetName,
    folder: Path,
    say: Callable[[float, str], None] = lambda share, text: None,
) -> list[dict[str, Any]]:
    """A file for every kind of pass -> what `load.open_passes` wants to know of them (JSON)."""
    target, passes = TARGETS[name], []
    for number, (kind, tensors) in enumerate(calls.items()):
        say(number / len(calls), f"{name}: pass {number + 1} of {len(calls)}")
        file = f"pass{number}{target.suffix}"
        free_rows = _write_pass(target, PassGraph(backbone, kind), tensors, folder / file)
        passes.append({"file": file, "free_rows": free_rows, "kind": kind.to_json()})
    return passes


def _write_pass(target: Target, graph: PassGraph, tensors: Sequence[Tensor], path: Path) -> bool:
    """Whether any number of rows may go through it together."""
    if not target.one_row:
        try:
            target.write(graph, tensors, path, free_rows=True)
            return True
        except RowsFixedError as error:
            logger.warning("rows go through the exported model one by one: %s", str(error).splitlines()[0])
    target.write(graph, tensors, path, free_rows=False)
    return False


def sign(folder: Path, proof: Mapping[str, Any], *, holds: bool) -> None:
    """Leave the proof, and the manifest where it holds."""
    write_json(folder / PROOF, proof)
    if holds:
        write_json(folder / checkpoints.MANIFEST, {n: checkpoints.sha256(folder / n) for n in files_of(folder)})


def files_of(folder: Path) -> list[str]:
    """What belongs to an artefact: everything but the manifest, and evaluations that were left with it."""
    names = [path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()]
    return sorted(name for name in names if name != checkpoints.MANIFEST and not name.startswith("eval/"))


def size_of(folder: Path) -> int:
    """Bytes of all its files."""
    return sum((folder / name).stat().st_size for name in files_of(folder))


def is_artefact(path: Path) -> bool:
    return (path / EXPORT).is_file()
