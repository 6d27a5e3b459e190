"""What devices cause to be written into their own history: so much a day, whatever they say.

What people and the planner do about a device is written without this bound, and so is never the part that is missing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Connection

from tidegate.control.services.limits import TOLD_MOST
from tidegate.control.services.node import Node
from tidegate.control.store import assignments
from tidegate.control.store.assignments import Event

_MORE = (
    f"more than {TOLD_MOST} lines in a day by what the device says: further ones are not kept until a day has passed"
)


def tell(tx: Connection, node: Node, events: Sequence[Event], now: datetime) -> None:
    """Write lines that a device caused by what it said; beyond the bound one line says that there were more."""
    kept: list[Event] = []
    limit, at = node.limits.told_by_device, node.clock.monotonic()
    for one in events:
        key = str(one.device_id)
        if limit.full(key, at):
            continue
        limit.failed(key, at)
        last = limit.full(key, at)
        kept.append(replace(one, rollout_id=None, kind="history", detail=_MORE) if last else one)
    assignments.write_events(tx, kept, now)
