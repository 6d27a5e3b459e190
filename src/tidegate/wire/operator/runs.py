"""What runs where, in the operator API."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from tidegate.wire.device import ShortText
from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time

_SelectorText = Annotated[str, Meta(max_length=4096)]
ShowRuns = Literal["all", "drifted", "withdrawn", "unreported"]


class RunsQuery(OperatorRequest, frozen=True, kw_only=True):
    """Empty leaves a question out. `show`: every device, those whose version drifted, those that run a withdrawn one,
    those that have reported none."""

    artifact: ShortText = ""
    version: ShortText = ""
    group: ShortText = ""
    selector: _SelectorText = ""
    show: ShowRuns = "all"


class RunsPageQuery(ListQuery, frozen=True, kw_only=True):
    """As `RunsQuery`."""

    artifact: ShortText = ""
    version: ShortText = ""
    group: ShortText = ""
    selector: _SelectorText = ""
    show: ShowRuns = "all"


class ExportRuns(RunsQuery, frozen=True, kw_only=True):
    """`format`: CSV (RFC 4180, with a head line) or JSON lines."""

    format: Literal["csv", "jsonl"] = "csv"


class RunsTotals(Struct, frozen=True, kw_only=True):
    """Living devices. `unreported` have not reported to run any version (of the artifact, where one is asked for)."""

    devices: int
    reported: int
    unreported: int
    drifted: int
    withdrawn: int


class RunsVersion(Struct, frozen=True, kw_only=True):
    """`published` false: devices say that they run it, and the catalog has no such version."""

    artifact: str
    version: str
    devices: int
    drifted: int
    published: bool
    withdrawn: bool


class RunsDevice(Struct, frozen=True, kw_only=True):
    """`artifact` is empty where the device has reported none; `should_version` is what the last rollout left there."""

    device: str
    artifact: str
    running_version: str
    should_version: str
    withdrawn: bool
    drift_since: Time | None
    restore: str
    reported_at: Time | None
    last_seen_at: Time | None
