"""What can be asked of the command line: a frozen dataclass a verb, whose fields are flags and whose docstring is help.

Nothing heavy is imported before a verb is called, so that `--help` is quick.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, Literal

import tyro

from volition.envs.base import EnvConfig, Examinable, Finding
from volition.studies.env_command import AnyEnv, EnvFlags, env_and_flags, parse
from volition.studies.eval_config import EvalConfig
from volition.studies.eval_text import lines
from volition.studies.home import parse_at_home
from volition.studies.output import tell, write


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Record demonstrations, train a policy, evaluate it, and write report.html.

    Example:  volition demo            (seven to nine minutes on two cores with bfloat16)
              volition demo --small    (a minute or two: does every part work here?)
    """

    small: bool = False
    """The same path with very little of everything: it proves the path, not the policy."""
    study: bool = False
    """Add the blind twin, three seeds, from-scratch training, and success against training minutes (hours)."""
    run: Path | None = None
    """Where everything goes: runs/demo, with --small runs/demo-small. What is finished there is not done again."""
    json: Path | None = None
    """Write the report's numbers to this file as well."""

    def __call__(self) -> None:
        from volition.studies.demo import DemoConfig, run_demo
        from volition.studies.progress import Bars

        if self.small and self.study:
            raise ValueError("--small and --study exclude each other: a study repeats the whole demo")
        folder = self.run or Path("runs/demo-small" if self.small else "runs/demo")
        if self.study:
            from volition.studies.demo_study import StudyConfig, run_study

            with Bars() as bars:
                page = run_study(StudyConfig(demo=DemoConfig(run=folder)), bars.say)
        else:
            config = DemoConfig.small(folder) if self.small else DemoConfig(run=folder)
            with Bars() as bars:
                page = run_demo(config, bars.say)
        report = json.loads(page.with_name("report.json").read_text())
        low, high = report["success_interval"]
        tell(f"Success {report['success_rate']:.0%} ({low:.0%} to {high:.0%}) in {report['seconds']:.0f} s: {page}")
        write(self.json, report)


@dataclass(frozen=True, kw_only=True)
class Record(Generic[AnyEnv]):
    """Record demonstrations of the scripted expert as a LeRobot v3.0 dataset.

    Interrupt it whenever you like: the same command goes on where it stopped.

    With --learner, a policy begins each demonstration and the expert, who labels every step, ends it (DAgger): record a
    second dataset so, and train on both.

    Example:  volition record desk --out runs/my-data --episodes-per-task 20 --tasks open_drawer turn_on_led
              volition record desk --out runs/corrections --learner runs/first
    """

    environment: EnvFlags[AnyEnv]
    out: Path
    """The dataset folder."""
    tasks: tuple[str, ...] = ()
    """Short names of tasks; by default all that the environment has."""
    episodes_per_task: int = 20
    """Demonstrations of each task; failed attempts are left out and made up for."""
    chains: int = 0
    """Sequences of five tasks without a reset between them, recorded after the single episodes. With --tasks, such as
    one of these is part of: what they leave behind is seen, too."""
    image_size: tuple[int, int] | None = None
    """Height and width of every camera's pictures, in place of what --image-sizes says of each."""
    images: Literal["video", "png", "jpeg"] = "video"
    """How pictures are stored: video is smallest, png loses nothing, jpeg lies between."""
    learner: Path | None = None
    """A checkpoint that acts first, for up to --learner-steps steps."""
    learner_steps: int = 60
    allow: tuple[str, ...] = ()
    """Packages of yours that the learner's config may name."""
    seed: int = 0
    """Of the first start; the others count up from it."""
    workers: int = 2
    """Processes."""
    json: Path | None = None
    """Write what was recorded to this file as well."""

    def __call__(self) -> None:
        from volition.config import Recording
        from volition.data.lerobot_stage import LeRobotConfig
        from volition.data.perform import PerformConfig
        from volition.data.record import RecordConfig
        from volition.studies.progress import Bars
        from volition.studies.recording import record_env

        env: EnvConfig = self.environment
        if self.image_size is not None:
            height, width = self.image_size
            cameras = (dataclasses.replace(camera, height=height, width=width) for camera in env.spec.cameras)
            env = env.fit(dataclasses.replace(env.spec, cameras=tuple(cameras)))
        if self.learner is not None:
            env = _begun_by(env, self.learner, self.learner_steps, self.allow)
        config = RecordConfig(
            tasks=self.tasks or env.tasks,
            episodes_per_task=self.episodes_per_task,
            chains=self.chains,
            scenes=env.scenes,
            perform=PerformConfig(seed=self.seed, max_steps=env.max_steps),
            storage=LeRobotConfig(images=self.images),
            workers=self.workers,
        )
        with Bars() as bars:
            done = record_env(Recording(env=env, record=config), self.out, progress=bars.recording)
        tell(f"{done.episodes} episodes, {done.frames} frames in {self.out} ({done.rejected} failed attempts left out)")
        write(self.json, dataclasses.asdict(done))


