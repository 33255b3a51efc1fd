"""The report of a run, written as numbers and as a page.

    Report --write_report--> report.json (numbers)  report.html (one self-contained page: numbers, plots, films)

What it holds stands in `report_parts`, how parts are made from results in `report_build`, the page in `report_page`.
"""

from __future__ import annotations

import json
from pathlib import Path

from volition.data.files import replacing
from volition.studies.report_page import page
from volition.studies.report_parts import Report


def write_report(report: Report, out: Path) -> Path:
    """Write `report.json` and `report.html` into the folder `out`; returns the page's path.

    Raises ValueError if a number is NaN or infinite: a report must not hide a broken run.
    """
    try:
        numbers = json.dumps(report.to_json(), indent=2, allow_nan=False)
    except ValueError as error:
        raise ValueError(f"every number of a report must be finite: {error}") from error
    out.mkdir(parents=True, exist_ok=True)
    _write(out / "report.json", numbers + "\n")
    return _write(out / "report.html", page(report))


def _write(path: Path, text: str) -> Path:
    with replacing(path) as unfinished:
        unfinished.write_text(text, encoding="utf-8")
    return path
