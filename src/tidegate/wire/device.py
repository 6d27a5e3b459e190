"""What the agent and the device channel say to each other (SPEC section 8), as JSON.

The server refuses unknown fields in requests (`forbid_unknown_fields`), the agent ignores unknown fields in answers, so
answers may grow. Fields are only ever added. All times are RFC 3339 in UTC, all durations whole seconds.
"""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from msgspec import UNSET, Meta, Struct, UnsetType

DeviceName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$(?!\\n)")]
ArtifactName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,127}$(?!\\n)")]
Version = Annotated[str, Meta(pattern="^[A-Za-z0-9][A-Za-z0-9._+-]{0,127}$(?!\\n)")]
Sha256 = Annotated[str, Meta(pattern="^[0-9a-f]{64}$(?!\\n)")]
ShortText = Annotated[str, Meta(max_length=256)]
Reason = Annotated[str, Meta(max_length=1024)]
Output = Annotated[str, Meta(max_length=4096)]
InstallationId = Annotated[str, Meta(pattern="^[0-9a-f]{32}$(?!\\n)")]
Tags = dict[
    Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$(?!\\n)")],
    Annotated[str, Meta(min_length=1, max_length=128)],
]

#: A name under which the device's owner allows a log to be read.
LogSource = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$(?!\\n)")]
#: Of one log request: text, and what it is packed to.
LOG_BYTES_MAX = 16 << 20
LOG_BUNDLE_BYTES_MAX = 4 << 20

WorkKind = Literal["install", "revert", "restore", "remove"]
ReportState = Literal[
    "downloading", "verifying", "ready", "applying", "probing",
    "healthy", "rolled_back", "failed", "reverted", "revert_failed",
]  # fmt: skip


