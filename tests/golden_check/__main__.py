"""`python -m tests.golden_check FOLDER [--perturb]`: our numbers against the reference's, fixture by fixture.

For every fixture of the folder (all files that share a stem) one line, `pass NAME arrays=N max_error=E` or
`FAIL NAME why`; exit status 1 if any failed. A name is checked by the pattern that it matches in the CHECKS of the
modules beside this one. With --perturb every stored output in turn is replaced by another value, and the line is
`perturb NAME outputs=N caught=M`; all must be caught, and no check may compute from a result that a document holds.
"""

from __future__ import annotations

import argparse
import importlib
import pkgutil
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import tests.golden_check
from tests.golden_check.fixture import Fixture, GoldenMismatch

Check = Callable[[Fixture], None]


def checks() -> list[tuple[re.Pattern[str], Check]]:
    """The CHECKS of every maths_* and models_* module."""
    names = [module.name for module in pkgutil.iter_modules(tests.golden_check.__path__)]
    modules = [
        importlib.import_module(f"tests.golden_check.{name}")
        for name in sorted(names)
        if name.startswith(("maths_", "models_"))
    ]
    return [check for module in modules for check in module.CHECKS]


def fixture_names(folder: Path) -> list[str]:
    return sorted({path.stem for path in folder.iterdir() if path.suffix in (".npz", ".json", ".safetensors")})


def run(folder: Path, *, perturb: bool = False) -> Iterator[tuple[bool, str]]:
    """(whether it is as it must be, the line to print) for every fixture."""
    known = checks()
    for name in fixture_names(folder):
        fixture = Fixture(folder, name)
        try:
            check = check_for(name, known)
            check(fixture)
            fixture.finish()
            leaked = fixture.leaks(check) if perturb else []
        except Exception as error:  # whatever goes wrong inside a check is that fixture's failure
            what = "" if isinstance(error, GoldenMismatch) else f"{type(error).__name__}: "
            yield False, f"FAIL {name} {what}{' '.join(str(error).split())}"
            continue
        if leaked:
            yield False, f"FAIL {name} computed from what is stored as its result: {', '.join(leaked[:8])}"
        elif perturb:
            caught = fixture.changed_outputs()
            missed = [key for key, seen in caught.items() if not seen]
            line = f"perturb {name} outputs={len(caught)} caught={len(caught) - len(missed)}"
            yield not missed, line + (f" missed={','.join(missed)}" if missed else "")
        else:
            yield True, f"pass {name} arrays={fixture.arrays} max_error={fixture.max_error:.3g}"


def check_for(name: str, known: list[tuple[re.Pattern[str], Check]]) -> Check:
    matching = [check for pattern, check in known if pattern.fullmatch(name)]
    if len(matching) != 1:
        raise GoldenMismatch(f"{len(matching)} checks know this name, one must")
    return matching[0]


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.golden_check", description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--perturb", action="store_true", help="change each stored output in turn; all must be caught")
    arguments = parser.parse_args()
    if not arguments.folder.is_dir():
        parser.error(f"{arguments.folder} must be a folder of fixtures")
    good = True
    for fine, line in run(arguments.folder, perturb=arguments.perturb):
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
        good &= fine
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
