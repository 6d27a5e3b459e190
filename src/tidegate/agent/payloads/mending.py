"""Damaged records of a config's destinations: what they hold up, and what the device's owner can have done about it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from tidegate.agent.payloads.destination import Destinations, There
from tidegate.agent.payloads.held import Held, Records, bounded, record_name
from tidegate.errors import Refused, Untrusted
from tidegate.wire.config import CONFIG_MAX_BYTES


def damage(name: str, records: Records, but: str = "") -> tuple[str, ...]:
    """What is damaged, a sentence each, except the record of the destination `but`."""
    return tuple(
        f"cannot tell what was at a destination of {name} before: the record {path} is damaged; {name} stays there"
        " until the device's owner runs tidegate-agent repair"
        for path in records.damaged()
        if not but or path.stem != record_name(but)
    )


def mend(name: str, records: Records, at: Destinations, destinations: Iterable[str]) -> tuple[str, ...]:
    """Write damaged records anew; `destinations` are those that versions on the device name.

    Raises:
        OSError: a record cannot be written; what was done so far is done.
    """
    named = {record_name(destination): destination for destination in destinations if destination}
    return tuple(_mended(name, records, at, path, named.get(path.stem, "")) for path in records.damaged())


def _mended(name: str, records: Records, at: Destinations, path: Path, destination: str) -> str:
    if not destination:
        records.replace(path, None)
        return f"{name}: no version on the device names the destination of {path}; what lies there is left as it is"
    before = _copy(records, path, destination)
    there: There | None = None
    with suppress(Refused, OSError), at.open(destination) as spot:
        there = spot.look()
    if before is None or there is None:
        records.replace(path, Held(destination))
        return (
            f"{name}: what was at {destination} before is not known any more; when {name} is removed, nothing is left"
        )
    records.replace(path, Held(destination, there.mode, there.owner, hashlib.sha256(before).hexdigest()))
    return f"{name}: {destination} gets back what was copied before, with mode and owner of the file that is there now"


def _copy(records: Records, path: Path, destination: str) -> bytes | None:
    """What was copied before the first version, where nothing says that it has changed."""
    with suppress(Untrusted):
        if records.of(destination) is not None:
            return None  # the record is whole, so it is the copy that is not
    try:
        return bounded(path.with_suffix(".before"), CONFIG_MAX_BYTES)
    except (Untrusted, OSError):
        return None
