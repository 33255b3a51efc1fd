"""`volition export`: write the artefact, compare it with its checkpoint twice, and sign it if both comparisons hold."""

from __future__ import annotations

from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from volition.config import dump
from volition.envs.base import EnvConfig, require_tasks
from volition.evaluation.chunking import Execute
from volition.evaluation.episodes import Trial
from volition.evaluation.rollout import RolloutConfig
from volition.evaluation.suite import task_trials
from volition.export.artefact import Source, load_source, sign, size_of, write_artefact
from volition.export.closed_loop import ClosedLoop, closed_loop
from volition.export.load import Artefact, load_artefact
from volition.export.names import CODE
from volition.export.parity import Parity, parity, watch
from volition.studies.eval_run import Say
from volition.studies.eval_subject import one_thread, rows_of, slots_of
from volition.studies.export_command import Export
from volition.studies.output import tell, write
from volition.studies.progress import Bars


def execute(command: Export[Any]) -> Path:
    """The artefact's folder. SystemExit with status 1 where it is not signed."""
    source = load_source(command.checkpoint, allow=command.allow)
    env: EnvConfig = command.environment.fit(source.contract.robot)
    require_tasks(env, command.tasks)
    with Bars() as bars, one_thread():
        folder = write_artefact(source, command.target, command.out, partial(bars.say, "export"))
        exported = load_artefact(folder, allow=(*command.allow, CODE), unproved=True, threads=1)
        bars.say("export", 1.0, f"{size_of(folder) / 1e6:.1f} MB")
        proof = prove(command, source, exported, env, bars.say)
    sign(folder, proof, holds=proof["holds"])
    write(command.json, {"folder": str(folder), "bytes": size_of(folder), **proof})
    tell("\n".join(proof["says"]))
    if not proof["holds"]:
        raise SystemExit(1)
    return folder


def prove(command: Export[Any], source: Source, exported: Artefact, env: EnvConfig, say: Say) -> dict[str, Any]:
    """A document of plain values: what was found, what was asked for, and whether it holds."""
    each = max(1, command.starts)
    tasks = command.tasks or command.recorded or env.tasks
    trials = task_trials(tasks, num_starts=each, first_seed=command.seed, scenes=env.scenes)
    say("parity", 0.0, f"{len(tasks)} episodes")
    shown = watch(
        source.policy, env, trials[::each], replan_steps=source.contract.window.replan_steps, looks=command.looks
    )
    same = parity(source.policy, exported.actor, shown, source.contract.robot.action_space)
    loop = _compare(command, source, exported, env, trials, say) if command.starts else None
    alike = same.cosine >= command.least_cosine
    holds = alike and loop is not None and loop.not_worse
    says = [*_of_parity(same, command.least_cosine), *_of_loop(loop), _verdict(alike, loop)]
    wanted = {name: getattr(command, name) for name in ("least_cosine", "margin", "starts", "seed", "max_steps")}
    wanted |= {"environment": dump(env), "tasks": list(tasks)}
    found = {"parity": asdict(same), "closed_loop": None if loop is None else asdict(loop)}
    return {"target": command.target, "wanted": wanted, **found, "holds": holds, "says": says}


def _compare(
    command: Export[Any], source: Source, exported: Artefact, env: EnvConfig, trials: list[Trial], say: Say
) -> ClosedLoop:
    def config(most: int) -> RolloutConfig:
        return RolloutConfig(
            chunking=Execute(steps=source.contract.window.replan_steps),
            max_steps=env.max_steps if command.max_steps is None else command.max_steps,
            space=source.contract.robot.action_space,
            num_workers=command.workers,
            slots_per_worker=slots_of(env, len(trials), command.workers),
            batch=most,
        )

    configs = config(rows_of(env, one_row=False)), config(rows_of(env, one_row=exported.one_row))
    text = f"{len(trials)} starts, the policy and the exported one"
    return closed_loop(
        source.policy, exported.actor, env, trials, configs, command.margin, lambda share: say("compare", share, text)
    )


def _of_parity(same: Parity, least: float) -> list[str]:
    errors = " ".join(f"{error:.1e}" for error in same.largest_error)
    return [
        f"parity over {same.observations} observations: cosine {same.cosine:.5f} (wanted {least:g}; the worst step "
        f"{same.least_cosine:.4f}), binary actions equal in {same.binary_agreement:.1%}",
        f"step by step of the chunk: cosine {' '.join(f'{cosine:.5f}' for cosine in same.cosines)}",
        f"... largest error of any action {errors}",
    ]


def _of_loop(loop: ClosedLoop | None) -> list[str]:
    if loop is None:
        return ["no closed-loop comparison (--starts 0)"]
    gain = loop.difference
    enough = f"{loop.enough} such starts are enough" if loop.enough else "no number of such starts would show it"
    broke = [f"{loop.num_errors} episodes broke off"] if loop.num_errors else []
    return [
        f"closed loop over {gain.count} starts: exported {loop.exported:.1%}, policy {loop.policy:.1%}; difference "
        f"{gain.value:+.1%} ({gain.low:+.1%} to {gain.high:+.1%}), which must lie above {-loop.margin:+.1%}: {enough}",
        *broke,
    ]


def _verdict(alike: bool, loop: ClosedLoop | None) -> str:
    if not alike:
        return "NOT signed: its actions are not those of the policy"
    if loop is None:
        return "NOT signed: nothing shows that it does as well (--starts)"
    if not loop.policy:
        return "NOT signed: the policy itself never succeeds there, so that nothing can be compared"
    if not loop.not_worse:
        return f"NOT signed: it may be worse by {loop.margin:.1%} or more; more --starts make the interval narrower"
    return "signed"
