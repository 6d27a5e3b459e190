"""The guide to the Python client, typed as it stands, against a node with a device."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.stage import stage

from tidegate.testing import runbook

PROJECT = Path(__file__).parents[2]


@pytest.mark.slow
@pytest.mark.timeout(180)
def test_the_python_client_guide(tmp_path: Path) -> None:
    parts = runbook.read(PROJECT / "docs" / "guides" / "python-client.md")
    with stage(tmp_path, "python-client.md", browser=False) as played:
        played.play(parts)
        assert len(parts) >= 3
