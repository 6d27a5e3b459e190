"""The calls of the device channel as data: its description and its limits are made from this table (SPEC section 8)."""

from __future__ import annotations

from dataclasses import dataclass

from tidegate.wire import device as wire

PREFIX = "/v1/device/"


@dataclass(frozen=True, slots=True)
class DeviceCall:
    """``POST /v1/device/<name>``; a body of more than `most_bytes` is refused."""

    name: str
    summary: str
    request: type
    answer: type
    most_bytes: int

    @property
    def path(self) -> str:
        return PREFIX + self.name


#: ``POST /v1/device/logs/{id}``: a gzip bundle of at most `wire.LOG_BUNDLE_BYTES_MAX`, or `wire.LogRefusal` as JSON.
LOGS = "logs/"

CALLS = (
    DeviceCall(
        "register", "Hardware, agent version and declared tags, when the agent starts", wire.Register, wire.Registered,
        64 << 10,
    ),
    DeviceCall(
        "heartbeat", "What runs and is in progress; the answer may be held until the desired state changes",
        wire.Heartbeat, wire.HeartbeatAnswer, 1 << 20,
    ),
    DeviceCall("leave", "Ask to start applying", wire.LeaveRequest, wire.LeaveAnswer, 64 << 10),
    DeviceCall(
        "reports", "What became of work, acknowledged item by item after the commit", wire.Reports, wire.ReportsAnswer,
        4 << 20,
    ),
    DeviceCall("renew", "A certificate for the next key", wire.Renew, wire.Renewed, 64 << 10),
)  # fmt: skip

MOST_BYTES = {call.request: call.most_bytes for call in CALLS} | {wire.LogRefusal: 64 << 10}
