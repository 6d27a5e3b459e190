"""A small disk, really filled: what the node refuses, what goes on, and that it recovers by itself.

The disk of a node with everything on it, and the disk of a PostgreSQL server that a node works with.
"""

from __future__ import annotations

import contextlib
import json
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
import urllib3
from tests.scenarios.one_device import Device

from tidegate.control.store import migrations
from tidegate.control.store.engine import Database
from tidegate.testing import live, postgres
from tidegate.testing.disks import fill, small_disk
from tidegate.testing.processes import Processes

DISK_BYTES = 64 << 20
#: A PostgreSQL cluster is 60 MB before anything is in it.
DATABASE_DISK_BYTES = 192 << 20
_PIECE = {"headers": {"content-type": "application/octet-stream"}}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own."""
    folder = tmp_path / "disk"
    folder.mkdir()
    with small_disk(folder, DISK_BYTES) as disk:
        yield disk


@pytest.fixture
def database_disk() -> Iterator[Path]:
    """Another, which PostgreSQL's user reaches too."""
    with tempfile.TemporaryDirectory(prefix="tidegate-disk-") as name:
        Path(name).chmod(0o711)
        with small_disk(Path(name), DATABASE_DISK_BYTES, mode=0o711) as disk:
            yield disk


def _refusal(api: live.Api, method: str, path: str, body: object = None, **more: Any) -> dict[str, Any]:
    with pytest.raises(live.ApiError) as refused:
        api.call(method, path, body, **more)
    return {"status": refused.value.status, **refused.value.problem}


def _text(node: live.LiveNode, url: str, cookie: str = "") -> str:
    pool = urllib3.PoolManager(ca_certs=str(node.ca), timeout=10, retries=False)
    answer = pool.request("GET", url, headers={"cookie": f"__Host-tidegate={cookie}"}, redirect=False)
    assert answer.status == 200, (url, answer.status, answer.data)
    return answer.data.decode()


