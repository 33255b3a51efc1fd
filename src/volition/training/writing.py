"""Writing checkpoints while training goes on.

    Trainer --snapshot--> copies in memory --a thread--> .step_N.writing --flushed, renamed--> step_N

Several ranks write their files side by side into one folder, which they must all see; the first waits until all are
done and moves it into place.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import threading
import time
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from volition.training.checkpoint import (
    AVERAGE,
    MANIFEST,
    OPTIMIZER,
    STATE,
    WEIGHTS,
    list_checkpoints,
    moments_of,
    read_state,
    sha256,
    weights_of,
)
from volition.training.pieces import file_name, own_pieces
from volition.training.ranks import Ranks
from volition.training.train import Trainer

PATIENCE = 900.0  # seconds that the first rank waits for the files of the others


@dataclass(frozen=True, kw_only=True)
class Snapshot:
    """What one rank writes of a step."""

    step: int
    world: int  # that tensors are spread over: 1 where the first rank has all
    tensors: Mapping[str, tuple[dict[str, Tensor], dict[str, str]]]  # stem -> pieces and header
    documents: Mapping[str, Any]  # JSON files by name, written by the first rank


def snapshot(trainer: Trainer, documents: Mapping[str, Any], about: Mapping[str, Any]) -> Snapshot:
    """about: what else trainer.json should say."""
    kept = {WEIGHTS: weights_of(trainer.policy), OPTIMIZER: moments_of(trainer)}
    if trainer.average is not None:
        kept[AVERAGE] = trainer.average.weights
    state = {
        "step": trainer.step,
        "loss_scale": [trainer.scale.factor, trainer.scale.finite_steps],
        "recent_losses": trainer.spikes.recent,
        **about,
    }
    return Snapshot(
        step=trainer.step,
        world=1 if trainer.whole else trainer.ranks.world,
        tensors={stem: own_pieces(tensors, trainer.writes) for stem, tensors in kept.items()},
        documents={**documents, STATE: state},
    )


def save(run: Path, trainer: Trainer, documents: Mapping[str, Any], *, keep_last: int = 1) -> Path:
    """A checkpoint of the present step, written before this returns; its folder."""
    with Writer(run, trainer.ranks, keep_last=keep_last) as writer:
        writer.save(snapshot(trainer, documents, {}))
    return run / "checkpoints" / f"step_{trainer.step}"


class Writer:
    """One checkpoint at a time; a context that ends when the last is written. Errors come at the next call."""

    def __init__(self, run: Path, ranks: Ranks, *, keep_last: int, keep_best: int = 0):
        self._run, self._ranks, self._keep_last, self._keep_best = run, ranks, keep_last, keep_best
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._writing: Future[None] | None = None
        self._given_up = threading.Event()

    def save(self, taken: Snapshot) -> None:
        """Returns at once; all ranks call it."""
        self.wait()
        aside = _aside(self._run, taken.step)
        if self._ranks.first:
            shutil.rmtree(aside, ignore_errors=True)
            aside.mkdir(parents=True)
        self._ranks.barrier()
        self._writing = self._thread.submit(self._write, taken)

    def wait(self) -> None:
        """Until the checkpoint in work is in place. OSError where it could not be written."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, taken: Snapshot) -> None:
        aside = _aside(self._run, taken.step)
        try:
            _write_files(aside, taken, self._ranks)
            if self._ranks.first:
                _commit(aside, taken, self._ranks, self._given_up)
                _drop(self._run, self._keep_last, self._keep_best)
        except (OSError, SafetensorError) as error:
            shutil.rmtree(aside, ignore_errors=True)
            raise OSError(
                f"the checkpoint of step {taken.step} could not be written: {error}. Those before it are whole: make "
                "room, then start the same command with --resume"
            ) from error

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None and self._ranks.world > 1:
            self._given_up.set()  # the other ranks may never finish their files
        try:
            if error is None:
                self.wait()
                self._ranks.barrier()
        finally:
            self._thread.shutdown()


def _aside(run: Path, step: int) -> Path:
    return run / "checkpoints" / f".step_{step}.writing"


def _write_files(aside: Path, taken: Snapshot, ranks: Ranks) -> None:
    sums = {}
    for stem, (pieces, header) in taken.tensors.items():
        if pieces:
            path = aside / file_name(stem, ranks.rank, taken.world)
            save_file(pieces, path, metadata=header or None)
            flush(path)
            sums[path.name] = sha256(path)
    done = _done(aside, ranks.rank)
    done.with_suffix(".part").write_text(json.dumps(sums))
    done.with_suffix(".part").replace(done)


def _commit(aside: Path, taken: Snapshot, ranks: Ranks, given_up: threading.Event) -> None:
    """The documents, the sums of everything, and the name that makes it count."""
    reports = [_done(aside, rank) for rank in range(ranks.world)]
    until = time.monotonic() + PATIENCE
    while not all(report.exists() for report in reports):
        if given_up.wait(0.02) or time.monotonic() > until:
            raise OSError("the other ranks have not written their files: do they see the same folder?")
    sums = {name: digest for report in reports for name, digest in json.loads(report.read_text()).items()}
    for report in reports:
        report.unlink()
    for name, document in taken.documents.items():
        path = aside / name
        path.write_text(json.dumps(document, indent=1) + "\n")
        flush(path)
        sums[name] = sha256(path)
    (aside / MANIFEST).write_text(json.dumps(sums, indent=1) + "\n")
    flush(aside / MANIFEST)
    flush(aside)
    final = aside.with_name(f"step_{taken.step}")
    shutil.rmtree(final, ignore_errors=True)
    aside.rename(final)
    flush(final.parent)


def _done(aside: Path, rank: int) -> Path:
    return aside / f"done-{rank}.json"


def _drop(run: Path, keep_last: int, keep_best: int) -> None:
    """All checkpoints but the last and, of those with a validation loss, the best."""
    found = list_checkpoints(run)
    losses: dict[Path, float] = {}
    for path in found if keep_best else []:
        if (loss := read_state(path).get("validation_loss")) is not None:
            losses[path] = loss
    best = sorted(losses, key=lambda path: losses[path])
    for path in found[:-keep_last]:
        if path not in best[:keep_best]:
            (path / MANIFEST).unlink()  # from here on it is none
            shutil.rmtree(path)


def flush(path: Path) -> None:
    """Have the file or folder on the disk, not only in the memory of the system."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some file systems refuse to flush a folder; a file that cannot be flushed is not there.
        with contextlib.suppress(OSError) if path.is_dir() else contextlib.nullcontext():
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