def record(arguments: list[str]) -> None:
    """Record demonstrations of an environment's scripted expert as a LeRobot v3.0 dataset.

    desk, mobile, calvin and metaworld have an expert.

    Example:  volition record desk --out runs/my-data --episodes-per-task 20 --tasks open_drawer turn_on_led
              volition record mobile --out runs/my-base --space 3d --episodes-per-task 60
    """
    env, flags = env_and_flags(record, arguments)
    parse(Record, env, flags, prog=f"volition record {env}")()


def _begun_by(env: EnvConfig, learner: Path, learner_steps: int, allow: tuple[str, ...]) -> EnvConfig:
    """The environment with the learner's cameras, in which the learner begins."""
    from volition.config import read
    from volition.studies.corrections import Corrections
    from volition.training.checkpoint import resolve

    step = resolve(learner).absolute()  # a run that trains on has another last checkpoint by the next call
    fitted = env.fit(read(step / "contract.json", allow=allow).robot)
    return Corrections(env=fitted, learner=str(step), learner_steps=learner_steps, allow=allow)


@dataclass(frozen=True, kw_only=True)
class Eval(EvalConfig[AnyEnv]):
    """Evaluate a checkpoint closed-loop, or with --offline against recorded actions.

    Interrupt it whenever you like: the same command goes on where it stopped.

    Example:  volition eval runs/demo --starts 10                        (of every task that it learned, where it did)
              volition eval runs/demo --env desk --starts 10 --tasks open_drawer turn_on_led
              volition eval runs/desk --chains 200 --against runs/other  (is it better, on the same starts?)
              volition eval runs/mini --offline path/to/dataset
              volition eval runs/desk --chains 1000 --shard 2/8          (and seven others, anywhere)
              volition eval --merge FOLDER FOLDER ...                    (flags: volition eval --merge --help)
    """

    json: Path | None = None
    """Write the score to this file as well."""

    def __call__(self) -> None:
        from volition.studies.evaluating import evaluate_checkpoint
        from volition.studies.progress import Bars

        with Bars() as bars:
            score = evaluate_checkpoint(self, bars.say)
        tell("\n".join(lines(score)))
        write(self.json, score)


@dataclass(frozen=True, kw_only=True)
class Merge:
    """Join the results that shards of one evaluation left on several machines, and score them.

    Example:  volition eval --merge here/desk-chains-1000-1a2b3c4d there/desk-chains-1000-1a2b3c4d --json score.json
              volition eval --merge A1 A2 --against B1 B2      (is A better, on the same starts?)
    """

    merge: tuple[Path, ...]
    """Folders, or single results*.jsonl."""
    against: tuple[Path, ...] = ()
    """Those of another evaluation, of the same starts: compared by a paired test."""
    report: bool = True
    """Leave report.html and report.json in the first folder."""
    films: int = 6
    """Episodes that the report films, where the simulator is here; 0: none."""
    checkpoint: Path | None = None
    """What was evaluated, where it is here: the report then shows the nearest demonstrations that it learned from."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the environment's config may name."""
    json: Path | None = None
    """Write the score to this file as well."""

    def __call__(self) -> None:
        from volition.studies.evaluating import merged

        films = self.films if self.report else None
        score = merged(self.merge, films=films, against=self.against, checkpoint=self.checkpoint, allow=self.allow)
        tell("\n".join(lines(score)))
        write(self.json, score)


def evaluate(arguments: list[str]) -> None:
    """Evaluate a checkpoint closed-loop, or with --offline against recorded actions."""
    if "--merge" in arguments:
        tyro.cli(Merge, args=arguments, prog="volition eval")()
        return
    parse_at_home(Eval, arguments, prog="volition eval")()


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What this machine can do, and how to mend what it can't.

    Example:  volition doctor
              volition doctor calvin       (what the CALVIN simulator needs)
    """

    json: Path | None = None
    """Write the findings to this file as well."""

    def __call__(self) -> None:
        from volition.studies.doctor import examine

        _say_findings(examine(), self.json)


@dataclass(frozen=True, kw_only=True)
class DoctorOf(Generic[AnyEnv]):
    """What an environment needs of this machine, and how to mend what is missing.

    Example:  volition doctor calvin --renderer egl
    """

    environment: EnvFlags[AnyEnv]
    json: Path | None = None
    """Write the findings to this file as well."""

    def __call__(self) -> None:
        config = self.environment
        if not isinstance(config, Examinable):
            raise ValueError(f"{type(config).__name__} has no checks of its own (calvin has): ask `volition doctor`")
        _say_findings(config.examine(), self.json)


def _say_findings(findings: Sequence[Finding], path: Path | None) -> None:
    """Status 1 where something is to be mended."""
    for finding in findings:
        tell(f"{'ok  ' if finding.fine else 'MEND'} {finding.what}: {finding.found}")
    write(path, [dataclasses.asdict(finding) for finding in findings])
    if not all(finding.fine for finding in findings):
        raise SystemExit(1)


def doctor(arguments: list[str]) -> None:
    """What this machine can do, and how to mend what it can't; `volition doctor calvin` for an environment."""
    if arguments and not arguments[0].startswith("-"):
        parse(DoctorOf, arguments[0], arguments[1:], prog=f"volition doctor {arguments[0]}")()
    else:
        tyro.cli(Doctor, args=arguments, prog="volition doctor")()
