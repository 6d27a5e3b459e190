"""Bytes by their SHA-256, in a local folder or an S3-compatible store; durable before acknowledged.

A blob is named ``sha256/ab/abcdef…`` after its content, so that writing it twice is writing it once, and nothing is
ever overwritten by something else. Reading goes through obstore. Writing to a local folder does not: obstore renames
without fsync.
"""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import obstore
from obstore.exceptions import BaseError
from obstore.store import LocalStore

from tidegate.control import object_store
from tidegate.control.settings import Settings
from tidegate.errors import Defect, NotFound, TidegateError, Unavailable
from tidegate.ids import SHA256_HEX
from tidegate.trust.tuf.durable import fsync_folder, make_folder, write_file

if TYPE_CHECKING:
    from obstore.store import ObjectStore

CHUNK_BYTES = 1 << 20


class Blobs:
    """Thread-safe. `folder` is None on an object store; `look` is a client of it that soon gives up."""

    def __init__(self, store: ObjectStore, folder: Path | None, look: ObjectStore | None = None) -> None:
        self._store = store
        self.folder = folder
        self._look = look or store

    def check(self) -> None:
        """Whether the folder, or the bucket with these credentials, is there. Raises `Unavailable` within seconds."""
        try:
            if self.folder is not None:
                os.scandir(self.folder).close()
            else:
                next(iter(obstore.list(self._look, prefix="sha256", chunk_size=1)), None)
        except (OSError, BaseError) as error:
            raise storage_trouble("use the blobs", error) from error

    def put(self, data: bytes) -> str:
        """Store `data`; gives its SHA-256 in hex. Raises `Unavailable`."""
        sha256 = hashlib.sha256(data).hexdigest()
        if self.size(sha256) is not None:
            return sha256
        try:
            if self.folder is not None:
                path = self.folder / _key(sha256)
                make_folder(path.parent)
                write_file(path, data)
            else:
                obstore.put(self._store, _key(sha256), data, **object_store.multipart(len(data)))
        except (OSError, BaseError) as error:
            raise storage_trouble("store the blob", error) from error
        return sha256

    def put_file(self, path: Path, sha256: str) -> None:
        """Store the content of `path`, a synced file with this SHA-256 that nobody writes to any more.

        In a local folder the file itself becomes the blob when it is on the same disk: no second copy is made.

        Raises:
            Unavailable: the disk is full or the store does not answer.
        """
        size = path.stat().st_size
        if self.size(sha256) == size:
            return
        try:
            if self.folder is not None:
                _link(path, self.folder / _key(sha256))
            else:
                obstore.put(self._store, _key(sha256), path, **object_store.multipart(size))
        except (OSError, BaseError) as error:
            raise storage_trouble("store the blob", error) from error
        if self.size(sha256) != size:
            raise Unavailable("cannot store the blob: it is not there after writing it")

    def size(self, sha256: str) -> int | None:
        """Length in bytes; None when there is no such blob."""
        try:
            return obstore.head(self._store, _key(sha256))["size"]
        except FileNotFoundError:
            return None
        except (OSError, BaseError) as error:
            raise storage_trouble("read the blob", error) from error

    def stream(self, sha256: str, start: int = 0, end: int | None = None) -> Iterator[bytes]:
        """The bytes from `start` to before `end`, in pieces of about a mebibyte.

        Raises:
            NotFound: there is no such blob.
            Unavailable: the store does not answer.
        """
        options: Any = {}
        if end is not None:
            options = {"range": (start, end)}
        elif start:
            options = {"range": {"offset": start}}
        try:
            for piece in obstore.get(self._store, _key(sha256), options=options).stream(min_chunk_size=CHUNK_BYTES):
                yield bytes(piece)
        except FileNotFoundError as error:
            if object_store.no_bucket(error):
                raise storage_trouble("read the blob", error) from error
            raise NotFound("cannot find the blob") from error
        except (OSError, BaseError) as error:
            raise storage_trouble("read the blob", error) from error

    def read(self, sha256: str) -> bytes:
        """The whole of a small blob."""
        return b"".join(self.stream(sha256))

    def listed(self, before: datetime) -> Iterator[set[str]]:
        """The blobs last written before then, some at a time; half-written files of that age are removed by the way.

        Raises:
            Unavailable: the store does not answer.
        """
        try:
            for some in obstore.list(self._store, prefix="sha256", chunk_size=1_000):
                old = [one["path"] for one in some if one["last_modified"] < before]
                names = {path.rpartition("/")[2]: path for path in old}
                for name in [name for name in names if name.endswith(".unfinished")]:
                    obstore.delete(self._store, names.pop(name))
                yield {name for name in names if SHA256_HEX.fullmatch(name)}
        except (OSError, BaseError) as error:
            raise storage_trouble("list the blobs", error) from error

    def delete(self, sha256: str) -> None:
        """Nothing when it is not there."""
        try:
            obstore.delete(self._store, _key(sha256))
        except FileNotFoundError as error:
            if object_store.no_bucket(error):
                raise storage_trouble("delete the blob", error) from error
        except (OSError, BaseError) as error:
            raise storage_trouble("delete the blob", error) from error


def open_blobs(settings: Settings) -> Blobs:
    """The store that the settings name; whether a bucket is there is not asked yet.

    Raises:
        Invalid: a variable of the environment that names the store or its credentials.
        Unavailable: the folder cannot be made.
    """
    if not settings.blob_url:
        folder = settings.data_dir / "blobs"
        try:
            make_folder(folder)
        except OSError as error:
            raise storage_trouble("open the blob folder", error) from error
        return Blobs(LocalStore(prefix=folder), folder)
    store, look = object_store.open_bucket(settings.blob_url)
    return Blobs(store, None, look)


def storage_trouble(what: str, error: Exception) -> TidegateError:
    """The refusal for a disk or store that failed; a full disk is named as such."""
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Unavailable(f"cannot {what}: the disk is full", type="disk-full", retry_after_seconds=60)
    reason = error.strerror if isinstance(error, OSError) and error.strerror else object_store.why(error)
    return Unavailable(f"cannot {what}: {reason}")


def _key(sha256: str) -> str:
    if SHA256_HEX.fullmatch(sha256) is None:
        raise Defect("cannot name a blob: the SHA-256 is not 64 hex digits")
    return f"sha256/{sha256[:2]}/{sha256}"


def _link(source: Path, target: Path) -> None:
    make_folder(target.parent)
    # A link to the file under a name of its own, then a rename: what was half there before is replaced as a whole.
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}.unfinished")
    try:
        try:
            os.link(source, temporary)
        except OSError as error:
            if error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.EOPNOTSUPP):
                raise
            _copy(source, temporary)
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)
    fsync_folder(target.parent)


def _copy(source: Path, target: Path) -> None:
    with source.open("rb") as reading, target.open("xb") as writing:
        while piece := reading.read(CHUNK_BYTES):
            writing.write(piece)
        writing.flush()
        os.fsync(writing.fileno())
