"""Files on their way in: streamed, resumable, bounded by disk, hashed when whole (SPEC section 5).

The bytes of an unfinished upload are the file ``uploads/<id>`` in the data folder. What is acknowledged is synced first
and recorded after; on resuming, whatever lies beyond the record is cut off.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import secrets
from collections.abc import Iterable
from datetime import timedelta
from pathlib import Path
from types import TracebackType

from sqlalchemy import Connection

from tidegate.control.blobs import CHUNK_BYTES, storage_trouble
from tidegate.control.domain.access import Scope
from tidegate.control.domain.artifacts import Upload, check_file_name
from tidegate.control.services import disk
from tidegate.control.services.node import Node
from tidegate.control.store import artifacts as artifact_store
from tidegate.control.store import engine
from tidegate.control.store import sboms as sbom_store
from tidegate.control.store import uploads as store
from tidegate.errors import Conflict, FieldError, Invalid, NotFound, TooLarge, Unavailable
from tidegate.trust.tuf.durable import fsync_folder, make_folder

_ID = re.compile(r"[0-9a-f]{32}")


def create(scope: Scope, node: Node, file_name: str, length: int) -> Upload:
    """Announce a file of `length` bytes.

    Raises:
        Invalid: its name or length.
        TooLarge: longer than upload_max_bytes.
        Unavailable: the disk cannot hold it.
    """
    scope.require("artifacts.publish")
    check_file_name(file_name)
    if length < 0:
        raise Invalid("cannot upload: length must not be negative", (FieldError("/length", "must not be negative"),))
    if length > node.settings.upload_max_bytes:
        raise TooLarge(f"cannot upload {length} bytes: at most {node.settings.upload_max_bytes} (upload_max_bytes)")
    disk.check_beginning(node, length)
    upload_id = secrets.token_hex(16)
    try:
        folder = _folder(node)
        (folder / upload_id).touch(mode=0o600)
        fsync_folder(folder)
    except OSError as error:
        raise storage_trouble("begin the upload", error) from error
    with node.db.write() as tx:
        at = engine.now(tx)
        upload = Upload(upload_id, scope.fleet_id, file_name, length, 0, None, at, str(scope.actor))
        store.insert(tx, upload)
    return upload


def find(scope: Scope, node: Node, upload_id: str) -> Upload:
    """Raises `NotFound`."""
    scope.require("artifacts.publish")
    if _ID.fullmatch(upload_id) is None:
        raise NotFound(f"cannot find the upload {upload_id[:64]}")
    with node.db.read() as tx:
        upload = store.find(tx, scope.fleet_id, upload_id)
    if upload is None:
        raise NotFound(f"cannot find the upload {upload_id}: it was published, removed, or nobody continued it")
    return upload


def listed(scope: Scope, node: Node, *, limit: int = 50) -> tuple[list[Upload], int]:
    """Those under way in the fleet, the newest first, and how many there are."""
    scope.require("artifacts.publish")
    with node.db.read() as tx:
        return store.listed(tx, scope.fleet_id, limit)


def discard(scope: Scope, node: Node, upload_id: str) -> None:
    """Forget an upload; bytes that were sealed already stay until the next purge."""
    upload = find(scope, node, upload_id)
    with node.db.write() as tx:
        store.delete(tx, upload.id)
    _remove_part(node, upload.id)


def receive(scope: Scope, node: Node, upload_id: str, offset: int) -> Receiver:
    """Go on with an upload at `offset`, which must be what was received so far.

    Raises:
        Conflict: another offset, sealed already, or somebody else is sending it now.
    """
    upload = find(scope, node, upload_id)
    if upload.sha256 is not None:
        raise Conflict(f"cannot add to the upload {upload_id}: it is whole")
    return Receiver(node, upload, offset)


def upload_stream(scope: Scope, node: Node, file_name: str, length: int, pieces: Iterable[bytes]) -> Upload:
    """A whole file at once, such as a part of a form; a failure leaves nothing behind."""
    upload = create(scope, node, file_name, length)
    try:
        with receive(scope, node, upload.id, 0) as receiver:
            for piece in pieces:
                receiver.write(piece)
            return receiver.finish()
    except BaseException:
        discard(scope, node, upload.id)
        raise


class Receiver:
    """One request's worth of an upload. Not thread-safe; use as a context manager and call `finish`."""

    def __init__(self, node: Node, upload: Upload, offset: int) -> None:
        self._node = node
        self._upload = upload
        self._file = self._open()
        try:
            # Read again under the lock: another request may have added to it in between.
            with node.db.read() as tx:
                current = store.find(tx, upload.fleet_id, upload.id)
            if current is None or current.sha256 is not None:
                raise Conflict(f"cannot add to the upload {upload.id}: it is whole or was removed")
            if offset != current.received:
                raise Conflict(
                    f"cannot go on with the upload {upload.id} at {offset}: {current.received} bytes were received",
                    type="upload-offset",
                )
            if os.fstat(self._file).st_size < offset:
                raise Unavailable(f"cannot go on with the upload {upload.id}: its file is gone; begin a new one")
            os.ftruncate(self._file, offset)
            os.lseek(self._file, offset, os.SEEK_SET)
        except BaseException:
            os.close(self._file)
            raise
        self.received = offset
        self._recorded = offset

    def write(self, piece: bytes) -> None:
        """Raises `TooLarge` beyond the announced length, `Unavailable` when the disk refuses."""
        if self.received + len(piece) > self._upload.length:
            raise TooLarge(f"cannot add to the upload: {self._upload.length} bytes were announced, more arrived")
        # Looked at again: several uploads, each of which had room when it began, may not have it together.
        disk.check_going_on(self._node, len(piece))
        view = memoryview(piece)
        try:
            while view:
                written = os.write(self._file, view)
                self.received += written
                view = view[written:]
        except OSError as error:
            raise storage_trouble("store the upload", error) from error

    def finish(self) -> Upload:
        """Make durable what was received, record it, and seal the upload when it is whole."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise storage_trouble("store the upload", error) from error
        with self._node.db.write() as tx:
            store.advance(tx, self._upload.id, self.received, engine.now(tx))
        self._recorded = self.received
        if self.received == self._upload.length:
            self._seal()
        with self._node.db.read() as tx:
            found = store.find(tx, self._upload.fleet_id, self._upload.id)
        if found is None:
            raise NotFound(f"cannot find the upload {self._upload.id}: it was removed meanwhile")
        return found

    def __enter__(self) -> Receiver:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._file)

    def _open(self) -> int:
        try:
            file = os.open(_part(self._node, self._upload.id), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise Conflict(f"cannot go on with the upload {self._upload.id}: it is not on this node") from error
        except OSError as error:
            raise storage_trouble("go on with the upload", error) from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(file)
            raise Conflict(f"cannot go on with the upload {self._upload.id}: it is being sent already") from error
        return file

    def _seal(self) -> None:
        path = _part(self._node, self._upload.id)
        with path.open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        self._node.blobs.put_file(path, sha256)
        with self._node.db.write() as tx:
            store.seal(tx, self._upload.id, sha256, engine.now(tx))
        _remove_part(self._node, self._upload.id)


def purge(node: Node) -> int:
    """Forget uploads that nobody touched for upload_keep_hours, their bytes too; gives how many."""
    with node.db.write() as tx:
        # A version published meanwhile could need the very bytes removed here: nobody publishes until this ends.
        store.lock_publishing(tx)
        stale = store.stale(tx, engine.now(tx) - timedelta(hours=node.settings.upload_keep_hours))
        for upload in stale:
            store.delete(tx, upload.id)
        for sha256 in {upload.sha256 for upload in stale if upload.sha256 is not None}:
            if not _named(tx, sha256):
                node.blobs.delete(sha256)
        known = store.known_ids(tx)
    for path in _folder(node).iterdir():
        # Younger files may belong to an upload whose row is about to be written.
        if path.name not in known and node.clock.now().timestamp() - path.stat().st_mtime > 3600:
            path.unlink(missing_ok=True)
    return len(stale)


def sweep(node: Node) -> int:
    """Remove blobs that nothing names, such as those of an upload that was discarded or of a publication that failed;
    gives how many. Younger ones are left alone: what names them may be about to be written.
    """
    before = node.clock.now() - timedelta(hours=node.settings.upload_keep_hours)
    with node.db.read() as tx:
        named = artifact_store.named_blobs(tx) | store.named_blobs(tx) | sbom_store.named_blobs(tx)
    removed = 0
    for some in node.blobs.listed(before):
        if some <= named:
            continue
        with node.db.write() as tx:
            # Looked at again: nobody publishes until this ends.
            store.lock_publishing(tx)
            for sha256 in some - named:
                if not _named(tx, sha256):
                    node.blobs.delete(sha256)
                    removed += 1
    return removed


def _named(tx: Connection, sha256: str) -> bool:
    """Whether anything of any fleet needs these bytes."""
    return any(rows.uses_blob(tx, sha256) for rows in (store, artifact_store, sbom_store))


def _folder(node: Node) -> Path:
    folder = node.settings.data_dir / "uploads"
    make_folder(folder)
    return folder


def _part(node: Node, upload_id: str) -> Path:
    return node.settings.data_dir / "uploads" / upload_id


def _remove_part(node: Node, upload_id: str) -> None:
    _part(node, upload_id).unlink(missing_ok=True)


__all__ = ["CHUNK_BYTES", "Receiver", "create", "discard", "find", "purge", "receive", "upload_stream"]
