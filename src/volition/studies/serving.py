"""A checkpoint, served until a signal comes, or compared with recorded requests."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict
from pathlib import Path

import torch

from volition.backbones import Backbone
from volition.export.captured import captured
from volition.serving.replay import replay
from volition.serving.served import Served
from volition.serving.server import Addresses, Server, run
from volition.studies.acting import load_actor, name_of
from volition.studies.output import tell, write
from volition.studies.progress import Bars
from volition.studies.serve_command import ServeCommand
from volition.training.compiled import compile_layers

MEMORY = ("window", "backbone", "head")  # parts of a recipe that a robot's memory depends on


def load_served(
    path: Path, *, allow: tuple[str, ...] = (), device: str = "cpu", compiled: bool = False, capture: bool = False
) -> Served:
    """A checkpoint or an exported policy, ready to be served.

    `compiled`: with kernels of its layers' own. `capture`: with CUDA graphs of its passes.
    """
    loaded = load_actor(path, allow=allow, device=device)
    if compiled:
        if not isinstance(loaded.actor.backbone, Backbone):
            raise ValueError(f"--compile is for checkpoints, and {path} is an exported policy: leave it out")
        compile_layers(loaded.actor.backbone)
    folder, contract = loaded.folder, loaded.contract
    recipe = json.loads((folder / "config.json").read_text())
    parts = json.dumps([recipe.get(name) for name in MEMORY], sort_keys=True)
    return Served(
        actor=captured(loaded.actor) if capture else loaded.actor,
        robot=contract.robot,
        action_horizon=contract.window.action_horizon,
        replan_steps=contract.window.replan_steps,
        contract=contract,
        memory=hashlib.sha256(parts.encode()).hexdigest(),
        name=name_of(folder),
    )


def execute(command: ServeCommand) -> None:
    if command.threads:
        torch.set_num_threads(command.threads)
    if command.replay is not None:
        _compare(command, command.replay)
        return
    _serve(command)


def _serve(command: ServeCommand) -> None:
    def ready(addresses: Addresses) -> None:
        document = {**asdict(addresses), "policy": served.name}
        tell(
            f"Serving {served.name}: {addresses.websocket} (openpi), {addresses.url}/v1/actions, page {addresses.url}/"
        )
        if addresses.zmq:
            tell(f"ZeroMQ: {addresses.zmq}")
        write(command.json, document)

    served = _load(command)
    run(Server(served, command.serve, lambda: _load(command)).serve(ready))


def _load(command: ServeCommand) -> Served:
    return load_served(
        command.checkpoint,
        allow=command.allow,
        device=command.device,
        compiled=command.compile,
        capture=command.capture,
    )


def _compare(command: ServeCommand, folder: Path) -> None:
    served = _load(command)
    with Bars() as bars:
        found = replay(
            served,
            folder,
            tolerance=command.tolerance,
            progress=lambda done: bars.say("replay", 0.0, f"{done} requests"),
        )
    tell(
        f"{found.requests} requests of {found.sessions} sessions, {found.guarded} left out (safety envelope), "
        f"{found.unanswered} more had no answer: "
        f"largest difference {found.largest:.3g}, {found.different} above {found.tolerance:g}"
    )
    write(command.json, asdict(found))
    if not found.equal:
        raise SystemExit(1)
