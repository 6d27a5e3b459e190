"""The node is killed while it publishes, creates rollouts, takes uploads and commits reports, and is started again.

What was acknowledged is there; what was not is there as a whole, or not at all.
"""

from __future__ import annotations

import hashlib
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import sqlalchemy as sa
import urllib3
from tests.scenarios.one_device import Device

from tidegate.control.store import migrations, schema
from tidegate.control.store.engine import Database
from tidegate.testing import live
from tidegate.testing.processes import Processes

DEADLINE_SECONDS = 60.0
#: What the unit gives it before it is killed.
STOP_SECONDS = 30.0
_PIECE = {"headers": {"content-type": "application/octet-stream"}}
LARGE = os.urandom(1 << 20)


@dataclass
class Acknowledged:
    """What the node has said yes to; each list is one thread's."""

    versions: list[str] = field(default_factory=list)
    rollouts: list[int] = field(default_factory=list)
    received: list[int] = field(default_factory=lambda: [0])
    reports: list[int] = field(default_factory=lambda: [0])

    def counts(self) -> tuple[int, ...]:
        return len(self.versions), len(self.rollouts), len(self.received), len(self.reports)


@contextmanager
def _again_and_again(*acts: Callable[[], None]) -> Iterator[None]:
    """Each act in a thread of its own until the block ends; that the node goes away ends it too."""
    ended = threading.Event()
    wrong: list[BaseException] = []

    def repeat(act: Callable[[], None]) -> None:
        try:
            while not ended.is_set():
                act()
        except (OSError, urllib3.exceptions.HTTPError):
            pass  # the node was killed: what is judged is what it leaves
        except BaseException as error:
            wrong.append(error)

    threads = [threading.Thread(target=repeat, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        ended.set()
        for thread in threads:
            thread.join(DEADLINE_SECONDS)
    assert wrong == []


class Busy:
    """One node under all four kinds of work."""

    def __init__(self, node: live.LiveNode, folder: Path) -> None:
        self.node, self.done, self._folder = node, Acknowledged(), folder
        self.api = node.sign_in()
        self.publish()
        self.device = Device(node, self.api, folder)
        self._work = f"r{self.create_rollout()}"
        self.upload = str(
            self.api.call("POST", "/v1/uploads", {"file_name": "large.bin", "length": len(LARGE)})["id"]
        )  # fmt: skip
        ends = time.monotonic() + DEADLINE_SECONDS
        while not self.device.beat()[1].get("desired", {}).get("work"):
            assert time.monotonic() < ends

    def publish(self) -> None:
        version = f"1.{time.monotonic_ns()}"
        model = self._folder / "model.onnx"
        model.write_text(version)
        live.publish(self.api, "vad", version, model)
        self.done.versions.append(version)

    def create_rollout(self) -> int:
        target = {"artifact": "vad", "version": self.done.versions[0], "target": {"all": True}}
        made = int(self.api.call("POST", "/v1/rollouts", target)["id"])
        self.done.rollouts.append(made)
        return made

    def send(self) -> None:
        offset = self.done.received[-1]
        piece = LARGE[offset : offset + 1000]
        path = f"/v1/uploads/{self.upload}"
        self.done.received.append(self.api.call("PATCH", path, raw=piece, offset=offset, **_PIECE)["received"])

    def report(self) -> None:
        status, _ = self.device.report(self._work)
        assert status == 200
        self.done.reports.append(self.device.sequence)


@pytest.mark.slow
@pytest.mark.timeout(240)
def test_a_killed_node_leaves_nothing_half_done(database_url: str, tmp_path: Path) -> None:
    node = live.initialise(tmp_path / "node", database_url=database_url, interval_seconds=2)
    with Processes(tmp_path / "logs") as processes:
        live.serve(node, processes)
        busy = Busy(node, tmp_path)
        before = busy.done.counts()
        with _again_and_again(busy.publish, busy.create_rollout, busy.send, busy.report):
            ends = time.monotonic() + DEADLINE_SECONDS
            while not all(now > was + 2 for now, was in zip(busy.done.counts(), before, strict=True)):
                assert time.monotonic() < ends, busy.done
                time.sleep(0.01)  # between two looks at a condition
            processes.kill("node")
        busy.device.connection.close()
        live.serve(node, processes)
        _check(busy)
        busy.device.connection.close()
    _check_rows(database_url, node.data_dir, busy.done)


def _total(api: live.Api, path: str, **query: str) -> int:
    return int(api.call("GET", path, limit=1, **query)["total"])


def _check(busy: Busy) -> None:
    api, done = busy.api, busy.done
    for version in done.versions:
        assert api.call("GET", f"/v1/artifacts/vad/{version}")["artifact"]["version"] == version
    for rollout in done.rollouts:
        assert api.call("GET", f"/v1/rollouts/{rollout}")["id"] == rollout
    # One act, one record, in the same transaction.
    assert _total(api, "/v1/artifacts") == _total(api, "/v1/audit", action="artifact.publish")
    assert _total(api, "/v1/rollouts") == _total(api, "/v1/audit", action="rollout.create")
    assert api.call("GET", "/v1/audit/verify")["verified"] is True
    # The upload goes on where the node says, and is what was sent.
    received = int(api.call("GET", f"/v1/uploads/{busy.upload}")["received"])
    assert received >= done.received[-1]
    done.received.append(received)
    status, answer = busy.device.beat()
    assert (status, answer.get("report_sequence", 0) >= done.reports[-1]) == (200, True)


def _check_rows(url: str, data_dir: Path, done: Acknowledged) -> None:
    """What no call shows: every version has its bytes, every rollout its devices, and the last upload its file."""
    database = Database(url)
    with database.read() as tx:
        documents = list(tx.scalars(sa.select(schema.artifacts.c.descriptor_sha256)))
        rollouts = set(tx.scalars(sa.select(schema.rollouts.c.id)))
        planned = set(tx.scalars(sa.select(schema.assignments.c.rollout_id)))
    database.dispose()
    for sha256 in documents:
        stored = (data_dir / "blobs" / "sha256" / sha256[:2] / sha256).read_bytes()
        assert hashlib.sha256(stored).hexdigest() == sha256
    assert rollouts == planned
    (part,) = (data_dir / "uploads").glob("?" * 32)
    assert LARGE.startswith(part.read_bytes()[: done.received[-1]])


@pytest.mark.timeout(120)
def test_a_stopped_node_answers_what_is_held_and_keeps_what_arrived(tmp_path: Path) -> None:
    node = live.initialise(tmp_path / "node", interval_seconds=60)
    with Processes(tmp_path / "logs") as processes, ThreadPoolExecutor(1) as beside:
        live.serve(node, processes)
        busy = Busy(node, tmp_path)
        busy.send()
        _, answer = busy.device.beat()
        held = beside.submit(busy.device.beat, answer["desired_digest"], 60)
        until = time.monotonic() + DEADLINE_SECONDS
        while "tidegate_heartbeats_held 1.0" not in _metrics(node):
            assert time.monotonic() < until
        with _half_sent(busy, 500) as connection:
            began = time.monotonic()
            os.kill(processes.pid("node"), signal.SIGTERM)
            status, released = held.result(DEADLINE_SECONDS)
            assert (status, released["desired_digest"]) == (200, answer["desired_digest"])
            while processes.exit_code("node") is None:
                assert time.monotonic() - began < STOP_SECONDS
                time.sleep(0.05)  # between two looks at a condition
            told = connection.recv(4000)
            assert told.startswith(b"HTTP/1.1 503"), told
            assert b"the node is ending" in told
        assert processes.exit_code("node") == 0
        busy.device.connection.close()
        live.serve(node, processes)
        _check(busy)
        while busy.done.received[-1] < 3000:
            busy.send()
        busy.device.connection.close()


def _metrics(node: live.LiveNode) -> str:
    url = node.metrics_url.removesuffix("/metrics") + "/metrics"
    return urllib3.request("GET", url, timeout=30, retries=False).data.decode()


@contextmanager
def _half_sent(busy: Busy, arrived: int) -> Iterator[ssl.SSLSocket]:
    """An upload whose sender has sent half a piece and goes on thinking."""
    at = urlsplit(busy.node.console_url)
    context = ssl.create_default_context(cafile=str(busy.node.ca))
    plain = socket.create_connection((at.hostname or "", at.port or 0), timeout=DEADLINE_SECONDS)
    with context.wrap_socket(plain, server_hostname=at.hostname) as connection:
        offset = busy.done.received[-1]
        head = (
            f"PATCH /v1/uploads/{busy.upload}?offset={offset} HTTP/1.1\r\nhost: {at.netloc}\r\ncontent-length: 1000\r\n"
            f"content-type: application/octet-stream\r\nauthorization: Bearer {busy.api.secret}\r\n\r\n"
        )
        connection.sendall(head.encode() + LARGE[offset : offset + arrived])
        yield connection


#: Upgrades the database, and is killed before the n-th statement that changes the schema.
_KILLED = """
import os, signal, sys
import sqlalchemy as sa
from tidegate.control.store import migrations
from tidegate.control.store.engine import Database

database, left = Database(sys.argv[1]), int(sys.argv[2])

@sa.event.listens_for(database.engine, "before_cursor_execute")
def count(connection, cursor, statement, *rest):
    global left
    left -= statement.lstrip().upper().startswith(("CREATE", "ALTER", "INSERT"))
    if left < 0:
        os.kill(os.getpid(), signal.SIGKILL)

migrations.upgrade(database)
"""


@pytest.mark.parametrize("statement", [0, 60])
def test_a_killed_migration_leaves_the_schema_as_it_was(empty_url: str, statement: int) -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED, empty_url, str(statement)], timeout=60, check=False)
    assert ended.returncode == -signal.SIGKILL
    database = Database(empty_url)
    assert migrations.current(database) is None
    with database.read() as tx:
        assert sa.inspect(tx).get_table_names() in ([], ["alembic_version"])
    migrations.upgrade(database)
    assert migrations.current(database) == migrations.newest()
    database.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def empty_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A database that nobody migrated yet."""
    if request.param == "sqlite":
        yield f"sqlite:///{tmp_path / 'empty.db'}"
        return
    with request.getfixturevalue("postgres_cluster").empty("killed_migration") as url:
        yield url
