"""`volition export`: write the artefact, compare it with its checkpoint twice, and sign it if both comparisons hold."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

from volition.envs.base import EnvConfig, require_tasks
from volition.evaluation.episodes import Trial
from volition.evaluation.rollout import RolloutConfig
from volition.evaluation.suite import task_trials
from volition.export.artefact import Source, load_artefact, load_source, sign, write_artefact
from volition.export.closed_loop import closed_loop, observed
from volition.export.parity import Parity, parity
from volition.records import Actor
from volition.studies.eval_subject import MAX_BATCH, one_thread
from volition.studies.export_command import Export
from volition.studies.output import tell, write
from volition.studies.progress import Bars


def execute(command: Export[Any]) -> Path:
    """The artefact's folder. SystemExit with status 1 where it is not signed."""
    source = load_source(command.checkpoint, allow=command.allow)
    env = command.environment.fit(source.contract.robot)
    require_tasks(env, command.tasks)
    with Bars() as bars, one_thread():
        bars.say("export", 0.0, command.target)
        folder = write_artefact(source, command.target, command.out)
        exported, _ = load_artefact(folder, allow=command.allow, unproved=True, threads=1)
        bars.say("export", 1.0, f"{size_of(folder) / 1e6:.1f} MB")
        proof, holds = prove(command, source, exported, env, bars)
    sign(folder, proof, holds=holds)
    write(command.json, proof)
    tell("\n".join(proof["says"]))
    if not holds:
        raise SystemExit(1)
    return folder


def prove(
    command: Export[Any], source: Source, exported: Actor, env: EnvConfig, bars: Bars
) -> tuple[dict[str, Any], bool]:
    """A document of plain values, and whether all of it holds."""
    trials = trials_of(command, env, max(1, command.starts))
    window = source.contract.window
    shown = observed(
        source.policy, env, trials[:: max(1, command.starts)], replan_steps=window.replan_steps, looks=command.looks
    )
    same = parity(source.policy, exported, shown, source.contract.robot.action_space)
    said = [
        f"parity over {same.observations} observations: cosine {same.cosine:.5f} (least {same.least_cosine:.4f}), "
        f"largest error {max(same.largest_error):.2e}, binary actions equal in {same.binary_agreement:.1%}"
    ]
    proof: dict[str, Any] = {"target": command.target, "parity": asdict(same)}
    holds = parity_holds(same, command)
    if command.starts:
        config = RolloutConfig(
            replan_steps=window.replan_steps,
            max_steps=command.max_steps or env.max_steps,
            num_workers=command.workers,
            slots_per_worker=max(1, min(env.slots_per_worker, -(-len(trials) // max(1, command.workers)))),
            batch=min(MAX_BATCH, env.slots_per_worker),
        )
        loop = closed_loop(
            source.policy, exported, env, trials, config, command.margin,
            progress=lambda share: bars.say("compare", share, f"{len(trials)} starts, twice"),
        )  # fmt: skip
        proof["closed_loop"] = asdict(loop)
        gain = loop.difference
        said.append(
            f"closed loop over {gain.count} starts: exported {loop.exported:.1%}, policy {loop.policy:.1%}, difference "
            f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}); must lie above {-loop.margin:+.1%}"
        )
        holds = holds and loop.not_worse
    else:
        said.append("no closed-loop comparison (--starts 0)")
        holds = False
    said.append("signed" if holds else "NOT signed: the proof does not hold; more --starts make the interval narrower")
    return {**proof, "holds": holds, "says": said}, holds


def trials_of(command: Export[Any], env: EnvConfig, starts: int) -> list[Trial]:
    tasks = command.tasks or env.tasks
    return task_trials(tasks, num_starts=starts, first_seed=command.seed, scenes=env.scenes)


def parity_holds(found: Parity, command: Export[Any]) -> bool:
    return found.cosine >= command.least_cosine


def size_of(folder: Path) -> int:
    """Bytes of all its files."""
    return sum(path.stat().st_size for path in folder.iterdir())
