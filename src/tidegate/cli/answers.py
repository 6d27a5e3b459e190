"""What commands print with `--json` that no call of the API answers: the shapes are as stable as the API's."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from tidegate.wire.operator.devices import DeviceCounts, DeviceDetailInfo, HoldInfo
from tidegate.wire.operator.runs import RunsDevice
from tidegate.wire.operator.trust import WarningInfo


class FileWritten(Struct, frozen=True):
    """`sha256` is null where it was not computed, `size_bytes` where it is small."""

    file: str
    sha256: str | None = None
    size_bytes: int | None = None


class ArtifactVersion(Struct, frozen=True):
    name: str
    version: str


class AuditExport(Struct, frozen=True):
    """`records` were written to `file`; `sha256` is of the file, signed in `signature`."""

    file: str
    signature: str
    records: int
    sha256: str


class AuditVerdict(Struct, frozen=True):
    """`checkpoint` is null for a file, `signed_by` where no signature was checked."""

    verified: bool
    count: int
    head: str
    broken_sequence: int | None
    broken_reason: str | None
    checkpoint: int | None = None
    signed_by: str | None = None


class KeyCreated(Struct, frozen=True, omit_defaults=True):
    """`secret` is absent where it was written to a file."""

    id: int
    name: str
    expires_at: datetime | None
    secret: str | None = None


class SessionListed(Struct, frozen=True):
    """`operator` only with --everybody, `current` only without."""

    id: str
    created_at: datetime
    expires_at: datetime
    last_used_at: datetime
    user_agent: str
    operator: str | None = None
    current: bool | None = None


class VerifiedTarget(Struct, frozen=True):
    path: str
    length: int
    sha256: str


class TrustVerified(Struct, frozen=True):
    verified: bool
    root_version: int
    signed_at: str | None
    targets: tuple[VerifiedTarget, ...]


class Renewed(Struct, frozen=True):
    renewed: bool


class Initialised(Struct, frozen=True):
    """`password` is null where it was given; `server_ca_sha256` is what `tidegate login --fingerprint` takes."""

    settings: str
    server_ca: str
    server_ca_sha256: str
    admin: str
    password: str | None


class Listening(Struct, frozen=True):
    console: str
    channel: str
    metrics: str


class FleetShown(Struct, frozen=True, kw_only=True):
    """`hold` is the freeze of the whole fleet; null: it is not frozen."""

    name: str
    interval_seconds: int
    devices: DeviceCounts
    hold: HoldInfo | None


class DeviceShown(DeviceDetailInfo, frozen=True, kw_only=True):
    """`running`: what runs on it and what should, an artifact name each."""

    running: tuple[RunsDevice, ...]


class NodeStatus(Struct, frozen=True, kw_only=True):
    """`checks` were made and passed; `warnings` are what needs a person."""

    url: str
    ready: bool
    checks: tuple[str, ...]
    warnings: tuple[WarningInfo, ...]
