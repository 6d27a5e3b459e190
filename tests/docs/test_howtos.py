"""Every how-to guide, from its first line to its last: by commands, and in the console where it says how."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.stage import stage

from tidegate.testing import runbook

GUIDES = sorted((Path(__file__).parents[2] / "docs" / "guides").glob("*.md"))
#: Played elsewhere: from nothing (test_guides.py), beside a Prometheus, by a Python, by root on a clean Debian.
ELSEWHERE = {"first-hour.md", "config-files.md", "monitoring.md", "python-client.md", "run-a-node.md"}
_PLAYED = [path for path in GUIDES if path.name not in ELSEWHERE]
_IN_CONSOLE = [path for path in _PLAYED if any(isinstance(part, runbook.Browser) for part in runbook.read(path))]


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.parametrize("path", _PLAYED, ids=lambda path: path.stem)
def test_by_commands(path: Path, tmp_path: Path) -> None:
    parts = runbook.way(runbook.read(path), browser=False)
    assert any(isinstance(part, runbook.Block) for part in parts)
    with stage(tmp_path, path.name, browser=False) as played:
        played.play(parts)


@pytest.mark.slow
@pytest.mark.timeout(300)
@pytest.mark.browser
@pytest.mark.parametrize("path", _IN_CONSOLE, ids=lambda path: path.stem)
def test_in_the_console(path: Path, tmp_path: Path) -> None:
    with stage(tmp_path, path.name, browser=True) as played:
        played.play(runbook.way(runbook.read(path), browser=True))
