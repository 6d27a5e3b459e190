"""`tidegate doctor` finds what was really broken, says what to do, and is content with a node that is well."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tidegate.clock import SystemClock
from tidegate.control import app, settings
from tidegate.control.services.examination import Finding, examine
from tidegate.errors import Conflict, Unavailable
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


def _errors(chosen: settings.Settings) -> dict[str, Finding]:
    found = list(examine(chosen, SystemClock()))
    assert all(one.next for one in found if one.level != "ok"), found
    return {one.check: one for one in found if one.level == "error"}


def test_what_is_far_away_is_told_with_what_to_do(node: LiveNode, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = settings.load(node.data_dir / "tidegate.toml")
    away = msgspec.structs.replace(chosen, database_url="postgresql://u@127.0.0.1:1/x")
    assert "Connection refused" in _errors(away)["database"].said
    lost = msgspec.structs.replace(away, database_password_file=node.data_dir / "nothing")
    assert "database_password_file" in _errors(lost)["settings"].said
    store = {"AWS_ENDPOINT_URL": "http://127.0.0.1:1", "AWS_ALLOW_HTTP": "true", "AWS_REGION": "x",
             "AWS_ACCESS_KEY_ID": "somebody", "AWS_SECRET_ACCESS_KEY": "a secret of the store"}  # fmt: skip
    for name, value in store.items():
        monkeypatch.setenv(name, value)
    found = _errors(msgspec.structs.replace(chosen, blob_url="s3://bucket/prefix"))
    assert set(found) == {"blobs"}
    assert "nothing listens at AWS_ENDPOINT_URL" in found["blobs"].said
    assert "EnvironmentFile" in found["blobs"].next
    assert not any(secret in str(found) for secret in ("a secret of the store", "somebody"))


def test_a_database_of_a_newer_program_is_not_to_be_brought_up_to_date(node: LiveNode) -> None:
    with contextlib.closing(sqlite3.connect(node.data_dir / "tidegate.db")) as database:
        database.execute("UPDATE alembic_version SET version_num = '9999'")
        database.commit()
    chosen = settings.load(node.data_dir / "tidegate.toml")
    found = _errors(chosen)
    assert "newer program" in found["database"].said
    assert "backup" in found["database"].next
    with pytest.raises(Conflict, match="a newer program wrote it; install that one, or restore the backup"):
        app.build(chosen)


def test_a_database_that_is_none_is_said_to_whoever_starts_the_node(node: LiveNode) -> None:
    (node.data_dir / "tidegate.db").write_bytes(b"not a database" * 1000)
    with pytest.raises(Unavailable, match=r"^cannot use the database: file is not a database; see tidegate doctor"):
        app.build(settings.load(node.data_dir / "tidegate.toml"))


def test_somebody_else_than_the_node_is_told_so(node: LiveNode) -> None:
    chosen = settings.load(node.data_dir / "tidegate.toml")
    with _as_somebody_else(node.data_dir / "keys"):
        found = _errors(chosen)
    assert "key-files" in found
    assert found["key-files"].next == "run this as the user that the node runs as"


@contextlib.contextmanager
def _as_somebody_else(folder: Path) -> Iterator[None]:
    """As who may not look into `folder`; root may look everywhere, so it is nobody meanwhile."""
    parents = [path for path in folder.parents if path.stat().st_mode & 0o005 != 0o005]
    modes = {path: path.stat().st_mode for path in [folder, *parents]}
    try:
        for path in parents:
            path.chmod(modes[path] | 0o005)
        folder.chmod(0o600)
        if os.geteuid() == 0:
            os.seteuid(65534)
        yield
    finally:
        if os.getuid() == 0:
            os.seteuid(0)
        for path, mode in modes.items():
            path.chmod(stat.S_IMODE(mode))
