"""Recording and evaluating on a Ray cluster: the commands of one machine, a part of the work for every task.

    ray start --head                                                     and `ray start --address ...` on the others
    python 04_on_a_cluster.py --parts 8 eval runs/demo --chains 1000
    python 04_on_a_cluster.py --parts 4 record desk --out runs/desk-data --episodes-per-task 50

Every machine has volition and sees the same folders. `eval` ends with the score of the whole, equal to that of one
machine to the last bit. `record` leaves a dataset a part, OUT-1, OUT-2, ..., each of other starts: train on the first
and name the others in the recipe's `data.sources`. Comparisons need no script: `volition compare ... --engine ray`.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from volition import cli
from volition.studies.spread import spread


def run(words: Sequence[str]) -> None:
    """A part, wherever Ray puts it. SystemExit tells nothing to Ray, so it becomes an error that does."""
    try:
        cli.main(words)
    except SystemExit as stop:
        if stop.code:
            raise RuntimeError(f"volition {' '.join(words)} ended with status {stop.code}") from stop


def parts_of(words: Sequence[str], parts: int) -> list[list[str]]:
    if words[0] == "eval":
        return [[*words, "--shard", f"{part}/{parts}", "--no-report"] for part in range(1, parts + 1)]
    if words[0] != "record" or "--out" not in words or "--seed" in words:
        raise SystemExit("name what to do: eval CHECKPOINT ..., or record ENV --out FOLDER ... (seeds are given here)")
    place = list(words).index("--out") + 1
    return [
        [*words[:place], f"{words[place]}-{part}", *words[place + 1 :], "--seed", f"{part}"]
        for part in range(1, parts + 1)
    ]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--parts", type=int, required=True)
    parser.add_argument("words", nargs=argparse.REMAINDER, help="as after `volition`")
    options = parser.parse_args(arguments)
    for _ in spread(run, parts_of(options.words, options.parts), jobs=0, engine="ray"):
        pass
    if options.words[0] == "eval":
        run(options.words)  # finds everything done, and scores it


if __name__ == "__main__":
    main()
