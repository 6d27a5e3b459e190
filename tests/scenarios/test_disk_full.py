"""A small disk, really filled: what the node refuses, what goes on, and that it recovers by itself."""

from __future__ import annotations

import contextlib
import errno
import http.client
import json
import os
import sqlite3
import ssl
import subprocess
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec
import pytest
import urllib3
from cryptography.hazmat.primitives import serialization

from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.testing.processes import Processes
from tidegate.wire import device as wire

DISK_BYTES = 64 << 20
_AS_ROOT = [] if os.geteuid() == 0 else ["sudo", "-n"]


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own, of 64 MiB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    options = f"size={DISK_BYTES},mode=700,uid={os.geteuid()}"
    subprocess.run([*_AS_ROOT, "mount", "-t", "tmpfs", "-o", options, "tidegate-test", str(folder)], check=True)
    yield folder
    subprocess.run([*_AS_ROOT, "umount", str(folder)], check=True)


def fill(disk: Path, percent: float) -> None:
    """Make the disk this full, with a file that is nobody's."""
    filler = disk / "filler"
    with filler.open("ab") as file:
        while True:
            usage = os.statvfs(disk)
            missing = int(usage.f_bavail * usage.f_frsize - DISK_BYTES * (100 - percent) / 100)
            if missing <= 0:
                return
            try:
                file.write(bytes(min(missing, 1 << 20)))
                file.flush()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return


class Device:
    """One real device of the channel: its own key, mutual TLS."""

    def __init__(self, node: live.LiveNode, api: live.Api, folder: Path) -> None:
        token = api.call("POST", "/v1/tokens", {"device_name": "cam-1"})["secret"]
        key = new_key()
        request = {"token": token, "csr_pem": csr(key), "agent_version": "test", "device": "cam-1"}
        enrolled = live.Api(node.console_url, node.ca).call("POST", "/v1/enroll", request)
        (folder / "device.pem").write_text(enrolled["certificate_chain_pem"])
        secret = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        (folder / "device.key").write_bytes(key.private_bytes(serialization.Encoding.PEM, *secret))
        context = ssl.create_default_context(cafile=str(node.ca))
        context.load_cert_chain(folder / "device.pem", folder / "device.key")
        at = urlsplit(node.channel_url)
        self.connection = http.client.HTTPSConnection(at.hostname or "", at.port, context=context, timeout=30)
        self._sequence = 0

    def _post(self, path: str, body: Any) -> tuple[int, Any, http.client.HTTPResponse]:
        headers = {"content-type": "application/json"}
        self.connection.request("POST", f"/v1/device/{path}", msgspec.json.encode(body), headers)
        answer = self.connection.getresponse()
        return answer.status, json.loads(answer.read()), answer

    def beat(self) -> tuple[int, Any]:
        status, answer, _ = self._post("heartbeat", wire.Heartbeat("0" * 32))
        return status, answer

    def report(self, work: str) -> tuple[int, Any]:
        self._sequence += 1
        item = wire.Report(self._sequence, work, "downloading", datetime.now(UTC))
        status, answer, _ = self._post("reports", wire.Reports("0" * 32, (item,)))
        return status, answer


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
        pieces = {"headers": {"content-type": "application/octet-stream"}}
        path = f"/v1/uploads/{begun['id']}"
        assert api.call("PATCH", path, raw=large[:1000], offset=0, **pieces)["received"] == 1000
        assert json.loads(_text(node, f"{node.console_url}/readyz"))["warnings"] == []

        # High: no new upload begins, one under way goes on, people are told.
        fill(disk, 91)
        refused = _refusal(api, "POST", "/v1/uploads", {"file_name": "more.bin", "length": 10})
        assert (refused["status"], refused["type"]) == (503, "/problems/disk-full")
        assert refused["retry_after_seconds"] == 300
        assert "91 % full; uploads begin below 90 %, and end at 95 %" in refused["detail"]
        assert api.call("PATCH", path, raw=large[1000:2000], offset=1000, **pieces)["received"] == 2000
        assert json.loads(_text(node, f"{node.console_url}/readyz"))["warnings"] == ["disk-high"]
        assert "tidegate_disk_full 1.0" in _text(node, node.metrics_url.removesuffix("/metrics") + "/metrics")
        assert "No new upload begins until there is room" in _text(node, node.console_url, api.secret)
        assert [one["kind"] for one in api.call("GET", "/v1/warnings")["items"]].count("disk-high") == 1

        # Full for uploads: nothing half done; the rest of the disk is the database's, so rollouts go on.
        fill(disk, 96)
        refused = _refusal(api, "PATCH", path, raw=large[2000:3000], offset=2000, **pieces)
        assert (refused["status"], refused["type"]) == (503, "/problems/disk-full")
        assert api.call("GET", path)["received"] == 2000
        made = api.call("POST", "/v1/rollouts", {"artifact": "vad", "version": "1", "target": {"all": True}})
        status, answer = device.beat()
        assert status == 200
        while not answer.get("desired", {}).get("work"):
            status, answer = device.beat()
            assert status == 200
        assert answer["desired"]["work"][0]["id"] == f"r{made['id']}"
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
        whole = api.call("PATCH", path, raw=large[2000:], offset=2000, **pieces)
        assert whole["sha256"] is not None
        assert api.call("GET", "/v1/audit/verify")["verified"] is True
        names = {one["name"] for one in api.call("GET", "/v1/groups", limit=200)["items"]}
        assert refused["name"] not in names
        assert "after" in names
        device.connection.close()
    with contextlib.closing(sqlite3.connect(disk / "node" / "tidegate.db")) as database:
        assert database.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    assert not list((disk / "node" / "blobs").rglob("*.unfinished"))


def _until_refused(api: live.Api) -> dict[str, Any]:
    """Act until the database finds no room: a log that was written before has some left."""
    for number in range(2_000):
        try:
            api.call("POST", "/v1/groups", {"name": f"g{number}"})
        except live.ApiError as error:
            return {"status": error.status, "name": f"g{number}", **error.problem}
    raise AssertionError("the database goes on writing to a disk that is full")
