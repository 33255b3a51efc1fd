"""Damage the files of every dataset format and question set and see what the readers say.

    python -m tests.fuzz_formats --count 1000                 that many mutated files of every format
    python -m tests.fuzz_formats --count 50 --formats calvin  only of one

What may happen: an error that names a file of the dataset, a loss of single episodes that is logged, or nothing, where
the change does not matter or no checksum could tell. Anything else ends the run with a traceback.
"""

from __future__ import annotations

import argparse
import faulthandler
import logging
import shutil
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from tests.data import questions
from tests.data.formats import MAKERS
from volition.data.cache import read_lost
from volition.data.episodes import left_out
from volition.data.open import detect, load_cached, load_spec
from volition.data.vision_language import load_questions
from volition.records import Episode, VisionLanguageSample

HANGS = 120  # seconds; a mutated file takes a fraction of one


def files_of(root: Path) -> list[Path]:
    """Every file that a reader might open."""
    return [root] if root.is_file() else sorted(path for path in root.rglob("*") if path.is_file())


def replace(path: Path, content: bytes) -> None:
    """A new file of this name: what had the old one open or mapped keeps it."""
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(content)
    aside.replace(path)


def mutated(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut, emptied, overwritten, or with a few bytes or one stretch changed, doubled or taken out."""
    data = np.frombuffer(content, np.uint8).copy()
    start, stop = np.sort(rng.integers(0, len(data) + 1, 2)) if len(data) else (0, 0)
    stop = min(stop, start + 64)
    kind = int(rng.integers(7))
    if kind == 0:
        return content[:start]
    if kind == 1:
        return rng.bytes(len(content))
    if kind == 2:
        return content[:start] + content[stop:]
    if kind == 3:
        return content[:stop] + content[start:]
    if kind == 4:
        data[start:stop] = rng.choice(np.array([0, 255, ord("9"), ord("-"), ord("}")], np.uint8))
        return data.tobytes()
    places = rng.integers(0, max(len(data), 1), int(rng.integers(1, 6)))[: len(data)]
    data[places] = rng.integers(0, 256, len(places)) if kind == 5 else data[places] ^ (1 << rng.integers(0, 8))
    return data.tobytes()


def read_all(root: Path, caches: Path) -> tuple[str, list[Episode]]:
    """("error" | "loss" | "fine", what could be read); raises AssertionError for an error that names no file."""
    shutil.rmtree(caches, ignore_errors=True)
    try:
        load_spec(root)
        episodes = load_cached(root, folder=caches)
    except (ValueError, OSError) as error:
        if str(root) not in str(error):
            raise AssertionError(f"the error names no file below {root}: {error!r}") from error
        return "error", []
    lost = len(read_lost(next(caches.iterdir()))) + left_out(detect(root).load(root))
    return "loss" if lost else "fine", list(episodes)


def read_questions(root: Path) -> tuple[str, list[VisionLanguageSample]]:
    """The same for a question set, every question of which is taken."""
    found, lost = [], False
    try:
        opened = load_questions(root)
        lost = len(opened) < len(questions.QUESTIONS)
    except (ValueError, OSError) as error:
        _require_name(error, root)
        return "error", []
    for number in range(len(opened)):
        try:
            found.append(opened[number])
        except (ValueError, OSError) as error:
            _require_name(error, root)
            lost = True
    return "loss" if lost else "fine", found


def _require_name(error: Exception, root: Path) -> None:
    if str(root.parent) not in str(error):
        raise AssertionError(f"the error names no file below {root}: {error!r}") from error


def fuzz(name: str, count: int, seed: int = 0) -> Counter[str]:
    """How `count` mutated files of the format `name` ended."""

    def read(root: Path, scratch: Path) -> str:
        return read_all(root, scratch)[0]

    return _fuzz(name, MAKERS[name], read, count, seed)


def fuzz_questions(name: str, count: int, seed: int = 0) -> Counter[str]:
    """The same for a form of question sets."""
    return _fuzz(name, questions.MAKERS[name], lambda root, scratch: read_questions(root)[0], count, seed)


def _fuzz(
    name: str, make: Callable[[Path], Path], read: Callable[[Path, Path], str], count: int, seed: int
) -> Counter[str]:
    rng, ends = np.random.default_rng(seed), Counter[str]()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "made").mkdir()
        root = make(Path(folder) / "made")
        files = files_of(Path(folder) / "made")
        for number in range(count):
            path = files[int(rng.integers(len(files)))]
            content = path.read_bytes()
            replace(path, mutated(content, rng))
            faulthandler.dump_traceback_later(HANGS, exit=True)
            try:
                ends[read(root, Path(folder) / "caches")] += 1
            except Exception as error:
                error.add_note(f"{name}, mutation {number} with seed {seed}, in {path.relative_to(folder)}")
                raise
            finally:
                faulthandler.cancel_dump_traceback_later()
            replace(path, content)
    return ends


def main(arguments: Sequence[str]) -> None:
    forms = {**dict.fromkeys(MAKERS, fuzz), **{f"questions/{name}": fuzz_questions for name in questions.MAKERS}}
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--formats", nargs="*", default=list(forms), choices=list(forms))
    asked = parser.parse_args(arguments)
    logging.disable(logging.WARNING)
    for name in asked.formats:
        ends = forms[name](name.removeprefix("questions/"), asked.count, asked.seed)
        sys.stdout.write(f"{name}: {asked.count} mutated files, {dict(ends)}\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
