"""The processes that train together, and which part of every batch each of them has.

`torchrun` starts them and tells each its place; alone, everything here is a step that costs nothing.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule
from torch.nn.parallel import DistributedDataParallel

from volition.policy import Policy
from volition.types import Target

Shares = Mapping[str, Tensor]
# What gloo and NCCL say of a neighbour that is gone.
_OF_THE_CONNECTION = ("peer", "gloo", "NCCL", "Broken pipe")
FAILED = "volition/failed"  # key of the ranks' common store: the rank that failed first


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """`index` of `count` parts of a batch; ranks that share layers, or the matrices of one, have the same part."""

    index: int = 0
    count: int = 1
    rank: int = 0  # among all of `world`
    world: int = 1
    mesh: DeviceMesh | None = None  # axes "data", "pipeline" and "tensor"; None: this process is alone

    @property
    def first(self) -> bool:
        """Whether this one writes down what is the same on all."""
        return self.rank == 0

    def require_parts(self, batch_size: int, accumulate: int) -> None:
        """ValueError that names the nearest batches that can be divided."""
        parts = self.count * accumulate
        if batch_size % parts:
            below, above = batch_size // parts * parts, (batch_size // parts + 1) * parts
            near = f"{below} or {above}" if below else f"{above}"
            ranks = "groups of ranks" if self.world > self.count else "ranks"
            raise ValueError(
                f"batch_size={batch_size} must be a multiple of {parts} = {self.count} {ranks} x accumulate="
                f"{accumulate}: take {near}"
            )

    def mean(self, value: Tensor) -> Tensor:
        """Over the parts of the batch."""
        return self.total(value) / self.count if self.count > 1 else value

    def total(self, value: Tensor) -> Tensor:
        if self.mesh is None or self.count == 1:
            return value
        value = value.clone()
        dist.all_reduce(value, group=self.mesh.get_group("data"))
        return value

    def shares(self, policy: Policy, targets: Sequence[Target], device: torch.device) -> list[Shares | None]:
        """Of every part here and every term, its weight in the mean over the whole batch (see `Loss.shared`).

        Times the number of ranks, for what ranks compute is averaged. All parts have the same terms. None: the part is
        the whole.
        """
        if self.count * len(targets) == 1:
            return [None]
        counts = [policy.counts(target) for target in targets]
        names = list(counts[0])
        own = torch.stack([torch.stack([part[name] for name in names]) for part in counts]).to(device).float()
        whole = self.total(own.sum(0)).clamp(min=1)
        return [dict(zip(names, row.unbind())) for row in own / whole * self.count]

    def barrier(self) -> None:
        if self.world > 1:
            dist.barrier()


@contextmanager
def summing(model: nn.Module, *, last: bool) -> Iterator[None]:
    """Backward passes whose gradients stay here until the last part's are added to them."""
    if isinstance(model, FSDPModule):
        model.set_requires_gradient_sync(last)
    with model.no_sync() if isinstance(model, DistributedDataParallel) and not last else nullcontext():
        yield


def launched() -> bool:
    """Whether torchrun started this process, as one of several."""
    return "RANK" in os.environ and "WORLD_SIZE" in os.environ


def require_alone(*, tensor: int, pipeline: int) -> None:
    """ValueError where one process cannot be so many ranks."""
    for name, degree in (("tensor", tensor), ("pipeline", pipeline)):
        if degree > 1:
            raise ValueError(
                f"loop.distributed.{name}={degree} needs as many ranks: start `volition train` with torchrun"
            )


class PeerError(SystemExit):
    """Another rank said already why all stop."""


class FirstError(ValueError):
    """Why all ranks stop, from the one that knew it first."""


@contextmanager
def joined(
    device: str = "cpu", *, tensor: int = 1, pipeline: int = 1, alone: bool = False
) -> Iterator[tuple[Ranks, str]]:
    """Take this process's place among those that torchrun started; and the device that is its own.

    alone: make a group of one where there is no torchrun, as sharding with offloading wants it.
    Whichever rank fails first says so; the others end without a word.
    """
    if not launched() and not alone:
        require_alone(tensor=tensor, pipeline=pipeline)
        yield Ranks(), device
        return
    if device == "cuda":
        device = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    store: Any = None
    if not launched():
        store = dist.HashStore()
    kind = device.split(":")[0]
    own = {"store": store, "rank": 0, "world_size": 1} if store is not None else {}
    # What sharding with offloading keeps in the CPU's memory is added up there, by gloo.
    dist.init_process_group("cpu:gloo,cuda:nccl" if kind == "cuda" else "gloo", **own)
    try:
        yield place(kind, tensor, pipeline), device
    except BaseException as error:
        _first_word(error)
        raise
    finally:
        dist.destroy_process_group()


def place(kind: str, tensor: int, pipeline: int = 1) -> Ranks:
    """This process's, `tensor` x `pipeline` neighbours sharing a part of the batch; the group has been joined."""
    world, rank = dist.get_world_size(), dist.get_rank()
    for name, degree in (("tensor", tensor), ("pipeline", pipeline)):
        if world % degree:
            raise ValueError(f"loop.distributed.{name}={degree} must divide the number of ranks, {world}")
    together = tensor * pipeline
    axes = {"data": world // together, "pipeline": pipeline, "tensor": tensor}
    mesh = init_device_mesh(kind, tuple(axes.values()), mesh_dim_names=tuple(axes))
    return Ranks(index=rank // together, count=world // together, rank=rank, world=world, mesh=mesh)


def _first_word(error: BaseException) -> None:
    """Raises FirstError in the rank that is to speak and PeerError in the others; returns where nobody need be told."""
    rank = str(dist.get_rank())
    if dist.get_world_size() == 1 or not isinstance(error, Exception):
        return
    try:
        said = dist.distributed_c10d._get_default_store().compare_set(FAILED, "", rank).decode()
    except (RuntimeError, ValueError):  # the store went with the process that kept it
        raise PeerError(1) from error
    if said != rank:
        raise PeerError(1) from error
    if isinstance(error, ValueError | OSError):
        raise FirstError(f"rank {rank}: {error}") from error
    if isinstance(error, RuntimeError) and any(word in str(error) for word in _OF_THE_CONNECTION):
        raise FirstError(
            "another rank of this run ended without a word (was it killed, or out of memory?), and all others with it; "
            "the last checkpoint is whole: start the same command with --resume"
        ) from error
