"""What a demo run has to say, put into the parts of a report."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from volition.evaluation.statistics import mean_over_tasks
from volition.evaluation.suite import outcomes_by_task
from volition.recipes.desk import FURNITURE, LIFTS, PUSHES
from volition.studies.report_build import choose_episodes, describe_machine, group_rows, make_clips
from volition.studies.report_parts import Curve, Fact, NextCommand, Phase, Report, Swap

if TYPE_CHECKING:
    from volition.studies.demo import DemoRun

GROUPS = {"Furniture": FURNITURE, "Lifting blocks": LIFTS, "Pushing blocks": PUSHES}


def build_report(run: DemoRun) -> Report:
    config, experiment = run.config, run.config.experiment
    env, tasks = config.recording.env, config.recording.record.tasks
    success = mean_over_tasks(outcomes_by_task(run.results))
    shown = choose_episodes(run.results, num_successes=config.num_films - 2, num_failures=2)
    clips = make_clips(env.make, shown, control_hz=env.spec.control_hz, num_workers=2)
    minutes = run.seconds["train"] / 60
    return Report(
        title=_title(success.value),
        lead=(
            f"Trained on this machine: {run.episodes} demonstrations of {len(tasks)} tasks, "
            f"{minutes:.1f} minutes of training, a tiny vision-language model and its policy head, end to end. "
            "The model had learned to answer questions about pictures of desks before; it had never acted."
        ),
        unseen=(
            "Starts and wordings of the evaluation were never trained on; at every start the furniture stands up to "
            "6 cm and 15 degrees elsewhere, and so does the camera."
        ),
        success=success,
        seconds=sum(run.seconds.values()),
        groups=group_rows(run.results, GROUPS),
        phases=tuple(Phase(name=name.capitalize(), seconds=seconds) for name, seconds in run.seconds.items()),
        settings=_settings(run),
        machine=describe_machine(),
        commands=_commands(run),
        facts=(
            Fact(label="Demonstrations", value=str(run.episodes), note=f"{run.frames} frames, by a scripted expert"),
            Fact(label="Tasks", value=str(len(tasks)), note="8 of furniture, 3 lifts, 6 pushes"),
            Fact(label="Training steps", value=str(experiment.loop.num_steps), note=f"{minutes:.1f} minutes"),
        ),
        losses=(Curve(name="loss", points=tuple((float(m["step"]), float(m["loss"])) for m in run.metrics)),),
        clips=clips,
        swap=Swap(score=run.swap_score),
        created=time.time(),
    )


def _title(rate: float) -> str:
    """Says no more than was measured."""
    if rate >= 0.8:
        return "An arm that does what it is told"
    return "An arm that has begun to listen" if rate >= 0.3 else "The path works; the policy needs more training"


def _settings(run: DemoRun) -> tuple[tuple[str, str], ...]:
    experiment = run.config.experiment
    window = experiment.window
    return (
        ("Backbone", type(experiment.backbone).__name__),
        ("Head", type(experiment.head).__name__.removesuffix("Config")),
        ("History", f"{window.num_obs_steps} looks, {window.obs_stride} control steps apart"),
        ("Chunk", f"{window.action_horizon} actions, {window.replan_steps} executed before the next look"),
        ("Steps per task", f"at most {run.config.max_steps}"),
        ("Starts per task", str(run.config.starts_per_task)),
    )


def _commands(run: DemoRun) -> tuple[NextCommand, ...]:
    folder = run.config.run
    return (
        NextCommand(
            line=f"volition eval {folder} --env desk --chains 20",
            what="five commands in a row without a reset, as CALVIN scores it",
        ),
        NextCommand(line="volition demo --study", what="blind twin, three seeds, success against training minutes"),
        NextCommand(line=f"volition data info {folder / 'data'}", what="what the demonstrations hold"),
    )
