"""The command line. Every verb is a frozen dataclass: its fields are the flags, its docstring is the help.

volition demo | record | data | train | eval | doctor        volition VERB --help
"""

from __future__ import annotations

import dataclasses
import inspect
import json
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import tyro

Verb = Callable[[list[str]], None]


@dataclass(frozen=True, kw_only=True)
class Demo:
    """Record demonstrations, train a policy, evaluate it, and write report.html.

    Example:  volition demo            (four to five minutes on two cores)
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
        _tell(f"Success {report['success_rate']:.0%} ({low:.0%} to {high:.0%}) in {report['seconds']:.0f} s: {page}")
        _write(self.json, report)


@dataclass(frozen=True, kw_only=True)
class Record:
    """Record demonstrations of the scripted expert as a LeRobot v3.0 dataset.

    Interrupt it whenever you like: the same command goes on where it stopped.

    Example:  volition record desk --out runs/my-data --episodes-per-task 20 --tasks open_drawer turn_on_led
    """

    env: tyro.conf.Positional[Literal["desk"]]
    out: Path
    """The dataset folder."""
    tasks: tuple[str, ...] = ()
    """Short names of tasks; all 34 by default."""
    episodes_per_task: int = 20
    chains: int = 0
    """Five-task sequences without a reset between the tasks, recorded after the single episodes."""
    scenes: tuple[str, ...] = ("A", "B", "C", "D")
    shift: bool = False
    """Shift and turn the furniture and the camera a little at every reset, so that a policy has to look."""
    image_size: tuple[int, int] | None = None
    """Height and width of both cameras; by default static 200x200 and gripper 84x84, as CALVIN's."""
    images: Literal["video", "png", "jpeg"] = "video"
    seed: int = 0
    workers: int = 2
    json: Path | None = None

    def __call__(self) -> None:
        from volition.config import Recording
        from volition.data.lerobot_stage import LeRobotConfig
        from volition.data.perform import PerformConfig
        from volition.data.record import RecordConfig
        from volition.envs.desk.desk import DEFAULT_IMAGE_SIZES
        from volition.envs.desk.environment import DeskConfig
        from volition.envs.desk.starts import DEMO, NONE
        from volition.envs.desk.tasks import TASKS
        from volition.studies.progress import Bars
        from volition.studies.recording import record_desk

        sizes = {name: self.image_size or size for name, size in DEFAULT_IMAGE_SIZES.items()}
        env = DeskConfig(image_sizes=sizes, shift=DEMO if self.shift else NONE, scenes=self.scenes)
        config = RecordConfig(
            tasks=self.tasks or TASKS,
            episodes_per_task=self.episodes_per_task,
            chains=self.chains,
            scenes=self.scenes,
            perform=PerformConfig(seed=self.seed),
            storage=LeRobotConfig(images=self.images),
            workers=self.workers,
        )
        with Bars() as bars:
            done = record_desk(Recording(env=env, record=config), self.out, progress=bars.recording)
        _tell(
            f"{done.episodes} episodes, {done.frames} frames in {self.out} ({done.rejected} failed attempts left out)"
        )
        _write(self.json, dataclasses.asdict(done))


@dataclass(frozen=True, kw_only=True)
class Data:
    """Look into a dataset: format, episodes, frames, tasks, cameras, statistics.

    Example:  volition data info runs/demo/data
    """

    what: tyro.conf.Positional[Literal["info"]]
    path: tyro.conf.Positional[Path]
    json: Path | None = None

    def __call__(self) -> None:
        from volition.data.convert import info

        found = info(self.path)
        _tell(json.dumps(found, indent=2))
        _write(self.json, found)


