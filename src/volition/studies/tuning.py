"""Learning rates of every variant of a comparison found by Optuna, so that none is judged at another's.

    variant --trials: short runs, by validation loss--> the variant with the best rates found

Several variants are searched for at a time, the trials of each one after the other: each is drawn from what those
before it found. The search is resumable: finished trials stand in tuning.json and are not run again. It sees the
held-out episodes, as choosing any setting by validation does; closed-loop success is measured on starts that it never
saw.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from volition.config import Experiment
from volition.data.files import json_differences, read_json, write_json
from volition.studies.compare import HELD_OUT, CompareConfig, Say, asked_of
from volition.studies.same_recipe import dataset_hashes
from volition.studies.spread import spread
from volition.studies.training import run_training
from volition.studies.vary import Variant
from volition.training.metrics import read_metrics
from volition.training.train import NotFiniteError

RATES = ("lr", "backbone_lr")


@dataclass(frozen=True, kw_only=True)
class TuningConfig:
    trials: int = 12
    share: float = 0.25  # of the recipe's steps, for each trial
    low: float = 1e-5  # of both learning rates, searched evenly in their logarithm
    high: float = 1e-2

    def __post_init__(self) -> None:
        if self.trials < 1 or not 0 < self.share <= 1 or not 0 < self.low < self.high:
            raise ValueError(
                f"trials={self.trials} must be at least 1, share={self.share} in 0..1, and low={self.low} "
                f"above 0 and below high={self.high}"
            )


@dataclass(frozen=True, kw_only=True)
class Search:
    """One variant's: everything that a process on another machine needs."""

    variant: Variant
    folder: Path
    config: TuningConfig
    device: str = "cpu"


def tune(
    variants: Sequence[Variant],
    config: TuningConfig,
    comparison: CompareConfig,
    say: Say = lambda phase, share, text: None,
) -> list[Variant]:
    """Every variant with the learning rates that had its lowest validation loss. ValueError where rates are varied."""
    if varied := sorted({name for one in variants for name, _ in one.labels if name.rpartition(".")[2] in RATES}):
        raise ValueError(f"--tune finds the learning rates of every row, so {', '.join(varied)} cannot be varied too")
    _optuna()
    folder, device = comparison.run / "tuning", comparison.device
    searches = [Search(variant=one, folder=folder / one.folder, config=config, device=device) for one in variants]
    found = dict[int, Variant]()
    done = spread(tuned, searches, jobs=comparison.jobs, engine=comparison.engine, device=device)
    for number, variant in done:
        found[number] = variant
        say("tune", len(found) / len(variants), variant.name)
    return [found[number] for number in range(len(variants))]


def tuned(one: Search) -> Variant:
    """The variant with the learning rates that had the lowest validation loss, as a row of the same name."""
    best = min(search(one.variant.experiment, one.folder, one.config, one.device), key=lambda trial: trial["loss"])
    return replace(one.variant, experiment=with_rates(one.variant.experiment, best["rates"]))


def search(experiment: Experiment, folder: Path, config: TuningConfig, device: str = "cpu") -> list[dict[str, Any]]:
    """All trials: {"rates": {name: value}, "loss": validation loss}. ValueError where the folder has another search."""
    optuna = _optuna()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    done, question = folder / "tuning.json", _question(experiment, config)
    before = read_json(done) if done.exists() else {"asked": question, "trials": []}
    if not isinstance(before, dict):
        raise ValueError(f"{done} is of an earlier version, which did not say what it had searched: take another --run")
    if differences := json_differences(before["asked"], question):
        raise ValueError(f"{folder} holds another search ({differences[0]}): take another --run")
    trials: list[dict[str, Any]] = before["trials"]
    space = {name: optuna.distributions.FloatDistribution(config.low, config.high, log=True) for name in RATES}
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=experiment.loop.seed + len(trials)))
    for trial in trials:
        study.add_trial(optuna.trial.create_trial(params=trial["rates"], distributions=space, value=trial["loss"]))
    while len(trials) < config.trials:
        asked = study.ask(space)
        rates = {name: float(asked.params[name]) for name in RATES}
        loss = try_out(with_rates(experiment, rates), folder / f"trial-{len(trials)}", config.share, device)
        study.tell(asked, loss)
        trials.append({"rates": rates, "loss": loss})
        write_json(done, {"asked": question, "trials": trials})
    return trials


def _question(experiment: Experiment, config: TuningConfig) -> Any:
    """As JSON: all that a trial's loss depends on but its rates, and how these are drawn; more trials may follow."""
    kept = {name: value for name, value in asdict(config).items() if name != "trials"}
    whole = with_rates(experiment, dict.fromkeys(RATES, 0.0))
    asked = {**asked_of(whole), "datasets": dataset_hashes(experiment.data), "search": kept}
    return json.loads(json.dumps(asked))


def with_rates(experiment: Experiment, rates: Mapping[str, float]) -> Experiment:
    optim = replace(experiment.loop.optim, lr=rates["lr"], backbone_lr=rates["backbone_lr"])
    return replace(experiment, loop=replace(experiment.loop, optim=optim))


def try_out(experiment: Experiment, folder: Path, share: float, device: str) -> float:
    """Validation loss after a share of the steps; a run that diverges has the worst there is."""
    every = experiment.loop.log_every
    steps = max(every, round(experiment.loop.num_steps * share / every) * every)
    loop = replace(experiment.loop, num_steps=steps, save_every=steps, keep_last=1, keep_best=0)
    data = replace(experiment.data, held_out=experiment.data.held_out or HELD_OUT)
    try:
        run_training(replace(experiment, data=data, loop=loop), folder, resume=True, device=device)
    except NotFiniteError:
        return 1e9
    return float(read_metrics(folder / "metrics.jsonl")[-1]["validation_loss"])


def _optuna() -> Any:
    try:
        import optuna
    except ImportError as error:
        raise ValueError("--tune needs Optuna: pip install 'volition[tune]', or leave it out") from error
    return optuna
