"""A trained policy as one folder that others open: its weights, its contract, and a card that says what it is.

    run --export_policy--> folder {model.safetensors, config.json, contract.json, manifest.json, README.md}
    folder or name on the hub --from_pretrained--> Policy, Contract        folder --push_to_hub--> the hub

The folder is a checkpoint that only acts: averaged weights are in place of the others, nothing of the optimizer is
there, and nothing in it can run code.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from safetensors.torch import save_file

from volition.config import Contract, Experiment, read
from volition.data.files import read_json
from volition.policy import Policy
from volition.studies.training import load_policy
from volition.training import checkpoint as checkpoints
from volition.training.metrics import read_metrics
from volition.training.writing import flush

CARD = "README.md"


def export_policy(source: Path, folder: Path, *, allow: tuple[str, ...] = ()) -> Path:
    """From a step folder or a run (its last) to a new folder."""
    checkpoint = checkpoints.resolve(source)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} must be a new or empty folder: nothing in it is overwritten")
    experiment: Experiment = read(checkpoint / "config.json", allow=allow)
    contract: Contract = read(checkpoint / "contract.json", allow=allow)
    policy = experiment.build(contract.robot, contract.transforms, pretrained=False)
    checkpoints.load_weights(policy, checkpoint)
    aside = folder.with_name(f".{folder.name}.writing")
    shutil.rmtree(aside, ignore_errors=True)
    aside.mkdir(parents=True)
    tensors = {name: value.contiguous() for name, value in checkpoints.weights_of(policy).items()}
    save_file(tensors, aside / f"{checkpoints.WEIGHTS}.safetensors", metadata={"format": "pt"})
    for name in ("config.json", "contract.json"):
        shutil.copyfile(checkpoint / name, aside / name)
    state = checkpoints.read_state(checkpoint)
    (aside / checkpoints.STATE).write_text(json.dumps({"step": state["step"]}) + "\n")
    run = checkpoint.parents[1] if checkpoint.parent.name == "checkpoints" else checkpoint
    (aside / CARD).write_text(card(experiment, contract, state, run), encoding="utf-8")
    sums = {path.name: checkpoints.sha256(path) for path in sorted(aside.iterdir()) if path.name != CARD}
    (aside / checkpoints.MANIFEST).write_text(json.dumps(sums, indent=1) + "\n")
    for path in (*aside.iterdir(), aside):
        flush(path)
    if folder.exists():
        folder.rmdir()
    aside.rename(folder)
    return folder


def from_pretrained(
    name: str, *, revision: str = "main", device: str = "cpu", allow: tuple[str, ...] = ()
) -> tuple[Policy, Contract]:
    """A policy ready to act, and its contract, from an exported folder, a run, or a name on the hub."""
    folder = Path(name)
    if not folder.is_dir():
        from huggingface_hub import snapshot_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalEntryNotFoundError

        try:
            folder = Path(snapshot_download(name, revision=revision))
        except (HfHubHTTPError, HFValidationError, LocalEntryNotFoundError) as error:
            raise ValueError(
                f"{name!r} must be a folder with a policy, or the name of one on the hub that can be reached "
                f"(HF_HUB_OFFLINE=1 forbids that): {error}"
            ) from error
    return load_policy(folder, allow=allow, device=device)


def push_to_hub(folder: Path, name: str, *, private: bool = True) -> str:
    """An exported folder to the hub, under your login there; returns its address."""
    from huggingface_hub import HfApi

    checkpoints.verify(checkpoints.resolve(folder))
    api = HfApi()
    api.create_repo(name, private=private, exist_ok=True)
    return str(api.upload_folder(repo_id=name, folder_path=str(folder)))


def card(experiment: Experiment, contract: Contract, state: Mapping[str, Any], run: Path) -> str:
    """What a reader must know before a robot moves: what it was trained for, on what, and how well it does."""
    space, window, loop = contract.robot.action_space, contract.window, experiment.loop
    dimensions = [f"| {d.name} | {d.unit} | {d.low:g} to {d.high:g} | {d.kind} |" for d in space.dimensions]
    cameras = ", ".join(f"{c.name} ({c.width} x {c.height})" for c in contract.robot.cameras)
    lines = [
        "---",
        "library_name: volition",
        "tags: [robotics, vision-language-action]",
        "---",
        "",
        f"# {run.name}: a policy made with Volition",
        "",
        f"{_kind(experiment.backbone)} with {_kind(experiment.head)}, {state['step']} steps of {loop.batch_size} "
        "windows.",
        "",
        "```python",
        "from volition.studies.publishing import from_pretrained",
        'policy, contract = from_pretrained("this/folder")',
        "chunks, states = policy.act([observation], policy.start(1))",
        "```",
        "",
        "## What it expects and answers",
        "",
        f"Cameras: {cameras}. State: {', '.join(experiment.data.state) or 'not used'}. "
        f"{contract.robot.control_hz:g} Hz; {window.num_obs_steps} looks {window.obs_stride} control steps apart; "
        f"chunks of {window.action_horizon} actions, {window.replan_steps} of them executed. "
        f"Frame `{space.frame}`, rotations `{space.rotation}`, "
        f"{'relative' if space.relative else 'absolute'} actions. Convention `{contract.convention}`.",
        "",
        "| dimension | unit | range | kind |",
        "| --- | --- | --- | --- |",
        *dimensions,
        "",
        "## How well it does",
        "",
        *_numbers(run),
        "",
        "## What it was not tried on",
        "",
        "Anything but the robot, cameras and scenes of its data. Check its actions against your robot's limits before "
        "they move anything.",
    ]
    return "\n".join(lines) + "\n"


def _kind(config: Any) -> str:
    name = getattr(config, "model_id", "")
    kind = type(config).__name__
    return f"`{kind}` ({name})" if name else f"`{kind}`"


def _numbers(run: Path) -> Sequence[str]:
    """From the run's metrics and evaluations; plainly nothing where there are none."""
    found = []
    written = [*(run / "eval").glob("*.json"), *(run / "eval").glob("*/score.json")]
    for path in sorted(path for path in written if not path.name.startswith(".")):
        score = read_json(path)
        if "success_rate" in score:
            low, high = score["success_interval"]
            count = score["num_episodes"]
            rate = score["success_rate"]
            name = path.parent.name if path.name == "score.json" else path.stem
            found.append(f"- {name}: {rate:.0%} ({low:.0%} to {high:.0%}, {count} episodes, closed-loop)")
    lines = read_metrics(run / "metrics.jsonl")
    last = next((line for line in reversed(lines) if "validation_loss" in line), lines[-1] if lines else {})
    wanted = [name for name in last if name == "loss" or name.startswith("validation_")]
    found += [f"- {name.replace('_', ' ')}: {last[name]:.4g} (step {last['step']})" for name in wanted]
    return found or ["Not measured."]