@dataclass(frozen=True, kw_only=True)
class Eval:
    """Evaluate a checkpoint closed-loop, or with --offline against recorded actions.

    Example:  volition eval runs/demo --env desk --chains 20
              volition eval runs/demo --env desk --starts 10 --tasks open_drawer turn_on_led
              volition eval runs/mini --offline path/to/dataset
    """

    checkpoint: tyro.conf.Positional[Path]
    """A step folder, or a run (its last checkpoint)."""
    env: Literal["desk"] = "desk"
    chains: int = 0
    """Number of five-task chains by CALVIN's protocol: 360 steps a task, no reset, policy state reset per task."""
    starts: int = 0
    """Number of starts of every single task."""
    tasks: tuple[str, ...] = ()
    """Tasks for --starts; by default all 34."""
    offline: Path | None = None
    """A dataset folder: mean absolute error per dimension and gripper accuracy instead of closed-loop success."""
    scenes: tuple[str, ...] = ("A", "B", "C", "D")
    shift: bool = False
    """Shift and turn furniture and camera at every reset, as the demo does."""
    max_steps: int = 360
    seed: int = 500_000
    workers: int = 2
    device: str = "cpu"
    """Where the policy runs: cpu, cuda, cuda:1."""
    allow: tuple[str, ...] = ()
    """Packages of yours that the checkpoint's config may name."""
    json: Path | None = None

    def __call__(self) -> None:
        from volition.studies.evaluating import EvalConfig, evaluate_checkpoint
        from volition.studies.progress import Bars

        names = [f.name for f in dataclasses.fields(EvalConfig)]
        with Bars() as bars:
            score = evaluate_checkpoint(EvalConfig(**{name: getattr(self, name) for name in names}), bars.say)
        _tell(json.dumps({name: value for name, value in score.items() if name not in ("episodes",)}, indent=2))
        _write(self.json, score)


@dataclass(frozen=True, kw_only=True)
class Doctor:
    """What this machine can do, and how to mend what it can't.

    Example:  volition doctor
    """

    json: Path | None = None

    def __call__(self) -> None:
        from volition.studies.doctor import examine

        findings = examine()
        for finding in findings:
            _tell(f"{'ok  ' if finding.fine else 'MEND'} {finding.what}: {finding.found}")
        _write(self.json, [dataclasses.asdict(finding) for finding in findings])
        if not all(finding.fine for finding in findings):
            raise SystemExit(1)


def train(arguments: list[str]) -> None:
    """Train a recipe; every field of it is a flag.

    Example:  volition train smoke --run runs/smoke
              volition train smoke --run runs/smoke --resume
              volition train my_lab.recipes:ours --loop.num-steps 500 --loop.optim.lr 3e-4
    """
    from volition.recipes import __all__ as ours

    if not arguments or arguments[0].startswith("-"):
        _tell(f"usage: volition train RECIPE [--run DIR] [--resume] [--FIELD VALUE ...]\n\n{inspect.getdoc(train)}\n")
        _tell(f"Recipes of ours: {', '.join(ours)}. `volition train RECIPE --help` lists every field.")
        raise SystemExit(0 if arguments else 2)
    from volition.studies.train_command import execute, parse

    name, *flags = arguments
    _tell(f"{execute(parse(name, flags))}")


def _of(kind: Any) -> Verb:
    def run(arguments: list[str]) -> None:
        tyro.cli(kind, args=arguments, prog=f"volition {kind.__name__.lower()}")()

    run.__doc__ = kind.__doc__
    return run


VERBS: dict[str, Verb] = {
    "demo": _of(Demo),
    "record": _of(Record),
    "data": _of(Data),
    "train": train,
    "eval": _of(Eval),
    "doctor": _of(Doctor),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Errors of use end with a message and status 2, an interruption with 130; a traceback is a defect of ours."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a recipe in this folder is found and none of ours is replaced
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in ("-h", "--help"):
        _tell(_overview())
        raise SystemExit(0)
    if words[0] not in VERBS:
        from volition.config import suggest

        _fail(f"there is no verb {words[0]!r}{suggest(words[0], VERBS)}")
    try:
        VERBS[words[0]](words[1:])
    except KeyboardInterrupt:
        _fail("stopped; what was finished is kept, and the same command goes on from there", status=130)
    except (ValueError, OSError) as error:
        _fail(str(error))
    except (RuntimeError, ImportError):
        _fail_without_drawing()
        raise


def _overview() -> str:
    lines = [f"  {name:8} {(verb.__doc__ or '').strip().splitlines()[0]}" for name, verb in VERBS.items()]
    return "\n".join(
        ["usage: volition VERB [flags]", "", *lines, "", "volition VERB --help says more, with an example."]
    )


def _fail_without_drawing() -> None:
    """Most machines on which something breaks have no OpenGL library: ask for that before showing a traceback."""
    from volition.studies.doctor import drawing

    finding = drawing(os.environ)
    if not finding.fine:
        _fail(finding.found)


def _tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def _fail(text: str, *, status: int = 2) -> None:
    sys.stderr.write(f"volition: {text}\n")
    raise SystemExit(status)


def _write(path: Path | None, document: Any) -> None:
    if path is not None:
        path.write_text(json.dumps(document, indent=1) + "\n")
