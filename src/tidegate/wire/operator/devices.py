"""Devices in the operator API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct, field

from tidegate.wire.device import ArtifactName, DeviceName, HardwareProfile, Sha256, Version
from tidegate.wire.operator.common import ListQuery, OperatorRequest, SelectorText, Time

HoldReason = Annotated[str, Meta(min_length=1, max_length=512, description="Why; shown wherever the hold shows.")]
TagKey = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
TagValue = Annotated[str, Meta(min_length=1, max_length=128)]


class DeviceQuery(ListQuery, frozen=True, kw_only=True):
    """Which devices; what is left out is not asked."""

    state: Literal["active", "decommissioned", "all"] = "active"
    search: Annotated[str, Meta(max_length=128, description="Part of the name.")] = ""
    presence: Literal["online", "offline", "never", ""] = ""
    group: DeviceName | Literal[""] = ""
    selector: SelectorText | Literal[""] = ""
    tags: Annotated[str, Meta(max_length=2048, description="`key=value`, several with commas: all must be there.")] = ""
    artifact: ArtifactName | Literal[""] = ""
    version: Version | Literal[""] = ""
    held: bool | None = None
    drifted: Annotated[bool, Meta(description="Only devices that run something else than they reported.")] = False


class SelectorQuery(OperatorRequest, frozen=True, kw_only=True):
    """`device`: whether this one matches, and if not, why."""

    selector: SelectorText
    device: DeviceName | Literal[""] = ""


class SelectionInfo(Struct, frozen=True, kw_only=True):
    """`first` are some of the `count`; `declared`: columns that devices say of themselves; `why_not` is of `device`."""

    selector: str
    count: int
    first: tuple[str, ...]
    declared: tuple[str, ...]
    device: str
    matches: bool | None
    why_not: tuple[str, ...]


class HoldInfo(Struct, frozen=True):
    """`subject` says what is held: the device, one of its groups, or its fleet."""

    subject: str
    reason: str
    until: Time | None


class InProgressInfo(Struct, frozen=True):
    work: str
    state: str
    detail: str


class DeviceInfo(Struct, frozen=True, kw_only=True):
    """A device as lists show it."""

    id: int
    name: str
    state: Literal["active", "decommissioned"]
    presence: Literal["online", "offline", "never"]
    last_seen_at: Time | None
    enrolled_at: Time
    agent_version: str
    arch: str
    tags: dict[str, str]
    groups: tuple[str, ...]
    hold: HoldInfo | None
    waiting_on: str
    identity_conflict: bool
    drifted: bool


class DeviceCounts(Struct, frozen=True):
    """`held`, `drifted` and `conflict` (of identities) are counted among the living ones, beside their presence."""

    total: int
    online: int
    offline: int
    never: int
    held: int
    decommissioned: int
    drifted: int
    conflict: int


class CertificateInfo(Struct, frozen=True, kw_only=True):
    """`fingerprint`: SHA-256 of the certificate; null while it is written down and not signed."""

    state: Literal["intended", "pending", "current", "retired"]
    serial: str
    fingerprint: Sha256 | None
    not_before: Time
    not_after: Time
    issued_at: Time


class EventInfo(Struct, frozen=True):
    at: Time
    kind: str
    detail: str
    rollout: int | None


class DeviceDetailInfo(Struct, frozen=True, kw_only=True):
    """Everything about a device but what it runs and why, which is explain's."""

    device: DeviceInfo
    hardware: HardwareProfile
    declared_tags: dict[str, str]
    log_sources: tuple[str, ...]
    in_progress: tuple[InProgressInfo, ...]
    holds: tuple[HoldInfo, ...]
    certificates: tuple[CertificateInfo, ...]
    events: tuple[EventInfo, ...]
    decommissioned_at: Time | None
    stop_workloads: bool
    identity_conflict_at: Time | None


class ChangeTags(OperatorRequest, frozen=True, kw_only=True):
    put: Annotated[dict[TagKey, TagValue], Meta(max_length=64)] = field(default_factory=dict)
    remove: Annotated[tuple[TagKey, ...], Meta(max_length=64)] = ()


class NewHold(OperatorRequest, frozen=True, kw_only=True):
    """`until` left out: until released."""

    reason: HoldReason
    until: Time | None = None


class Decommission(OperatorRequest, frozen=True, kw_only=True):
    """`confirm` repeats the device's name: there is no way back.

    `stop_workloads`: once its key is wiped, the agent also takes out of force what it installed. Models are removed; at
    a config's destination is again what was there before it, and who reads it is reloaded.
    """

    confirm: DeviceName
    stop_workloads: bool = False
