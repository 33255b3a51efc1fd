"""What lies beside a fixture: settings and inputs that it shares with others.

A folder with some of the fixtures may lack them; then they are those of the repository's own fixtures. Results are
never looked up so: they are compared where they lie beside the arrays, or not at all.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.golden_check.fixture import Fixture

OURS = Path(__file__).resolve().parents[1] / "golden"


def document(fixture: Fixture, name: str) -> dict:
    """Settings: `name`.json."""
    return home(fixture, f"{name}.json").json(name)


def inputs_of(fixture: Fixture, name: str) -> Fixture:
    """The fixture whose inputs this one was made from."""
    return Fixture(home(fixture, f"{name}.npz").folder, name)


def folder(fixture: Fixture, name: str) -> Path:
    return home(fixture, name).folder / name


def home(fixture: Fixture, file: str) -> Fixture:
    return fixture if (fixture.folder / file).exists() else Fixture(OURS, fixture.name)


def row_of(fixture: Fixture, name: str, table: str) -> tuple[int, dict[str, Any]] | None:
    """This fixture's place and row in a table of `name`.json that lies in its own folder."""
    if not (fixture.folder / f"{name}.json").is_file():
        return None
    rows = fixture.json(name)[table]
    return next(((i, row) for i, row in enumerate(rows) if row["name"] == fixture.name), None)


def settings_of(fixture: Fixture, name: str, table: str) -> dict[str, Any] | None:
    """The settings of this fixture, from whichever folder has them."""
    rows = document(fixture, name)[table]
    return next((row for row in rows if row["name"] == fixture.name), None)