@pytest.mark.timeout(120)
def test_a_disk_that_fills_up_and_is_emptied_again(disk: Path, tmp_path: Path) -> None:
    node = live.initialise(disk / "node", interval_seconds=2)
    with Processes(tmp_path / "logs") as processes:
        live.serve(node, processes)
        api = node.sign_in()
        model = tmp_path / "model.onnx"
        model.write_bytes(b"weights")
        live.publish(api, "vad", "1", model)
        device = Device(node, api, tmp_path)
        assert device.beat()[0] == 200
        large = os.urandom(3 << 20)
        begun = api.call("POST", "/v1/uploads", {"file_name": "large.bin", "length": len(large)})
        path = f"/v1/uploads/{begun['id']}"
        assert api.call("PATCH", path, raw=large[:1000], offset=0, **_PIECE)["received"] == 1000
        assert json.loads(_text(node, f"{node.console_url}/readyz"))["warnings"] == []

        # High: no new upload begins, one under way goes on, people are told.
        fill(disk, 91)
        refused = _refusal(api, "POST", "/v1/uploads", {"file_name": "more.bin", "length": 10})
        assert (refused["status"], refused["type"]) == (503, "/problems/disk-full")
        assert refused["retry_after_seconds"] == 300
        assert "91 % full; uploads begin below 90 %, and end at 95 %" in refused["detail"]
        assert api.call("PATCH", path, raw=large[1000:2000], offset=1000, **_PIECE)["received"] == 2000
        assert json.loads(_text(node, f"{node.console_url}/readyz"))["warnings"] == ["disk-high"]
        assert "tidegate_disk_full 1.0" in _text(node, node.metrics_url.removesuffix("/metrics") + "/metrics")
        assert "No new upload begins until there is room" in _text(node, node.console_url, api.secret)
        assert [one["kind"] for one in api.call("GET", "/v1/warnings")["items"]].count("disk-high") == 1

        # Full for uploads: nothing half done; the rest of the disk is the database's, so rollouts go on.
        fill(disk, 96)
        refused = _refusal(api, "PATCH", path, raw=large[2000:3000], offset=2000, **_PIECE)
        assert (refused["status"], refused["type"]) == (503, "/problems/disk-full")
        assert api.call("GET", path)["received"] == 2000
        made = api.call("POST", "/v1/rollouts", {"artifact": "vad", "version": "1", "target": {"all": True}})
        assert _until_served(device) == f"r{made['id']}"
        assert device.report(f"r{made['id']}")[0] == 200

        # The database itself cannot write: said so, while memory and reading go on.
        fill(disk, 100)
        refused = _until_refused(api)
        fill(disk, 100)
        assert (refused["status"], refused["type"]) == (503, "/problems/disk-full")
        assert "its disk is full; make room, and it goes on by itself" in refused["detail"]
        assert refused["retry_after_seconds"] == 60
        assert device.beat()[0] == 200
        assert device.report(f"r{made['id']}")[0] == 503
        assert api.call("GET", "/v1/artifacts")["total"] == 1
        assert api.call("GET", f"/v1/rollouts/{made['id']}")["state"] == "running"
        assert "The disk of" in _text(node, node.console_url, api.secret)

        # Room again: everything goes on by itself, and nothing was broken.
        (disk / "filler").unlink()
        api.call("POST", "/v1/groups", {"name": "after"})
        assert device.beat()[0] == 200
        assert device.report(f"r{made['id']}")[0] == 200
        whole = api.call("PATCH", path, raw=large[2000:], offset=2000, **_PIECE)
        assert whole["sha256"] is not None
        assert api.call("GET", "/v1/audit/verify")["verified"] is True
        names = {one["name"] for one in api.call("GET", "/v1/groups", limit=200)["items"]}
        assert refused["name"] not in names
        assert "after" in names
        device.connection.close()
    with contextlib.closing(sqlite3.connect(disk / "node" / "tidegate.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list((disk / "node" / "blobs").rglob("*.unfinished"))


def _until_refused(
    api: live.Api, path: str = "/v1/groups", body: dict[str, Any] | None = None, name: str = "name"
) -> dict[str, Any]:
    """Create until the database finds no room: what was written before has some left."""
    for number in range(2_000):
        try:
            api.call("POST", path, {**(body or {}), name: f"g{number}"})
        except live.ApiError as error:
            return {"status": error.status, "name": f"g{number}", **error.problem}
    raise AssertionError("the database goes on writing to a disk that is full")


def _migrate(url: str) -> None:
    database = Database(url)
    migrations.upgrade(database)
    database.dispose()


def _groups(api: live.Api) -> set[str]:
    return {one["name"] for one in api.call("GET", "/v1/groups", limit=200)["items"]}


def _recorded(api: live.Api) -> set[str]:
    records = api.call("GET", "/v1/audit", action="group.create", limit=200)["items"]
    return {str(one["subject"]).removeprefix("group:") for one in records}


@pytest.mark.timeout(240)
def test_the_disk_of_the_database_server_fills_up_and_is_emptied_again(database_disk: Path, tmp_path: Path) -> None:
    cluster = postgres.Cluster(postgres.new_folder(database_disk), durable=True)
    cluster.start(_migrate)
    try:
        _fill_up_under_a_node(cluster, database_disk, tmp_path)
    finally:
        cluster.end()


def _fill_up_under_a_node(cluster: postgres.Cluster, disk: Path, tmp_path: Path) -> None:
    url = cluster.url(postgres.TEMPLATE)
    with Processes(tmp_path / "logs") as processes:
        node = live.initialise(tmp_path / "node", database_url=url, interval_seconds=2)
        live.serve(node, processes)
        pid = processes.pid("node")
        api = node.sign_in()
        model = tmp_path / "model.onnx"
        model.write_bytes(b"weights")
        live.publish(api, "vad", "1", model)
        device = Device(node, api, tmp_path)
        assert device.beat()[0] == 200
        made = api.call("POST", "/v1/rollouts", {"artifact": "vad", "version": "1", "target": {"all": True}})
        _until_served(device)

        # Tables cannot grow: refused in words, in whole, while memory and reading go on.
        fill(disk, 100)
        refused = _until_refused(api)
        assert (refused["status"], refused["type"], refused["retry_after_seconds"]) == (503, "/problems/disk-full", 60)
        assert "its disk is full; make room, and it goes on by itself" in refused["detail"]
        upload = _until_refused(api, "/v1/uploads", {"length": 9}, "file_name")
        assert (upload["status"], upload["type"]) == (503, "/problems/disk-full")
        assert device.beat()[0] == 200
        assert api.call("GET", f"/v1/rollouts/{made['id']}")["state"] == "running"
        assert refused["name"] not in _groups(api)
        (disk / "filler").unlink()
        api.call("POST", "/v1/groups", {"name": "between"})
        assert device.report(f"r{made['id']}")[0] == 200

        # At its next checkpoint PostgreSQL ends itself rather than lose a commit, and somebody starts it again.
        fill(disk, 100)
        _until_server_ends(cluster, url)
        assert _refusal(api, "POST", "/v1/groups", {"name": "without"})["status"] == 503
        # Whether the device was decommissioned meanwhile is asked every few seconds; without an answer none is given.
        assert _until_away(device) == 503
        assert _status(node, f"{node.console_url}/readyz") == 503
        assert _status(node, f"{node.console_url}/healthz") == 200
        assert device.report(f"r{made['id']}")[0] == 503
        (disk / "filler").unlink()
        cluster.begin()

        # The very same node goes on, and nothing is half there.
        live.await_ready(node, processes)
        assert device.report(f"r{made['id']}")[0] == 200
        live.upload(api, model)
        api.call("POST", "/v1/groups", {"name": "after"})
        assert _groups(api) >= {"between", "after"}
        assert not _groups(api) & {refused["name"], "without"}
        assert _recorded(api) == _groups(api)
        assert api.call("GET", "/v1/audit/verify")["verified"] is True
        assert processes.pid("node") == pid
        assert processes.exit_code("node") is None
        device.connection.close()


def _until_served(device: Device) -> str:
    """The work that it is given."""
    ends = time.monotonic() + 30
    status, answer = device.beat()
    while not answer.get("desired", {}).get("work"):
        assert (status, time.monotonic() < ends) == (200, True)
        status, answer = device.beat()
    return str(answer["desired"]["work"][0]["id"])


def _until_away(device: Device) -> int:
    ends = time.monotonic() + 30
    while (status := device.beat()[0]) == 200:
        assert time.monotonic() < ends
    return status


def _until_server_ends(cluster: postgres.Cluster, url: str) -> None:
    """Ask for the checkpoint that otherwise comes within five minutes."""
    target = url.replace("postgresql://", "postgresql+psycopg://")
    engine = sa.create_engine(target, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    ends = time.monotonic() + 60
    while cluster.runs():
        assert time.monotonic() < ends, "the server goes on though it cannot write"
        with contextlib.suppress(sa.exc.DBAPIError), engine.connect() as connection:
            connection.exec_driver_sql("CHECKPOINT")


def _status(node: live.LiveNode, url: str) -> int:
    pool = urllib3.PoolManager(ca_certs=str(node.ca), timeout=30, retries=False)
    return pool.request("GET", url).status
