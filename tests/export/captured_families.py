"""Which families' passes ask a GPU for a number on the way, so that no CUDA graph can be made of them.

python -m tests.export.captured_families
"""

from __future__ import annotations

import sys

from tests.export.test_captured import waits_of
from volition.studies.backbones import known


def main() -> None:
    working = [name for name, family in known()[1].items() if family.works]
    asking = [name for name in working if waits_of(name)]
    sys.stdout.write(f"{len(working) - len(asking)} of {len(working)} do not; these do: {', '.join(asking)}\n")


if __name__ == "__main__":
    main()
