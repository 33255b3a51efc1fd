"""`volition eval --probes`: what does the policy use, and which tasks prove nothing?

    the same starts --undisturbed | another command | nothing said | camera black or moved | delay | twins--> table

Every row is compared with the undisturbed one on the same starts, by a paired test; one that cannot be tried in this
environment says why. A twin is a policy that was trained without eyes or without ears: what it can do, seeing or
listening is not needed for.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from volition.data.files import replacing
from volition.envs.base import EnvConfig, Movable
from volition.evaluation import perturb
from volition.evaluation.episodes import Command, EpisodeResult, Trial
from volition.evaluation.inquiry import Inquiry, inquire
from volition.evaluation.perturb import Perturbation
from volition.evaluation.probes import score_swaps, swap_trials
from volition.evaluation.statistics import holm, wilson
from volition.evaluation.suite import compare, outcomes_by_task, score_tasks, task_trials
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_run import Say
from volition.studies.eval_subject import Subject, beside_evaluations, make_plan, perform
from volition.studies.probe_page import page

STARTS = 5  # of every task, where --starts says nothing
UNDISTURBED = "undisturbed"
SURE = 0.05  # a difference with a smaller p-value counts as shown
# Name of the row -> a command in other words: the first that says anything else is taken.
WORDINGS: dict[str, Callable[[Command], Command]] = {
    "said in other words": lambda command: replace(command, wording=command.wording + 1),
    "said as in training": lambda command: replace(command, split="train"),
}
CANNOT_WAIT = "the environment does not say how its robot waits: it has no method `rest() -> action`"


@dataclass(frozen=True, kw_only=True)
class Probe:
    """One way to disturb every episode. `uses`: what a policy that suffers from it makes use of; "": it is a fault."""

    name: str
    uses: str = ""
    perturbations: tuple[Perturbation, ...] = ()
    turn: Callable[[Command], Command] = lambda command: command  # what is said in its place
    env: EnvConfig | None = None  # another than the undisturbed one
    impossible: str = ""  # why it cannot be tried here

    def trials(self, trials: Sequence[Trial]) -> list[Trial]:
        return [replace(trial, commands=tuple(map(self.turn, trial.commands))) for trial in trials]


def probes(cameras: Sequence[str], env: EnvConfig, commands: Collection[Command], asked: Inquiry) -> list[Probe]:
    """All that a policy with these cameras is put through besides the swap of commands, in such an environment."""
    moved = [Probe(name=name, env=there) for name, there in ([env.camera_moved()] if isinstance(env, Movable) else [])]
    black = [
        Probe(name=f"{name} camera black", uses=f"the {name} camera", perturbations=(perturb.BlackOut(camera=name),))
        for name in cameras
    ]
    if len(cameras) > 1:
        black.append(Probe(name="all cameras black", uses="its cameras", perturbations=(perturb.BlackOut(),)))
    return [
        Probe(name="nothing said", uses="the instruction", perturbations=(perturb.Say(),)),
        _reworded(commands, asked.said),
        *black,
        Probe(name="noisy pictures", perturbations=(perturb.PixelNoise(),)),
        Probe(name="darker pictures", perturbations=(perturb.Brightness(factor=0.6),)),
        Probe(name="brighter pictures", perturbations=(perturb.Brightness(factor=1.4),)),
        Probe(name="pictures shifted by 5 %", perturbations=(perturb.ShiftPicture(),)),
        *moved,
        Probe(name="noisy actions", perturbations=(perturb.ActionNoise(),)),
        Probe(
            name="actions 2 steps late",
            perturbations=(perturb.ActionDelay(steps=2),),
            impossible="" if asked.rests else CANNOT_WAIT,
        ),
    ]


def _reworded(commands: Collection[Command], said: Mapping[Command, str]) -> Probe:
    """By another validation wording or, where there is one alone, as in training."""
    for name, turn in WORDINGS.items():
        if said and any(said[turn(command)] != said[command] for command in commands):
            return Probe(name=name, turn=turn)
    why = "the environment has no other wording" if said else "the environment did not say how it words its tasks"
    return Probe(name=next(iter(WORDINGS)), impossible=why)


def probe(config: EvalConfig[Any], subject: Subject, env: EnvConfig, say: Say) -> dict[str, Any]:
    """The table as plain values: `rows`, `swap`, `tasks`, and in words `uses` and `prove_nothing`; `page`: its path."""
    tasks, count = config.asked_tasks, config.starts or STARTS
    trials = task_trials(tasks, num_starts=count, first_seed=config.seed, scenes=env.scenes)
    asked, twins = _possible(config, subject, env, trials), _twins(config)

    def results(name: str, of: Subject, these: Sequence[Trial], one: Probe = Probe(name="")) -> list[EpisodeResult]:
        fitted = of.fit(one.env or config.environment)
        label = f"starts-{count}-{name.replace(' ', '-')}"
        plan = make_plan(config, of, fitted, one.trials(these), label, one.perturbations)
        return perform(config, of, plan, say).ordered

    plain = results(UNDISTURBED, subject, trials)
    disturbed = {UNDISTURBED: plain}
    for one in asked:
        if one.impossible:
            continue
        found = results(one.name, subject, trials, one)
        disturbed[one.name] = [replace(result, trial=trial) for result, trial in zip(found, trials)]
    disturbed |= {name: results(name, twin, trials) for name, twin in twins.items()}
    swapped = swap_trials(trials, feasible=env.feasible, tasks=tasks)
    swap = _swap(results("another-command", subject, swapped) if swapped else [])
    rows = [
        {"name": one.name, "uses": one.uses}
        | ({"error": one.impossible} if one.impossible else verdict(disturbed[one.name], plain))
        for one in (Probe(name=UNDISTURBED), *asked, *(Probe(name=name) for name in twins))
    ]
    _correct(rows)
    table = {
        "rows": rows,
        "swap": swap,
        "tasks": _by_task(disturbed),
        "uses": list(_what_it_uses(rows, swap)),
        "prove_nothing": list(prove_nothing(disturbed)),
    }
    path = beside_evaluations(config, subject, "probes.html")
    with replacing(path) as unfinished:
        unfinished.write_text(page(table, f"checkpoint {subject.path}", config.env), encoding="utf-8")
    return table | {"page": str(path)}


def _possible(config: EvalConfig[Any], subject: Subject, env: EnvConfig, trials: Sequence[Trial]) -> list[Probe]:
    """The environment is asked once, before anything is run in it."""
    own = dict.fromkeys(command for trial in trials for command in trial.commands)
    every = own | dict.fromkeys(turn(command) for turn in WORDINGS.values() for command in own)
    known = inquire(env.make, trials[0], tuple(every), num_workers=config.workers, patience_seconds=config.patience)
    return probes(subject.cameras, config.environment, own, known)


def _twins(config: EvalConfig[Any]) -> dict[str, Subject]:
    """ValueError where a checkpoint was trained with what its twin is to lack."""
    found: dict[str, Subject] = {}
    for name, path, flag in (
        ("blind twin", config.blind_twin, "--data.blind"),
        ("deaf twin", config.deaf_twin, "--data.deaf"),
    ):
        if path is not None:
            found[name] = Subject.load(path, config)
            sees, hears = found[name].senses()
            if sees if flag == "--data.blind" else hears:
                raise ValueError(f"{path} is no {name}: train one with the same recipe and {flag}")
    return found


def _swap(results: Sequence[EpisodeResult]) -> dict[str, Any] | None:
    """None where nothing else can be commanded, or what was done could not be judged."""
    attempts = [attempt for result in results if not result.error for attempt in result.attempts]
    if not attempts or attempts[0].achieved is None:
        return None
    return score_swaps(results).to_json()


def verdict(results: Sequence[EpisodeResult], plain: Sequence[EpisodeResult]) -> dict[str, Any]:
    """The figures of a row and how it differs from the plain one; where no episode could be judged, why not."""
    if all(one.error or other.error for one, other in zip(results, plain)):
        return {"error": next(r.error for r in (*results, *plain) if r.error)}
    found = score_tasks(results).success
    row = {"success_rate": found.value, "success_interval": list(found.interval), "num_episodes": found.count}
    return row | {"change": compare(results, plain).to_json()}


def _correct(rows: Sequence[dict[str, Any]]) -> None:
    """p-values for their number: among a dozen disturbances that do nothing, one looks as if it did."""
    compared = [row["change"] for row in rows[1:] if "change" in row]
    for change, p_value in zip(compared, holm([change["p_value"] for change in compared]), strict=True):
        change["p_value"] = p_value


def _by_task(disturbed: dict[str, list[EpisodeResult]]) -> dict[str, dict[str, dict[str, Any]]]:
    """Task -> row -> its rate."""
    table: dict[str, dict[str, dict[str, Any]]] = {}
    for name, results in disturbed.items():
        for task, outcomes in outcomes_by_task(results).items():
            rate = wilson(sum(outcomes), len(outcomes))
            table.setdefault(task, {})[name] = {
                "success_rate": rate.value,
                "success_interval": list(rate.interval),
                "num_episodes": rate.count,
            }
    return table


def _what_it_uses(rows: Sequence[dict[str, Any]], swap: dict[str, Any] | None) -> Iterator[str]:
    """A sentence for everything that a row shows or fails to show."""
    for row in rows:
        if row["uses"] and "error" not in row:
            change, sure = row["change"]["difference"], row["change"]["p_value"] < SURE
            shown = "it uses" if sure and change < 0 else "it is not shown to use"
            yield f"{shown} {row['uses']}: {100 * change:+.0f} points without"
    if swap is None:
        yield "whether it does what it is told could not be tried: nothing else can be done there, or be judged"
    else:
        done, other = (round(100 * swap[name]) for name in ("commanded_rate", "original_rate"))
        yield f"told another task at the same start, it does that in {done} %, what the start was made for in {other} %"


def prove_nothing(disturbed: dict[str, list[EpisodeResult]]) -> Iterator[dict[str, Any]]:
    """Tasks that a policy without eyes or ears solves from at least half of the starts.

    Without a twin, the policy's own episodes with black cameras or without a word stand for it.
    """
    black = [name for name in disturbed if name.endswith("camera black")]
    blind = "all cameras black" if "all cameras black" in disturbed else black[0] if len(black) == 1 else ""
    for sense, names in (("seeing", ("blind twin", blind)), ("listening", ("deaf twin", "nothing said"))):
        name = next((name for name in names if name in disturbed), None)
        for task, outcomes in outcomes_by_task(disturbed[name] if name else []).items():
            rate = wilson(sum(outcomes), len(outcomes))
            if rate.value >= 0.5:
                yield {
                    "task": task,
                    "needs_no": sense,
                    "shown_by": name,
                    "success_rate": rate.value,
                    "success_interval": list(rate.interval),
                    "num_episodes": rate.count,
                }
