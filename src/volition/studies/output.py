"""How a verb answers: text for the terminal, and the same as JSON for programs."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")


def write(path: Path | None, document: Any) -> None:
    """Nowhere where no file was asked for."""
    if path is not None:
        path.write_text(json.dumps(document, indent=1) + "\n")
