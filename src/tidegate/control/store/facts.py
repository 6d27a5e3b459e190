"""What a device tells of itself: the profile as a document, and the same as columns that selectors ask."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import Device
from tidegate.control.store import engine
from tidegate.control.store.schema import device_fact_items as items
from tidegate.control.store.schema import device_facts as facts
from tidegate.control.store.schema import device_tags, devices
from tidegate.ids import DeviceId
from tidegate.versions import sort_key
from tidegate.wire.device import HardwareProfile
from tidegate.wire.selector import Subject

_HARDWARE = msgspec.json.Decoder(HardwareProfile)
_TAGS = msgspec.json.Decoder(dict[str, str])
_ONE = ("arch", "os", "os_version", "kernel", "board", "cpu_count", "ram_bytes", "disk_bytes")
_SETS = ("accelerators", "runtimes")
_ORDERED = ("os_version", "kernel", "agent_version")


def write(
    tx: Connection,
    device_id: DeviceId,
    hardware: HardwareProfile,
    agent_version: str,
    declared_tags: Mapping[str, str] | None = None,
) -> None:
    """Make what the device says askable, beside the documents in `devices`; `declared_tags` None leaves them."""
    row: dict[str, Any] = {name: getattr(hardware, name) or None for name in _ONE}
    row["agent_version"] = agent_version or None
    row |= {f"{name}_order": sort_key(row[name]) if row[name] else None for name in _ORDERED}
    engine.upsert(tx, facts, [{"device_id": device_id, **row}], key=("device_id",), update=tuple(row))
    kinds = _SETS if declared_tags is None else (*_SETS, "declared")
    tx.execute(items.delete().where(items.c.device_id == device_id, items.c.kind.in_(kinds)))
    rows = [(name, key, "") for name in _SETS for key in dict.fromkeys(getattr(hardware, name))]
    rows += [("declared", key, value) for key, value in (declared_tags or {}).items()]
    if rows:
        tx.execute(
            items.insert(),
            [{"device_id": device_id, "kind": kind, "key": key, "value": value} for kind, key, value in rows],
        )


def subjects(tx: Connection, device_ids: Collection[DeviceId]) -> dict[DeviceId, Subject]:
    """These devices, a few hundred at most, as a selector judges them."""
    tags: dict[int, dict[str, str]] = {}
    for row in tx.execute(sa.select(device_tags).where(device_tags.c.device_id.in_(list(device_ids)))):
        tags.setdefault(row.device_id, {})[row.key] = row.value
    columns = (devices.c.id, devices.c.name, devices.c.hardware, devices.c.agent_version, devices.c.declared_tags)
    return {
        DeviceId(row.id): Subject(
            _HARDWARE.decode(row.hardware),
            tags.get(row.id, {}),
            _TAGS.decode(row.declared_tags),
            row.name,
            row.agent_version,
        )
        for row in tx.execute(sa.select(*columns).where(devices.c.id.in_(list(device_ids))))
    }


def subject_of(device: Device) -> Subject:
    """The same of a device that was read whole."""
    hardware = msgspec.convert(dict(device.hardware), HardwareProfile)
    return Subject(hardware, device.tags, device.declared_tags, device.name, device.agent_version)
