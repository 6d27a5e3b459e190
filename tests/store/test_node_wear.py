"""What years of running, a full disk and damaged files do to a node."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog

from tidegate.control.domain.access import Actor
from tidegate.control.services import audit, audit_log, checkpoints, disk, trust, uploads
from tidegate.control.services.node import Node
from tidegate.control.store import engine, fleets
from tidegate.control.workers import freshness
from tidegate.errors import Unavailable
from tidegate.testing.node import admin_scope

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


def _record(node: Node, count: int) -> None:
    with node.db.write() as tx:
        for _ in range(count):
            audit.record_node(tx, Actor("user", "ada"), action="thing.do", subject="thing:1")


@on_sqlite
def test_a_checkpoint_costs_the_same_however_many_came_before(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    checked = []
    original = checkpoints._checked
    # Only what this thread does: a node that serves other tests of this process has workers of its own.
    mine = threading.get_ident()
    monkeypatch.setattr(
        checkpoints, "_checked", lambda *given: checked.append(threading.get_ident() == mine) or original(*given)
    )
    monkeypatch.setattr(checkpoints, "EVERY_RECORDS", 1)
    for _ in range(40):
        _record(node, 1)
        checked.clear()
        (made,) = checkpoints.write_due(node)
        assert sum(checked) <= 1
    known = checkpoints.read(node, 0)
    assert len(known) == 40
    assert known[-1] == made == checkpoints.last(node, 0)
    assert audit_log.verify(admin_scope(node), node, of_node=True).broken is None


@on_sqlite
def test_uploads_that_had_room_each_may_not_fill_the_disk_together(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    scope = admin_scope(node)
    upload = uploads.create(scope, node, "model.onnx", 2048)
    with uploads.receive(scope, node, upload.id, 0) as receiver:
        receiver.write(b"a" * 1024)
        full = SimpleNamespace(used=10**9, free=10**7)
        monkeypatch.setattr(disk.shutil, "disk_usage", lambda _path: full)
        with pytest.raises(Unavailable, match="kept for the database"):
            receiver.write(b"a" * 1024)
        assert receiver.finish().received == 1024
    monkeypatch.undo()
    with uploads.receive(scope, node, upload.id, 1024) as receiver:
        receiver.write(b"a" * 1024)
        assert receiver.finish().sha256 is not None


@on_sqlite
def test_damaged_keys_of_one_fleet_keep_no_other_from_staying_fresh(node: Node, tmp_path: Path) -> None:
    with node.db.write() as tx:
        second = fleets.insert(tx, "other", at=engine.now(tx), interval_seconds=30)
        trust.initialise(tx, node, second, node.clock.now())
    for key in (tmp_path / "keys" / "online" / "default").glob("*.pem"):
        key.write_bytes(b"not a key")
    node.keyring._loaded.clear()
    freshness.run(node)
    assert node.keyring.generation_seen(second.id) is not None


def test_whoever_is_logged_writes_no_lines_and_no_escape_sequences(log_text: io.StringIO) -> None:
    path = "/x\n2026-01-01 [critical] forged \x1b[2J\u2028"
    structlog.get_logger().info("request", path=path, inner={"a\n": ["b\r"]})
    line = log_text.getvalue()
    assert line.count("\n") == 1
    assert not any(character in line for character in ("\x1b", "\r", "\u2028"))


def test_long_words_are_cut(log_text: io.StringIO) -> None:
    structlog.get_logger().info("request", path="a" * 70_000)
    line = log_text.getvalue()
    assert len(line) < 5_000
    assert "(70000 characters)" in line


@pytest.mark.parametrize("log_text", ["console"], indirect=True)
def test_a_traceback_keeps_its_lines(log_text: io.StringIO) -> None:
    try:
        raise ValueError("broken")
    except ValueError as error:
        structlog.get_logger().error("defect", exc_info=error)
    assert "Traceback (most recent call last):\n" in log_text.getvalue()
