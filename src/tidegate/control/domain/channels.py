"""What a channel is: a movable label of one artifact name, with its history (SPEC section 5).

A channel is the node's word, never signed and never told to a device: whoever takes the node can move one, and gains
nothing by it that creating a rollout would not give. What reaches a device is the version that a rollout resolved.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from tidegate.errors import Conflict, FieldError, Invalid
from tidegate.ids import ArtifactId, checked

CHANNEL_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
#: Of one artifact name: labels that nobody can survey are no labels.
MOST_CHANNELS = 50
MAX_REASON = 1024


@dataclass(frozen=True, slots=True)
class Channel:
    """`withdrawn_at`: the version it points at was withdrawn since; it stays there until somebody moves it. `reason`:
    why it was moved there."""

    artifact: str
    name: str
    artifact_id: ArtifactId
    version: str
    withdrawn_at: datetime | None
    withdrawn_reason: str | None
    created_at: datetime
    moved_at: datetime
    moved_by: str
    reason: str

    @property
    def subject(self) -> str:
        """As the audit log names it."""
        return f"channel:{self.artifact}/{self.name}"

    @property
    def withdrawn(self) -> bool:
        return self.withdrawn_at is not None


@dataclass(frozen=True, slots=True)
class Move:
    """One entry of a channel's history: `from_version` None made it, `to_version` None deleted it."""

    id: int
    from_version: str | None
    to_version: str | None
    at: datetime
    by: str
    reason: str


def check_name(name: str, pointer: str = "/channel") -> str:
    """Raises `Invalid`."""
    return checked(CHANNEL_NAME, name, pointer)


def check_reason(what: str, reason: str) -> str:
    """The reason without the blanks around it. Raises `Invalid` when there is none, or too much of it."""
    said = reason.strip()
    if not said or len(said) > MAX_REASON:
        rule = f"must be given, at most {MAX_REASON} characters"
        raise Invalid(f"cannot {what} the channel: reason {rule}", (FieldError("/reason", rule),))
    return said


def check_move(channel: Channel | None, name: str, to_version: str, *, withdrawn: bool, seen: str | None) -> None:
    """Whether a channel may be moved, or made, to point at a version.

    Args:
        seen: the version that whoever moves it last saw there; ``""`` for none, None when they do not say.

    Raises:
        Conflict: the version is withdrawn, or the channel points elsewhere than at what was seen.
    """
    if withdrawn:
        raise Conflict(
            f"cannot move the channel {name} to {to_version}: it is withdrawn, and nobody may get it any more",
            type="withdrawn",
        )
    at = channel.version if channel is not None else ""
    if seen is not None and seen != at:
        now = f"it points at {at} by now" if at else "there is none by now"
        raise Conflict(f"cannot move the channel {name}: {now}; look again", type="channel-moved")


def check_room(name: str, channels: int) -> None:
    """Raises `Conflict` when the artifact has as many channels as it may have."""
    if channels >= MOST_CHANNELS:
        raise Conflict(f"cannot create the channel {name}: an artifact has at most {MOST_CHANNELS}; delete one first")


def check_usable(channel: Channel) -> None:
    """Raises `Conflict` when a rollout cannot be created from it."""
    if channel.withdrawn:
        said = f": {channel.withdrawn_reason}" if channel.withdrawn_reason else ""
        raise Conflict(
            f"cannot roll out from the channel {channel.name}: it points at {channel.artifact} {channel.version}, which"
            f" is withdrawn{said}; move the channel to another version first",
            type="withdrawn",
        )
