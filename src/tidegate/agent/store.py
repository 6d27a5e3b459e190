"""The content store: verified bytes under their hash, resumable downloads beside them.

``partial/<sha256>`` grows while it is downloaded and proves nothing; ``whole/<sha256>`` has had its hash and length
checked and is never written to again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection
from pathlib import Path

from tidegate.agent.files import Files, RealFiles, make_folders
from tidegate.errors import Defect, Untrusted
from tidegate.ids import SHA256_HEX

_CHUNK = 1 << 20
_SHA512_DIGITS = 128
_SHA512_HEX = re.compile(r"[0-9a-f]{128}")


class ContentStore:
    """For one process at a time; `sha256` is the lower-case hex digest of the content.

    Of foreign repositories it may be a SHA-512, told apart by its length; the wire and the descriptors of our own know
    only SHA-256.
    """

    def __init__(self, root: Path, files: Files | None = None) -> None:
        self._whole = root / "whole"
        self._partial = root / "partial"
        self._files = files or RealFiles()

    def has(self, sha256: str) -> bool:
        """Whether the whole content is here."""
        return self.path(sha256).is_file()

    def path(self, sha256: str) -> Path:
        """Where the whole content is, or would be; read-only."""
        return self._whole / _checked(sha256)

    def read(self, sha256: str, max_bytes: int) -> bytes:
        """The whole content, hashed again while it is read.

        Raises:
            Untrusted: it is longer than `max_bytes`, or not these bytes any more (it is then dropped).
            OSError: it is absent or cannot be read.
        """
        with self.path(sha256).open("rb") as file:
            data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise Untrusted(f"cannot read content {sha256}: it is longer than {max_bytes} bytes")
        if _hash(sha256, data).hexdigest() != sha256:
            self.discard(sha256)
            raise Untrusted(f"cannot use content {sha256}: its bytes have changed on the device")
        return data

    def partial_length(self, sha256: str) -> int:
        """How many bytes of a download are here, to resume from."""
        try:
            return (self._partial / _checked(sha256)).stat().st_size
        except FileNotFoundError:
            return 0

    def append(self, sha256: str, chunk: bytes, length: int) -> None:
        """Add to a download that will be `length` bytes.

        Raises:
            Untrusted: it would grow longer than the signed `length`; the download is dropped.
            OSError: the disk is full or broken; the download stands as far as it came.
        """
        if self.partial_length(sha256) + len(chunk) > length:
            self.restart(sha256)
            raise Untrusted(f"cannot download content {sha256}: more than its signed length of {length} bytes")
        make_folders(self._files, self._partial)
        self._files.append(self._partial / sha256, chunk)

    def restart(self, sha256: str) -> None:
        """Drop what was downloaded so far."""
        self._files.remove(self._partial / _checked(sha256))

    def finish(self, sha256: str, length: int) -> None:
        """Verify a download against hash and length, and only then call it whole, durably.

        Raises:
            Untrusted: it does not match; it is dropped.
            OSError: the disk is broken.
        """
        if self.has(sha256):
            self.restart(sha256)
            return
        partial = self._partial / _checked(sha256)
        if length == 0 and not partial.exists():
            self.append(sha256, b"", 0)
        if not matches(partial, sha256, length):
            self.restart(sha256)
            raise Untrusted(f"cannot use content {sha256}: what was downloaded has another hash or length")
        make_folders(self._files, self._whole)
        self._files.make_readable(partial)
        self._files.sync_file(partial)
        self._files.rename(partial, self._whole / sha256)
        self._files.sync_folder(self._whole)
        self._files.sync_folder(self._partial)

    def put(self, sha256: str, data: bytes) -> None:
        """A small content in one go; raises as `finish`."""
        if not self.has(sha256):
            self.restart(sha256)
            self.append(sha256, data, len(data))
            self.finish(sha256, len(data))

    def discard(self, sha256: str) -> None:
        """Drop a whole content, for example because its bytes have changed."""
        self._files.remove(self.path(sha256))

    def recheck(self, sha256: str, length: int) -> bool:
        """Whether the whole content is here and hashes to what it must; dropped when it does not."""
        if self.has(sha256) and not matches(self.path(sha256), sha256, length):
            self.discard(sha256)
        return self.has(sha256)

    def is_also(self, sha256: str, other: str, length: int) -> bool:
        """Whether the whole content has this other digest as well; dropped when it has not."""
        if not matches(self.path(sha256), other, length):
            self.discard(sha256)
        return self.has(sha256)

    def collect(self, keep: Collection[str]) -> None:
        """Remove every content and every partial download that is not in `keep`."""
        for folder in (self._whole, self._partial):
            spare = [path for path in sorted(folder.iterdir()) if path.name not in keep] if folder.is_dir() else []
            for path in spare:
                self._files.remove(path)
            if spare:
                self._files.sync_folder(folder)


def matches(path: Path, sha256: str, length: int) -> bool:
    """Whether the file's bytes are those; reads it once, a chunk at a time."""
    digest, size = _hash(sha256), 0
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            size += len(chunk)
    return size == length and digest.hexdigest() == sha256


def _checked(sha256: str) -> str:
    if SHA256_HEX.fullmatch(sha256) is None and _SHA512_HEX.fullmatch(sha256) is None:
        raise Defect(f"cannot look up content {sha256!r}: not a SHA-256 in hex")
    return sha256


def _hash(digest: str, data: bytes = b"") -> hashlib._Hash:
    return hashlib.sha512(data) if len(digest) == _SHA512_DIGITS else hashlib.sha256(data)
