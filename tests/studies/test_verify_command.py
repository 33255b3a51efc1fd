"""`volition verify`: a table, JSON, and a status that a script can act on."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.data.conftest import SHARED
from tests.data.formats import calvin
from volition.cli import main
from volition.data.open import load_spec


def test_findings_go_to_the_terminal_and_to_json_and_errors_to_the_status(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root = calvin.make(tmp_path)  # its gripper command is random: binary dimensions must say so
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(root), "--json", str(tmp_path / "found.json")])
    assert stopped.value.code == 1
    document = json.loads((tmp_path / "found.json").read_text())
    assert document["contract"] == load_spec(root).convention
    levels = {finding["name"]: finding["level"] for finding in document["findings"]}
    assert levels["action range"] == "error"
    shown = capsys.readouterr().out
    assert f"contract {document['contract']}" in shown
    assert all(name in shown for name in levels)
    assert "ERROR" in shown


@pytest.mark.skipif(not SHARED.is_dir(), reason="shared/data does not lie beside this checkout")
def test_good_data_ends_with_status_0(capsys: pytest.CaptureFixture[str]) -> None:
    main(["verify", str(SHARED / "calvin_mini/training"), "--max-episodes", "6", "--max-pictured", "2"])
    assert "0 error(s), 0 warning(s)" in capsys.readouterr().out


def test_numbers_that_make_no_sense_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["verify", str(tmp_path), "--episodes", "0"])
    assert stopped.value.code == 2
    assert "episodes must be at least 1" in capsys.readouterr().err
