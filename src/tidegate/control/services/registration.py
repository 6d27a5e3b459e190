"""What a device says of itself when its agent starts (SPEC section 8)."""

from __future__ import annotations

import msgspec

from tidegate.control.domain.devices import DeviceRef, checked_tags
from tidegate.control.services import history
from tidegate.control.services.node import Node
from tidegate.control.store import devices as store
from tidegate.control.store import engine
from tidegate.control.store import facts as fact_store
from tidegate.control.store.assignments import Event
from tidegate.wire.device import Register

_JSON = msgspec.json.Encoder(order="sorted")


def register(node: Node, device: DeviceRef, said: Register) -> bool:
    """Record hardware, agent version, declared tags and the names of log sources; gives whether anything was new.

    Declared tags stay apart from the operator's: they select nothing by default.

    Raises:
        Invalid: a declared tag is malformed.
        TooMany: it told other things again and again; each time the whole fleet's selectors are looked at anew.
    """
    tags = checked_tags(said.declared_tags, "/declared_tags")
    facts = {
        "agent_version": said.agent_version,
        "hardware": _JSON.encode(said.hardware).decode(),
        "declared_tags": _JSON.encode(tags).decode(),
        "log_sources": _JSON.encode(sorted(set(said.log_sources))).decode(),
    }
    with node.db.read() as tx:
        if store.facts(tx, device.id) == facts:
            return False
    key, at = str(device.id), node.clock.monotonic()
    node.limits.registered_by_device.check(key, at, "the device says something else of itself each time")
    with node.db.write() as tx:
        before = store.facts(tx, device.id)
        if before == facts:
            return False
        store.update(tx, device.id, **facts)
        fact_store.write(tx, device.id, said.hardware, said.agent_version, tags)
        if before["agent_version"] and before["agent_version"] != said.agent_version:
            text = f"agent {said.agent_version}, was {before['agent_version']}"
            history.tell(tx, node, [Event(device.fleet_id, device.id, None, "agent", text)], engine.now(tx))
        store.bump(tx, device.fleet_id)
    node.limits.registered_by_device.failed(key, at)
    node.hub.nudge("devices", device.fleet_id, {device.id})
    return True
