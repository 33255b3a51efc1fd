"""`volition eval`: a checkpoint against an environment that must fit its contract, or against recorded actions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from volition.config import load
from volition.contract import require_equal
from volition.data.files import write_json
from volition.data.open import load_episodes, load_spec
from volition.data.remote import located
from volition.envs.base import EnvConfig, require_tasks
from volition.evaluation.chain import chain_trials
from volition.evaluation.journal import differences_of
from volition.evaluation.offline import offline_metrics
from volition.evaluation.suite import task_trials
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_report import About, evaluation_report
from volition.studies.eval_run import Done, Plan, Say, checkpoint_hash, merge
from volition.studies.eval_score import difference, document_of, score_of
from volition.studies.eval_subject import Subject, learned_from, make_plan, perform
from volition.studies.harness_file import write_harness_file
from volition.studies.probing import probe
from volition.studies.report import write_report
from volition.studies.report_parts import NextCommand
from volition.studies.timing import timing

SCORE = "score.json"  # beside the results: all that was said of them
RESAMPLED_FROM = 1_000_000  # added to --seed: an environment may have a seed of its own for the protocol's chains


def evaluate_checkpoint(config: EvalConfig[Any], say: Say = lambda phase, share, text: None) -> dict[str, Any]:
    """Everything that was asked for, in one document of plain values."""
    require_tasks(config.environment, config.tasks)
    subject = Subject.load(config.checkpoint, config)
    score: dict[str, Any] = {"checkpoint": str(config.checkpoint), "env": config.env}
    if config.offline is not None:
        score["offline"] = _offline(subject, config.offline)
    if config.closed_loop:
        subjects = [subject, *([Subject.load(config.against, config)] if config.against else [])]
        score |= _closed_loop(config, subjects, say)
    if config.probes:
        score["probes"] = probe(config, subject, subject.fit(config.environment), say)
    if config.timing:
        score["timing"] = timing(config, subject, subject.fit(config.environment), say)
    return score


def _closed_loop(config: EvalConfig[Any], subjects: Sequence[Subject], say: Say) -> dict[str, Any]:
    """The score of the first; where there is a second, how they differ on the same starts."""
    score: dict[str, Any] = {}
    found = [plans(config, subject, subject.fit(config.environment)) for subject in subjects]
    for key in found[0]:
        ran = [perform(config, subject, mine[key], say) for subject, mine in zip(subjects, found)]
        document = document_of(ran[0])
        if len(ran) == 2 and all(done.complete for done in ran):
            document["against"] = {"checkpoint": str(config.against), **_difference(ran[0], ran[1])}
        if ran[0].complete:
            document["harness_file"] = str(write_harness_file(ran[0]))
            write_json(ran[0].folder / SCORE, document)  # whatever becomes of the report
        if config.report and ran[0].complete:
            say(found[0][key].name, 1.0, "filming for the report")
            document["report"] = str(_report(config, subjects[0], found[0][key], ran[0], document))
            write_json(ran[0].folder / SCORE, document)
        score |= {key: document} if key else document
    return score


def _against(first: Done, second: Done) -> dict[str, Any]:
    """ValueError where the two took place in different worlds; their starts are compared one by one."""
    if different := differences_of(_world(first.settings), _world(second.settings)):
        lines = "\n  ".join(different)
        raise ValueError(f"compared evaluations must differ in the policy alone; they differ in\n  {lines}")
    return {"checkpoint": str(second.settings["checkpoint"]), **_difference(first, second)}


def _world(settings: Mapping[str, Any]) -> dict[str, Any]:
    """What a task's success depends on besides the policy; each policy looks at pictures of its own size."""
    environment = {name: value for name, value in settings["environment"].items() if name != "image_sizes"}
    same = {name: settings[name] for name in ("simulator", "perturbations")}
    return {"environment": environment, **same, "max_steps": settings["rollout"]["max_steps"]}


