"""Logs of devices in the operator API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.wire.device import LOG_BYTES_MAX, LogSource
from tidegate.wire.operator.common import OperatorRequest, Time


class NewLogRequest(OperatorRequest, frozen=True, kw_only=True):
    """`source` is a name that the device's owner allows; `max_bytes` are taken from its end."""

    source: LogSource
    max_bytes: Annotated[int, Meta(ge=1024, le=LOG_BYTES_MAX)] = 1 << 20


class LogRequestInfo(Struct, frozen=True, kw_only=True):
    """`size_bytes` of the text, unpacked, once it is there; `reason` in the device's words, where it refused."""

    id: int
    device: str
    source: str
    max_bytes: int
    state: Literal["waiting", "received", "refused", "expired", "cancelled"]
    reason: str
    requested_at: Time
    requested_by: str
    expires_at: Time
    ended_at: Time | None
    size_bytes: int | None
