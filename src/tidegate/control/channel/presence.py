"""Who was heard when, in memory; written down in batches. Presence may be lost in a crash, reports may not."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import structlog
from anyio.to_thread import run_sync

from tidegate.control.domain.devices import ChannelUp
from tidegate.control.services.node import Node
from tidegate.control.store import devices as store
from tidegate.control.store import engine
from tidegate.control.store.devices import Seen
from tidegate.ids import DeviceId

log = structlog.get_logger()

FLUSH_SECONDS = 5.0
_BATCH = 1000
#: A silence of the channel longer than this was a time in which no device could call.
GAP_SECONDS = 3 * FLUSH_SECONDS


class Presence:
    """Owned by one event loop."""

    def __init__(self, node: Node, interval_factor: Callable[[], int] = lambda: 1) -> None:
        self._node = node
        self._factor = interval_factor
        self._said: dict[DeviceId, int] = {}
        self._unwritten: dict[DeviceId, Seen] = {}

    def heard(self, device_id: DeviceId, at: datetime, waiting_on: str, in_progress: bytes) -> None:
        """A device called; its words are written again only where they changed."""
        words = hash((waiting_on, in_progress))
        if self._said.get(device_id) != words:
            self._said[device_id] = words
            self._unwritten[device_id] = Seen(device_id, at, waiting_on, in_progress.decode())
            return
        waiting = self._unwritten.get(device_id)
        if waiting is not None and waiting.in_progress is not None:
            self._unwritten[device_id] = Seen(device_id, at, waiting.waiting_on, waiting.in_progress)
        else:
            self._unwritten[device_id] = Seen(device_id, at)

    def forget(self, device_id: DeviceId) -> None:
        """Write the device's words again when it next calls: somebody else changed the row."""
        self._said.pop(device_id, None)

    @property
    def unwritten(self) -> int:
        return len(self._unwritten)

    async def flush(self) -> None:
        """Write what is new, and that the channel is up. What cannot be written stays for the next time."""
        batch, self._unwritten = self._unwritten, {}
        try:
            await run_sync(self._write, list(batch.values()))
        except Exception as error:  # noqa: BLE001 - whatever the driver raises: told, kept, and tried again
            log.warning("cannot write presence", devices=len(batch), error=str(error))
            for device_id, seen in batch.items():
                self._unwritten[device_id] = _merged(seen, self._unwritten.get(device_id))

    def _write(self, seen: list[Seen]) -> None:
        for start in range(0, max(len(seen), 1), _BATCH):
            with self._node.db.write() as tx:
                now = engine.now(tx)
                before = store.channel_up(tx) or ChannelUp(now, now)
                store.flush_presence(tx, seen[start : start + _BATCH])
                after = before.beat(now, gap_seconds=GAP_SECONDS, interval_factor=self._factor())
                store.record_channel_up(tx, after)


def _merged(older: Seen, newer: Seen | None) -> Seen:
    if newer is None:
        return older
    if newer.in_progress is not None or older.in_progress is None:
        return newer
    return Seen(newer.device_id, newer.at, older.waiting_on, older.in_progress)
