"""Every runbook, from its first line to its last: by commands, and in the console wherever it says how."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.stage import stage

from tidegate.testing import runbook

RUNBOOKS = sorted((Path(__file__).parents[2] / "docs" / "runbooks").glob("*.md"))
_PLAYED = [path for path in RUNBOOKS if path.name != "README.md"]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", _PLAYED, ids=lambda path: path.stem)
def test_by_commands(path: Path, tmp_path: Path) -> None:
    parts = runbook.way(runbook.read(path), browser=False)
    with stage(tmp_path, path.name, browser=False) as played:
        played.play(parts)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.browser
@pytest.mark.parametrize("path", _PLAYED, ids=lambda path: path.stem)
def test_in_the_console(path: Path, tmp_path: Path) -> None:
    parts = runbook.way(runbook.read(path), browser=True)
    assert any(isinstance(part, runbook.Browser) for part in parts)
    with stage(tmp_path, path.name, browser=True) as played:
        played.play(parts)
