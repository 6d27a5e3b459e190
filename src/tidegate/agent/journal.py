"""The journal: what the transaction meant, durable before each effect.

One file: a line ``tidegate-journal 1 <sha256 of the rest>``, then JSON. Fields are only ever added and unknown ones are
ignored, so that the agent of the release before can read it after its own rollback. A journal that does not verify
means that the state is unknown: nothing is touched until somebody decides (`agent/repair.py).
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

from tidegate.agent.files import Files, RealFiles, replace_durably
from tidegate.agent.transaction.book import Book

MAX_BYTES = 16 << 20
#: Damaged journals kept as evidence; one more replaces the last of them.
KEPT_ASIDE = 8
_MAGIC = b"tidegate-journal 1 "
_HEADER_BYTES = len(_MAGIC) + 64 + 1


@dataclass(frozen=True, slots=True)
class Damaged:
    """Why the journal cannot be believed; `lasting`: reading it again will not help."""

    reason: str
    lasting: bool = True


class Journal:
    """One writer at a time; readers may read at any instant."""

    def __init__(self, path: Path, files: Files | None = None) -> None:
        self._path = path
        self._files = files or RealFiles()

    def read(self) -> Book | Damaged | None:
        """The last book written; None when there has never been one."""
        try:
            with self._path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as error:
            return Damaged(f"the journal cannot be read: {error.strerror}", lasting=False)
        return decode(data)

    def settle(self) -> None:
        """Make durable what `read` shows: what an earlier process renamed may not yet survive a power cut."""
        if self._path.exists():
            self._files.sync_file(self._path)
        self._files.sync_folder(self._path.parent)

    def write(self, book: Book) -> None:
        """Raises `OSError`; the journal on disk is then the last one or this one, and whole."""
        replace_durably(self._files, self._path, encode(book))

    def set_aside(self) -> Path | None:
        """Keep a damaged journal as evidence, beside earlier ones; None when there is nothing to keep."""
        if not self._path.exists():
            return None
        places = [self._path.with_name(f"{self._path.name}.damaged-{number}") for number in range(1, KEPT_ASIDE + 1)]
        aside = next((place for place in places if not place.exists()), places[-1])
        self._files.rename(self._path, aside)
        self._files.sync_folder(self._path.parent)
        return aside


def encode(book: Book) -> bytes:
    body = msgspec.json.encode(book)
    return _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def decode(data: bytes) -> Book | Damaged:
    """The book, or why these bytes are not one."""
    if len(data) > MAX_BYTES:
        return Damaged(f"the journal is longer than {MAX_BYTES} bytes")
    header, body = data[:_HEADER_BYTES], data[_HEADER_BYTES:]
    if not header.startswith(_MAGIC):
        return Damaged("the journal does not begin as one of version 1")
    if header != _MAGIC + hashlib.sha256(body).hexdigest().encode() + b"\n":
        return Damaged("the journal's checksum does not match")
    try:
        return msgspec.json.decode(body, type=Book)
    except msgspec.MsgspecError as error:
        return Damaged(f"the journal is of another shape: {error}")
