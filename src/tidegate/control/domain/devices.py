"""What a device is to the control plane: identity, presence, holds."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Literal

from tidegate.errors import FieldError, Invalid
from tidegate.ids import TAG_KEY, TAG_VALUE, DeviceId, FleetId

DeviceState = Literal["active", "decommissioned"]
Presence = Literal["online", "offline", "never"]

#: A device is offline when its last heartbeat is older than this many intervals.
OFFLINE_INTERVALS = 3
MAX_TAGS = 64
MAX_REASON = 512


@dataclass(frozen=True, slots=True)
class DeviceRef:
    """A device whose certificate was verified: the only identity the device channel knows."""

    id: DeviceId
    name: str
    fleet_id: FleetId
    fleet: str


@dataclass(frozen=True, slots=True)
class Hold:
    """Why something is not served, and until when (None: until released)."""

    reason: str
    until: datetime | None = None

    @property
    def mark(self) -> str:
        """Tells this hold from another one that replaced it."""
        return hashlib.sha256(f"{self.until}\0{self.reason}".encode()).hexdigest()[:16]

    def in_force(self, now: datetime) -> bool:
        return self.until is None or now < self.until


@dataclass(frozen=True, slots=True)
class InProgress:
    """One piece of work that the device says it has taken up, in its own words."""

    work: str
    state: str
    detail: str = ""


@dataclass(frozen=True, slots=True)
class Device:
    """A device as recorded; `last_seen_at` is as fresh as the last flush of presence.

    `groups` are all that hold it; `static_groups` those that list it, the rest hold it by their selector.
    """

    id: DeviceId
    fleet_id: FleetId
    name: str
    state: DeviceState
    created_at: datetime
    enrolled_at: datetime
    decommissioned_at: datetime | None
    stop_workloads: bool
    last_seen_at: datetime | None
    agent_version: str
    hardware: Mapping[str, Any]
    declared_tags: Mapping[str, str]
    log_sources: tuple[str, ...]
    waiting_on: str
    in_progress: tuple[InProgress, ...]
    hold: Hold | None
    identity_conflict_at: datetime | None
    tags: Mapping[str, str] = field(default_factory=dict)
    groups: tuple[str, ...] = ()
    static_groups: tuple[str, ...] = ()

    @property
    def active(self) -> bool:
        return self.state == "active"


@dataclass(frozen=True, slots=True)
class DeviceEvent:
    """One line of a device's history."""

    at: datetime
    kind: str
    detail: str
    rollout_id: int | None = None


@dataclass(frozen=True, slots=True)
class ChannelUp:
    """The device channel's present unbroken time of service, and how much its interval is widened.

    Absence counts only in it: nobody could call while it was down. `until` is the last beat of any replica.
    """

    since: datetime
    until: datetime
    interval_factor: int = 1

    def beat(self, now: datetime, *, gap_seconds: float, interval_factor: int) -> ChannelUp:
        """The record after one more beat at `now`; a silence longer than `gap_seconds` starts a new time of service."""
        since = now if (now - self.until).total_seconds() > gap_seconds else self.since
        return ChannelUp(since, max(now, self.until), interval_factor)


def absence_seconds(last_seen: datetime | None, channel: ChannelUp | None) -> float:
    """How long a device has been silent while it could have called; 0 while the channel never ran."""
    if channel is None:
        return 0.0
    start = channel.since if last_seen is None else max(last_seen, channel.since)
    return max(0.0, (channel.until - start).total_seconds())


def offline_after(channel: ChannelUp | None, interval_seconds: int) -> timedelta:
    factor = channel.interval_factor if channel else 1
    return timedelta(seconds=OFFLINE_INTERVALS * interval_seconds * factor)


def presence(last_seen: datetime | None, channel: ChannelUp | None, interval_seconds: int) -> Presence:
    """Online, offline (absent for more than three intervals), or never seen."""
    if last_seen is None:
        return "never"
    silent = absence_seconds(last_seen, channel)
    return "offline" if silent > offline_after(channel, interval_seconds).total_seconds() else "online"


def offline_cutoff(channel: ChannelUp | None, interval_seconds: int) -> datetime | None:
    """Devices last seen before this are offline; None: nobody is yet, the channel has not served long enough."""
    if channel is None:
        return None
    cutoff = channel.until - offline_after(channel, interval_seconds)
    return cutoff if cutoff > channel.since else None


def checked_tags(tags: Mapping[str, str], pointer: str) -> dict[str, str]:
    """Give back a copy of `tags` when every key and value is well formed and there are not too many.

    Raises:
        Invalid: naming each wrong tag below `pointer`.
    """
    errors = [
        FieldError(f"{pointer}/{key}", f"a tag's key must match {TAG_KEY.pattern}")
        for key in tags
        if TAG_KEY.fullmatch(key) is None
    ]
    errors += [
        FieldError(f"{pointer}/{key}", f"a tag's value must match {TAG_VALUE.pattern}")
        for key, value in tags.items()
        if TAG_VALUE.fullmatch(value) is None
    ]
    if len(tags) > MAX_TAGS:
        errors.append(FieldError(pointer, f"a device has at most {MAX_TAGS} tags"))
    if errors:
        raise Invalid("cannot accept these tags", tuple(errors))
    return dict(tags)


def new_hold(reason: str, until: datetime | None, now: datetime) -> Hold:
    """A hold as an operator asks for it.

    Raises:
        Invalid: no reason, one too long, or an end that has passed.
    """
    text = reason.strip()
    errors = []
    if not text or len(text) > MAX_REASON:
        errors.append(FieldError("/reason", f"say why, in at most {MAX_REASON} characters"))
    if until is not None and until <= now:
        errors.append(FieldError("/until", "must be in the future"))
    if errors:
        raise Invalid("cannot hold without a reason and an end in the future, or no end", tuple(errors))
    return Hold(text, until)