class Request(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Base of what a device sends."""


class Answer(Struct, frozen=True, omit_defaults=True):
    """Base of what a device receives."""


class HardwareProfile(Request, frozen=True):
    """Facts detected on the device; unknown ones are left out."""

    arch: ShortText = ""
    os: ShortText = ""
    os_version: ShortText = ""
    kernel: ShortText = ""
    board: ShortText = ""
    cpu_count: Annotated[int, Meta(ge=0, le=65_536)] = 0
    ram_bytes: Annotated[int, Meta(ge=0, le=2**53)] = 0
    disk_bytes: Annotated[int, Meta(ge=0, le=2**53)] = 0
    accelerators: Annotated[tuple[ShortText, ...], Meta(max_length=32)] = ()
    runtimes: Annotated[tuple[ShortText, ...], Meta(max_length=32)] = ()


class Register(Request, frozen=True):
    hardware: HardwareProfile
    agent_version: ShortText
    declared_tags: Annotated[Tags, Meta(max_length=64)] = {}
    log_sources: Annotated[tuple[LogSource, ...], Meta(max_length=256)] = ()


class Registered(Answer, frozen=True):
    device: str
    fleet: str
    interval_seconds: int


class Installed(Request, frozen=True):
    """What `current` of one artifact name is on the device.

    `drift`: why the device is not as this version left it, such as a file that was changed by hand.
    """

    artifact: ArtifactName
    version: Version
    descriptor_sha256: Sha256
    previous_version: Version | None = None
    drift: Reason = ""


class InProgress(Request, frozen=True):
    """Work the device has taken up and not finished; `detail` is for people (percent, attempt, why it waits)."""

    work: ShortText
    state: ReportState
    detail: Reason = ""


class Heartbeat(Request, frozen=True):
    """`seen` is the digest of the last desired state; `wait_seconds` asks to hold the answer until it changes."""

    installation: InstallationId
    installed: Annotated[tuple[Installed, ...], Meta(max_length=256)] = ()
    in_progress: Annotated[tuple[InProgress, ...], Meta(max_length=256)] = ()
    seen: Annotated[str, Meta(pattern="^([0-9a-f]{64})?$(?!\\n)")] = ""
    wait_seconds: Annotated[int, Meta(ge=0, le=60)] = 0
    waiting_on: Reason = ""


class ExecProbe(Struct, frozen=True, tag="exec", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """Runs the argv that the device's owner allowlisted under `name`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$(?!\\n)")]
    timeout_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    initial_delay_seconds: Annotated[int, Meta(ge=0, le=3600)] = 0
    interval_seconds: Annotated[int, Meta(ge=0, le=3600)] = 5


class HttpProbe(Struct, frozen=True, tag="http", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """GET on loopback, an allowlisted port, no redirects; healthy on 2xx."""

    port: Annotated[int, Meta(ge=1, le=65_535)]
    path: Annotated[str, Meta(pattern="^/[!-~]*$(?!\\n)", max_length=1024)] = "/"
    timeout_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    initial_delay_seconds: Annotated[int, Meta(ge=0, le=3600)] = 0
    interval_seconds: Annotated[int, Meta(ge=0, le=3600)] = 5


class FileProbe(Struct, frozen=True, tag="file", tag_field="kind", forbid_unknown_fields=True, omit_defaults=True):
    """Exists and is not empty, below an allowlisted prefix."""

    path: Annotated[str, Meta(pattern="^/", max_length=1024)]
    timeout_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    attempts: Annotated[int, Meta(ge=1, le=10)] = 3
    initial_delay_seconds: Annotated[int, Meta(ge=0, le=3600)] = 0
    interval_seconds: Annotated[int, Meta(ge=0, le=3600)] = 5


Probe = ExecProbe | HttpProbe | FileProbe


class Requirement(Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """Another artifact that must run here first: `versions` is a range such as ``>=2,<3``; empty means any."""

    artifact: ArtifactName
    versions: ShortText = ""


class Work(Answer, frozen=True):
    """One thing the device should do. `id` is opaque and unique; the device does each at most once.

    `install`: an assignment of a rollout. `revert`: back to `version` after an abort, `remove` when it had nothing.
    `restore`: what a wiped or replaced device should run again. `descriptor_path` is a TUF target path, and
    `descriptor_sha256` what the signed metadata must say of it.
    """

    id: str
    kind: WorkKind
    artifact: str
    version: str | None = None
    descriptor_path: str | None = None
    descriptor_sha256: str | None = None
    probes: tuple[Probe, ...] = ()
    rollout: int | None = None


class DesiredState(Answer, frozen=True):
    """All open work of the device, in the order in which to take it up."""

    work: tuple[Work, ...] = ()
    notice: str = ""


class LogRequest(Answer, frozen=True):
    """The last `max_bytes` of a log are wanted: packed to `POST /v1/device/logs/{id}`, or why not."""

    id: int
    source: str
    max_bytes: int


class HeartbeatAnswer(Answer, frozen=True):
    """`desired` is absent when the digest sent as `seen` is still current."""

    interval_seconds: int
    desired_digest: str
    ca_bundle_sha256: str
    server_time: datetime
    desired: DesiredState | UnsetType = UNSET
    log_requests: tuple[LogRequest, ...] = ()
    report_sequence: int = 0
    renew_now: bool = False
    ca_bundle: str = ""


class LeaveRequest(Request, frozen=True):
    """`running` is what the device runs of that artifact name now; it is recorded as the way back."""

    work: ShortText
    running: Version | None = None


class LeaveAnswer(Answer, frozen=True):
    """Leave is void when it is older than `valid_seconds` at the start of applying."""

    granted: bool
    reason: str = ""
    retry_after_seconds: int = 30
    valid_seconds: int = 60
    apply_deadline_seconds: int = 0


class Report(Request, frozen=True):
    """One fact about one piece of work. `sequence` grows by one per report of an installation, for ever."""

    sequence: Annotated[int, Meta(ge=1, le=2**53)]
    work: ShortText
    state: ReportState
    at: datetime
    reason: Reason = ""
    output: Output = ""
    running_version: Version | None = None


class Reports(Request, frozen=True):
    installation: InstallationId
    items: Annotated[tuple[Report, ...], Meta(min_length=1, max_length=500)]


class ReportResult(Answer, frozen=True):
    """`accepted` and `replay` are both final for the device; so is `refused`, whose detail is logged there."""

    sequence: int
    status: Literal["accepted", "replay", "refused"]
    detail: str = ""


class ReportsAnswer(Answer, frozen=True):
    """Sent after the commit: every item here will survive the loss of the node's power."""

    results: tuple[ReportResult, ...]
    report_sequence: int


class LogRefusal(Request, frozen=True):
    """Why the device does not send the log."""

    reason: Annotated[str, Meta(min_length=1, max_length=1024)]


class LogTaken(Answer, frozen=True):
    """Sent after the commit."""

    id: int


class Renew(Request, frozen=True):
    csr_pem: Annotated[str, Meta(max_length=8192)]


class Renewed(Answer, frozen=True):
    certificate_chain_pem: str
    ca_bundle_pem: str