def _difference(first: Done, second: Done) -> dict[str, Any]:
    """Or why there is none: the first one's own figures are not lost with it."""
    pairs = list(zip(first.ordered, second.ordered))
    if all(one.error or other.error for one, other in pairs):
        return {"error": next(error for one, other in pairs if (error := one.error or other.error))}
    return difference(first, second)


def merged(
    folders: Sequence[Path],
    *,
    films: int | None,
    against: Sequence[Path] = (),
    checkpoint: Path | None = None,
    allow: tuple[str, ...] = (),
) -> dict[str, Any]:
    """The score of what several machines did; a report with so many films, or None of it, in the first folder.

    `against`: folders of another evaluation on the same starts. ValueError where `checkpoint` is not the one that was
    evaluated, or where the two cannot be compared.
    """
    done = merge(folders)
    if checkpoint is not None and checkpoint_hash(checkpoint) != done.settings["checkpoint"]:
        raise ValueError(f"{checkpoint} must be what was evaluated, whose hash is {done.settings['checkpoint']}")
    score = score_of(done)
    if against:
        score["against"] = _against(done, merge(against))
    score["harness_file"] = str(write_harness_file(done))
    write_json(done.folder / SCORE, score)
    if films is not None:
        settings = done.settings
        env = load(settings["environment"], allow=allow)
        name, _, rest = settings["name"].partition("-")
        about = About(
            policy=f"checkpoint {settings['checkpoint']}",
            env_name=f"{name}, {rest}",
            env=env,
            data=None if checkpoint is None else learned_from(checkpoint, allow),
            films=films,
        )
        score["report"] = str(write_report(evaluation_report(done, score, about), done.folder))
        write_json(done.folder / SCORE, score)
    return score


def _report(config: EvalConfig[Any], subject: Subject, plan: Plan, done: Done, score: Mapping[str, Any]) -> Path:
    again = f"volition eval {config.checkpoint}" + ("" if config.recorded else f" --env {config.env}")
    chosen = next(f"--{n} {c}" for n in ("chains", "resampled", "starts") if (c := getattr(config, n)))
    about = About(
        policy=subject.name,
        env_name=config.env,
        env=plan.env,
        data=learned_from(subject.path, config.allow),
        commands=(
            NextCommand(line=f"{again} --probes", what="what does it use? Every sense and action disturbed"),
            NextCommand(line=f"{again} {chosen} --against OTHER", what="is it better than another checkpoint?"),
        ),
        films=config.films,
        workers=max(1, min(config.workers, config.films)),
    )
    return write_report(evaluation_report(done, score, about), done.folder)


def plans(config: EvalConfig[Any], subject: Subject, env: EnvConfig) -> dict[str, Plan]:
    """Key of the score ("": its top level) -> what is run for it."""
    found = {}
    if config.chains:
        trials = chain_trials(env.chains(config.chains))
        found[""] = make_plan(config, subject, env, trials, f"chains-{config.chains}")
    if config.resampled:
        trials = chain_trials(env.chains(config.resampled, RESAMPLED_FROM + config.seed))
        found["resampled"] = make_plan(config, subject, env, trials, f"resampled-{config.resampled}")
    if config.starts and not (config.probes or config.timing):  # which begin with the same episodes
        trials = task_trials(config.asked_tasks, num_starts=config.starts, first_seed=config.seed, scenes=env.scenes)
        found[""] = make_plan(config, subject, env, trials, f"starts-{config.starts}")
    return found


def _offline(subject: Subject, path: Path) -> dict[str, Any]:
    contract = subject.contract
    path = located(path)
    ours, theirs = (replace(spec, cameras=()) for spec in (contract.robot, load_spec(path)))  # any picture size will do
    require_equal(ours, theirs, left_name="the checkpoint's robot", right_name=f"that of {path}")
    stride = contract.window.replan_steps
    episodes = load_episodes(path)
    return offline_metrics(subject.policy, episodes, contract.robot.action_space, stride=stride).to_json()
