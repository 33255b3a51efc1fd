"""The command line. Every verb is a frozen dataclass: its fields are the flags, its docstring is the help.

demo | record | data | verify | train | audit | plan | compare | backbones | eval | serve | export | doctor   --help
"""

from __future__ import annotations

import dataclasses
import logging
import os
import select
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any

import tyro

from volition.data.remote_server import RemoteError
from volition.studies.backbones_command import Backbones
from volition.studies.commands import Demo, doctor, evaluate, record
from volition.studies.data_commands import data
from volition.studies.export_command import export
from volition.studies.output import tell, write
from volition.studies.verify_command import Verify

Verb = Callable[[list[str]], None]


def train(arguments: list[str]) -> None:
    """Train a recipe; every field of it is a flag.

    Example:  volition train smoke --run runs/smoke
              volition train smoke --run runs/smoke --resume
              volition train my_lab.recipes:ours --loop.num-steps 500 --loop.optim.lr 3e-4
    """
    from volition.studies.train_command import execute, parse, recipe_and_flags

    checkpoint = execute(parse(*recipe_and_flags(train, arguments)))
    if speaks():
        tell(f"{checkpoint}")


def audit(arguments: list[str]) -> None:
    """Take one training step of a recipe and show what it trains; status 1 when something is not as it should be.

    Example:  volition audit demo --train.no-vision --train.lora.parts backbone --json audit.json
    """
    from volition.studies.audit_command import execute, parse
    from volition.studies.train_command import recipe_and_flags

    command = parse(*recipe_and_flags(audit, arguments))
    found = execute(command)
    write(command.json, dataclasses.asdict(found))
    if found.not_reached or found.changed:
        raise SystemExit(1)


def plan(arguments: list[str]) -> None:
    """Predict a recipe's memory and step time, and find the settings that fit a device.

    Example:  volition plan demo --gpu 8GB
              volition plan smoke --cpu 4GB
              volition plan my_lab.recipes:ours --gpu 24GB --loop.batch-size 64 --json plan.json
    """
    from volition.studies.plan_command import execute
    from volition.studies.planning import chosen
    from volition.studies.train_command import recipe_and_flags

    if chosen(execute(*recipe_and_flags(plan, arguments))) is None:
        raise SystemExit(1)


def compare(arguments: list[str]) -> None:
    """Compare variants of a recipe: same data, order, seeds and budget, and a table with intervals.

    Example:  volition compare demo --heads mlp lstm gpt2 --history policy_head interleaved one_step --seeds 3
              volition compare demo --vary train.vision=True,False loop.optim.lr=1e-3,3e-4 --starts 0
              volition compare demo --heads mlp lstm flow --screen --starts 0
              volition compare seeds-table --seeds 3    (a study of eight recipes; seeds-table-mobile is another)
    """
    from volition.studies.compare_command import execute
    from volition.studies.train_command import recipe_and_flags

    execute(*recipe_and_flags(compare, arguments))


def serve(arguments: list[str]) -> None:
    """Serve a checkpoint to robots, over websockets, HTTP and ZeroMQ.

    Example:  volition serve runs/demo --port 8000
              volition serve runs/demo --host 0.0.0.0 --tokens tokens.txt --tls-certificate c.pem --tls-key k.pem
              volition serve runs/demo --safety arm.json --record runs/requests
              volition serve runs/demo --replay runs/requests
    """
    try:
        from volition.studies.serve_command import parse
    except ModuleNotFoundError as error:
        raise ValueError(f"serving needs the extra serve ({error}): pip install 'volition[serve]'") from error
    command = parse(serve, arguments)
    from volition.studies.serving import execute

    execute(command)


def _of(kind: Any) -> Verb:
    def run(arguments: list[str]) -> None:
        tyro.cli(kind, args=arguments, prog=f"volition {kind.__name__.lower()}")()

    run.__doc__ = kind.__doc__
    return run


VERBS: dict[str, Verb] = {
    "demo": _of(Demo),
    "record": record,
    "data": data,
    "verify": _of(Verify),
    "train": train,
    "audit": audit,
    "plan": plan,
    "compare": compare,
    "backbones": _of(Backbones),
    "eval": evaluate,
    "serve": serve,
    "export": export,
    "doctor": doctor,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Errors of use end with a message and status 2, an interruption with 130; a traceback is a defect of ours."""
    logging.basicConfig(level=logging.WARNING, format="%(levelname)s %(message)s")
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())  # last, so that a recipe in this folder is found and none of ours is replaced
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        _run(words)
    except KeyboardInterrupt:
        _fail("stopped; what was finished is kept, and the same command goes on from there", status=130)
    except BrokenPipeError as error:
        if _is_heard():
            _fail(str(error))
        raise SystemExit(128 + signal.SIGPIPE) from error
    except (ValueError, OSError, RemoteError) as error:
        if not speaks() and type(error).__name__ != "FirstError":
            raise SystemExit(2) from error  # every rank of torchrun found the same; the first says it
        _fail(str(error))
    except (RuntimeError, ImportError):
        _fail_without_drawing()
        raise


def _run(words: list[str]) -> None:
    try:
        if not words or words[0] in ("-h", "--help"):
            tell(_overview())
        elif words[0] in VERBS:
            VERBS[words[0]](words[1:])
        else:
            from volition.names import suggest

            _fail(f"there is no verb {words[0]!r}{suggest(words[0], VERBS)}")
    finally:
        sys.stdout.flush()  # while it can still be told that nobody listens


def _is_heard() -> bool:
    """Whether anybody reads what we say; who piped it to `head` has read enough, and that is no error."""
    said = select.poll()
    said.register(sys.stdout.fileno(), 0)  # errors are told all the same
    gone = any(event & select.POLLERR for _, event in said.poll(0))
    if gone:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter tries once more at its end
    return not gone


def speaks() -> bool:
    """Whether this is the only process, or the first of those that torchrun started."""
    return os.environ.get("RANK", "0") == "0"


def _overview() -> str:
    lines = [f"  {name:9} {(verb.__doc__ or '').strip().splitlines()[0]}" for name, verb in VERBS.items()]
    return "\n".join(["usage: volition VERB [flags]", "", *lines, "", "volition VERB --help: more, with an example."])


def _fail_without_drawing() -> None:
    """Most machines on which something breaks have no OpenGL library: ask for that before showing a traceback."""
    from volition.studies.doctor import drawing

    finding = drawing(os.environ)
    if not finding.fine:
        _fail(finding.found)


def _fail(text: str, *, status: int = 2) -> None:
    sys.stderr.write(f"volition: {text}\n")
    raise SystemExit(status)
