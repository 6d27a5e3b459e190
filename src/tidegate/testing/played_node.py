"""A node played by a test: the device channel over real TLS, with real signatures, without a database.

The test says what is desired and which refusals to give; everything that the device said is kept.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from tidegate.testing.tls_server import Asked, Pki, TlsServer, answer, http, refusal
from tidegate.testing.tuf import MovingClock, World, entry
from tidegate.trust.tuf.client import NotServed
from tidegate.trust.tuf.repository import Change
from tidegate.wire import descriptor as descriptors
from tidegate.wire import device as wire
from tidegate.wire.enrollment import Enroll, Enrolled

T = TypeVar("T")
TOKEN = "tet_played-node-token"  # noqa: S105 - a test's
EMPTY = wire.DesiredState()


class PlayedNode:
    """Use as a context manager. `refuse` maps a path to the raw answer to give instead."""

    def __init__(self, folder: Path, *, interval_seconds: int = 2) -> None:
        self.pki = Pki(folder)
        self.interval_seconds = interval_seconds
        self.world = World(clock=MovingClock(datetime.now(UTC)))
        self.files: dict[str, bytes] = {}
        self.refuse: dict[str, Callable[[Asked], bytes | None]] = {}
        self.ca_bundle = self.pki.ca_pem
        self.renew_now = False
        self.certificate_days = 90.0
        self.leave = wire.LeaveAnswer(granted=True)
        self.reports: list[wire.Report] = []
        self.heartbeats: list[wire.Heartbeat] = []
        self.enrolls: list[Enroll] = []
        self._desired = EMPTY
        self._changed = threading.Condition()
        self._over = False
        self.server = TlsServer(self.pki, self._handle, client_ca=self.pki.device_ca.pem.decode(), client_optional=True)

    def __enter__(self) -> PlayedNode:
        self.server.__enter__()
        return self

    def __exit__(self, *error: Any) -> None:
        with self._changed:
            self._over = True
            self._changed.notify_all()
        self.server.__exit__(None, None, None)

    @property
    def root_sha256(self) -> str:
        return hashlib.sha256(self.world.served["metadata/1.root.json"]).hexdigest()

    def publish(self, name: str, version: str, content: bytes, **fields: Any) -> wire.Work:
        """A signed model version of one file; gives back the work of installing it, to be completed by the test."""
        file = descriptors.PayloadFile("model.bin", hashlib.sha256(content).hexdigest(), len(content))
        described = descriptors.encode(descriptors.Descriptor("default", name, version, "model", (file,), **fields))
        targets = []
        for file_name, data in ((descriptors.DESCRIPTOR_FILE, described), (file.name, content)):
            path = descriptors.target_path("default", name, version, file_name)
            targets.append(entry(path, data))
            folder, _, last = path.rpartition("/")
            self.files[f"targets/{folder}/{hashlib.sha256(data).hexdigest()}.{last}"] = data
        self.world.publish(Change(add=tuple(targets)))
        path = descriptors.target_path("default", name, version, descriptors.DESCRIPTOR_FILE)
        sha256 = hashlib.sha256(described).hexdigest()
        return wire.Work(f"r{version}", "install", name, version, path, sha256)

    def desire(self, *work: wire.Work) -> None:
        with self._changed:
            self._desired = wire.DesiredState(work)
            self._changed.notify_all()

    def wait_for(self, seen: Callable[[], T | None], seconds: float = 30) -> T:
        """Until `seen` gives something true; looks again after everything that the device says."""
        with self._changed:
            found = self._changed.wait_for(seen, seconds)
        if not found:
            raise AssertionError(
                f"not seen within {seconds} s; reports: {[(r.work, r.state, r.reason) for r in self.reports]}"
            )
        return found

    def outcome(self, work: str, seconds: float = 30) -> wire.Report:
        """The terminal report of `work`."""
        final = {"healthy", "rolled_back", "failed", "reverted", "revert_failed"}
        return self.wait_for(
            lambda: next((one for one in self.reports if one.work == work and one.state in final), None), seconds
        )

    # -- the channel --------------------------------------------------------------------------------------------------

    def _handle(self, asked: Asked) -> bytes | None:
        if (played := self.refuse.get(asked.path)) is not None:
            return played(asked)
        if asked.path.startswith("/repository/"):
            return self._repository(asked)
        return {
            "/v1/enroll": self._enroll,
            "/v1/device/register": lambda _: answer(wire.Registered("cam-7", "default", self.interval_seconds)),
            "/v1/device/heartbeat": self._heartbeat,
            "/v1/device/leave": lambda _: answer(self.leave),
            "/v1/device/reports": self._reports,
            "/v1/device/renew": self._renew,
        }[asked.path](asked)

    def _enroll(self, asked: Asked) -> bytes:
        request = msgspec.json.decode(asked.body, type=Enroll)
        self.enrolls.append(request)
        if request.token != TOKEN:
            return refusal("token-refused", 401)
        chain = self.pki.device(request.csr_pem, request.device or "cam-7", days=self.certificate_days)
        roots = sorted(
            (int(name.split("/")[1].split(".")[0]), data.decode())
            for name, data in self.world.served.items()
            if name.endswith(".root.json")
        )
        said = Enrolled(
            request.device or "cam-7", "default", chain, self.ca_bundle, self.server.url,
            tuple(data for _, data in roots), self.interval_seconds,
        )  # fmt: skip
        return answer(said, 201)

    def _heartbeat(self, asked: Asked) -> bytes | None:
        beat = msgspec.json.decode(asked.body, type=wire.Heartbeat)
        with self._changed:
            self.heartbeats.append(beat)
            self._changed.notify_all()
            self._changed.wait_for(lambda: self._over or self._digest() != beat.seen, beat.wait_seconds)
            if self._over:
                return None
            digest = self._digest()
            found = wire.HeartbeatAnswer(
                interval_seconds=self.interval_seconds,
                desired_digest=digest,
                ca_bundle_sha256=hashlib.sha256(self.ca_bundle.encode()).hexdigest(),
                server_time=datetime.now(UTC),
                report_sequence=max((one.sequence for one in self.reports), default=0),
                renew_now=self.renew_now,
                ca_bundle=self.ca_bundle,
            )
            if digest != beat.seen:
                found = msgspec.structs.replace(found, desired=self._desired)
        return answer(found)

    def _reports(self, asked: Asked) -> bytes:
        batch = msgspec.json.decode(asked.body, type=wire.Reports)
        with self._changed:
            # As a real node does: what was told before is a replay, and changes nothing.
            known = {report.sequence for report in self.reports}
            new = tuple(item for item in batch.items if item.sequence not in known)
            self.reports.extend(new)
            self._changed.notify_all()
        results = tuple(
            wire.ReportResult(item.sequence, "accepted" if item in new else "replay") for item in batch.items
        )
        return answer(wire.ReportsAnswer(results, batch.items[-1].sequence))

    def _renew(self, asked: Asked) -> bytes:
        request = msgspec.json.decode(asked.body, type=wire.Renew)
        return answer(wire.Renewed(self.pki.device(request.csr_pem), self.ca_bundle))

    def _repository(self, asked: Asked) -> bytes:
        path = asked.path.removeprefix("/repository/")
        data = self.files.get(path)
        if data is None:
            try:
                data = self.world.fetch(path, 1 << 30)
            except NotServed:
                return refusal("not-found", 404)
        if "range" in asked.headers:
            start = int(asked.headers["range"].removeprefix("bytes=").removesuffix("-"))
            return http(206, data[start:], Content_Range=f"bytes {start}-{len(data) - 1}/{len(data)}")
        return http(200, data, "application/octet-stream")

    def _digest(self) -> str:
        return hashlib.sha256(msgspec.json.encode(self._desired)).hexdigest()
