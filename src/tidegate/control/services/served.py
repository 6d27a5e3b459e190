"""What devices have asked for lately, kept in memory: bounded, and never older than a few seconds where it can change.

Signed documents with a version in their name never change and stay until room is needed. The timestamp, "there is no
such file", and which files a version has are dropped when the hub tells of a change, and after `MAX_AGE_SECONDS`
anyway, because a change made by another replica is not told here.
"""

from __future__ import annotations

import gzip
import hashlib
import threading
from collections import OrderedDict
from dataclasses import dataclass

from tidegate.control.services import repository
from tidegate.control.services.hub import Change
from tidegate.control.services.node import Node
from tidegate.ids import FleetId
from tidegate.wire.descriptor import PayloadFile

MAX_AGE_SECONDS = 5.0
MAX_BYTES = 64 << 20
MAX_ENTRIES = 20_000
_MIN_GZIP = 1024

Key = tuple[FleetId, str, str]


@dataclass(frozen=True, slots=True)
class Document:
    """Bytes as they are and compressed (None where that does not pay)."""

    data: bytes
    gzipped: bytes | None
    etag: str


@dataclass(frozen=True, slots=True)
class _Entry:
    value: Document | dict[str, PayloadFile] | None
    size: int
    loaded_at: float
    lasting: bool


class Served:
    """Thread-safe; one per process, listening to the hub for as long as the process lives."""

    def __init__(self, node: Node) -> None:
        self._node = node
        self._entries: OrderedDict[Key, _Entry] = OrderedDict()
        self._bytes = 0
        self._epochs: dict[FleetId, int] = {}
        self._lock = threading.Lock()
        node.hub.subscribe(self._changed)

    def peek_document(self, fleet_id: FleetId, role: str, version: int | None) -> tuple[bool, Document | None]:
        """Whether the answer is at hand without asking the database, and which it is."""
        found, value = self._get(_document_key(fleet_id, role, version))
        return found, value if isinstance(value, Document) else None

    def document(self, fleet_id: FleetId, role: str, version: int | None) -> Document | None:
        key = _document_key(fleet_id, role, version)
        found, value = self._get(key)
        if found:
            return value if isinstance(value, Document) else None
        epoch = self._epoch(fleet_id)
        data = repository.document(self._node, fleet_id, role, version)
        document = None if data is None else _document(data)
        size = 256 if document is None else len(document.data) + len(document.gzipped or b"")
        self._put(key, document, size, lasting=document is not None and version is not None, epoch=epoch)
        return document

    def file(self, fleet_id: FleetId, name: str, version: str, file: str) -> PayloadFile | None:
        """A file of a version that is published and not withdrawn."""
        key = (fleet_id, f"version {name}", version)
        found, value = self._get(key)
        if not found:
            epoch = self._epoch(fleet_id)
            value = repository.files(self._node, fleet_id, name, version)
            self._put(key, value, 256 * (1 + len(value or ())), lasting=False, epoch=epoch)
        return value.get(file) if isinstance(value, dict) else None

    def _get(self, key: Key) -> tuple[bool, Document | dict[str, PayloadFile] | None]:
        now = self._node.clock.monotonic()
        with self._lock:
            entry = self._entries.get(key)
            if entry is None or (not entry.lasting and now - entry.loaded_at > MAX_AGE_SECONDS):
                return False, None
            self._entries.move_to_end(key)
            return True, entry.value

    def _put(
        self, key: Key, value: Document | dict[str, PayloadFile] | None, size: int, *, lasting: bool, epoch: int
    ) -> None:
        entry = _Entry(value, size, self._node.clock.monotonic(), lasting)
        with self._lock:
            if epoch != self._epochs.get(key[0], 0):
                return  # what was loaded may be older than the change that was told meanwhile
            self._drop(key)
            self._entries[key] = entry
            self._bytes += size
            while self._bytes > MAX_BYTES or len(self._entries) > MAX_ENTRIES:
                self._drop(next(iter(self._entries)))

    def _drop(self, key: Key) -> None:
        entry = self._entries.pop(key, None)
        if entry is not None:
            self._bytes -= entry.size

    def _epoch(self, fleet_id: FleetId) -> int:
        with self._lock:
            return self._epochs.get(fleet_id, 0)

    def _changed(self, change: Change) -> None:
        if change.kind != "trust":
            return
        with self._lock:
            self._epochs[change.fleet_id] = self._epochs.get(change.fleet_id, 0) + 1
            mine = [key for key, one in self._entries.items() if key[0] == change.fleet_id and not one.lasting]
            for key in mine:
                self._drop(key)


def _document_key(fleet_id: FleetId, role: str, version: int | None) -> Key:
    return (fleet_id, f"role {role}", "" if version is None else str(version))


def _document(data: bytes) -> Document:
    gzipped = gzip.compress(data, 6, mtime=0) if len(data) >= _MIN_GZIP else None
    return Document(data, gzipped, f'"{hashlib.sha256(data).hexdigest()[:32]}"')
