"""`tidegate doctor` finds what was really broken, says what to do, and is content with a node that is well."""

from __future__ import annotations

import json
import shutil
import subprocess
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from tidegate.control import settings
from tidegate.control.services.examination import examine
from tidegate.testing import live
from tidegate.testing.clock import FakeClock
from tidegate.testing.live import LiveNode
from tidegate.testing.processes import Processes

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LiveNode:
    return live.initialise(tmp_path_factory.mktemp("doctor") / "node")


@pytest.fixture
def node(made: LiveNode, tmp_path: Path) -> LiveNode:
    """A copy that a test may break; the settings name its own folder."""
    shutil.copytree(made.data_dir, tmp_path / "node", copy_function=shutil.copy2)
    return LiveNode(
        tmp_path / "node", made.console_url, made.channel_url, made.metrics_url,
        tmp_path / "node" / made.ca.relative_to(made.data_dir), made.admin, made.password,
    )  # fmt: skip


def _doctor(node: LiveNode, *, limit: str = "20000") -> tuple[int, dict[str, list[dict[str, str]]]]:
    """The exit code, and the findings by check."""
    command = " ".join([*live.TIDEGATE, "--json", "doctor", "--config", str(node.data_dir / "tidegate.toml")])
    done = subprocess.run(
        ["bash", "-c", f"ulimit -n {limit}; exec {command}"], capture_output=True, text=True, timeout=60, check=False
    )
    found: dict[str, list[dict[str, str]]] = {}
    for one in json.loads(done.stdout)["findings"]:
        found.setdefault(one["check"], []).append(one)
        assert one["level"] == "ok" or one["next"], f"{one} does not say what to do"
    return done.returncode, found


def _wrong(found: dict[str, list[dict[str, str]]], level: str = "error") -> set[str]:
    return {check for check, findings in found.items() if any(one["level"] == level for one in findings)}


def test_a_node_that_runs_and_one_that_does_not(node: LiveNode, tmp_path: Path) -> None:
    code, found = _doctor(node)
    assert (code, _wrong(found)) == (1, {"console", "channel"})
    assert "connection refused" in found["console"][0]["said"]
    with Processes(tmp_path / "logs") as processes:
        live.serve(node, processes)
        code, found = _doctor(node)
    assert (code, _wrong(found)) == (0, set())
    assert _wrong(found, "warning") == {"metadata"}, "a convenience trust domain is told until its keys are moved away"
    assert set(found) == {
        "settings", "open-files", "data-folder", "key-files", "disk", "database", "clock", "metadata", "certificates",
        "blobs", "console", "channel",
    }  # fmt: skip


def test_what_was_broken_is_found(node: LiveNode) -> None:
    config = node.data_dir / "tidegate.toml"
    key = next((node.data_dir / "keys").rglob("*.pem"))
    key.chmod(0o640)
    shutil.rmtree(node.data_dir / "blobs", ignore_errors=True)
    (node.data_dir / "blobs").write_text("a file where the folder was")
    config.write_text(config.read_text() + "disk_high_percent = 1\ndisk_full_percent = 1\n")
    code, found = _doctor(node, limit="1000")
    assert code == 1
    assert _wrong(found) == {"key-files", "blobs", "disk", "open-files", "console", "channel"}
    assert found["key-files"][0]["next"] == f"chmod 600 {key}"


def test_a_database_that_is_gone_or_damaged(node: LiveNode) -> None:
    database = node.data_dir / "tidegate.db"
    database.write_bytes(b"not a database" * 1000)
    _, found = _doctor(node)
    assert "database" in _wrong(found)
    database.unlink()
    _, found = _doctor(node)
    assert "database" in _wrong(found)
    assert not database.exists(), "looking made a database"


def test_settings_that_cannot_be_read_and_folders_that_are_not_there(node: LiveNode) -> None:
    config = node.data_dir / "tidegate.toml"
    config.write_text(config.read_text() + "colour = 1\n")
    code, found = _doctor(node)
    assert (code, set(found), "colour" in found["settings"][0]["said"]) == (1, {"settings"}, True)
    config.write_text(f'data_dir = "{node.data_dir / "nothing"}"\n')
    _, found = _doctor(node)
    assert "data-folder" in _wrong(found)


def test_certificates_and_a_clock_that_went_back(node: LiveNode) -> None:
    chosen = settings.load(node.data_dir / "tidegate.toml")

    def at(moment: datetime) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for one in examine(chosen, FakeClock(moment)):
            found.setdefault(one.check, []).append(one)
        return found

    now = datetime.now(UTC)
    assert {one.level for one in at(now)["certificates"]} == {"ok"}
    assert at(now - timedelta(days=2))["clock"][0].level == "error"
    later = at(now + timedelta(days=4000))["certificates"]
    assert {one.level for one in later} >= {"error"}
