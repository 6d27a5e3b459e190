"""What a config's switch must remember, in ``configs/<name>/own``, private and durable.

``moving.json``   a switch was begun and has not ended
``<hash>.json``   a destination is this artifact's; says what was there before (bytes in ``<hash>.before``)
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidegate.agent.files import PRIVATE_FOLDER, Files, make_folders, replace_durably
from tidegate.agent.payloads.destination import There
from tidegate.agent.transaction.model import Release
from tidegate.errors import Untrusted
from tidegate.wire.config import CONFIG_MAX_BYTES

_MOVING = "moving.json"
_SMALL = 65_536
T = TypeVar("T")


class Moving(Struct, frozen=True):
    """A switch that was begun. `states`: how what is reloaded stood before, by its name; `trouble`: what went wrong."""

    before: Release | None
    to: Release | None
    states: dict[str, str] = {}
    trouble: str = ""


class Held(Struct, frozen=True):
    """A destination of this artifact, and the file that was there before its first version; `mode` None: none was."""

    destination: str
    mode: int | None = None
    owner: tuple[int, int] | None = None
    sha256: str = ""


class Records:
    """Of one artifact name. Reading raises `Untrusted` where a record is damaged, writing `OSError`."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files

    def settle(self) -> None:
        if self._folder.is_dir():
            self._files.sync_folder(self._folder)

    def moving(self) -> Moving | None:
        return _read(self._folder / _MOVING, Moving)

    def note(self, moving: Moving) -> None:
        make_folders(self._files, self._folder, PRIVATE_FOLDER)
        replace_durably(self._files, self._folder / _MOVING, msgspec.json.encode(moving))

    def done(self) -> None:
        """The switch has ended."""
        if self._folder.is_dir():
            self._files.remove(self._folder / _MOVING)
            self._files.sync_folder(self._folder)

    def all(self) -> Iterator[Held]:
        for path in sorted(self._folder.glob("*.json")) if self._folder.is_dir() else ():
            held = _read(path, Held) if path.name != _MOVING else None
            if held is not None:
                yield held

    def of(self, destination: str) -> Held | None:
        return _read(self._record(destination), Held)

    def hold(self, destination: str, there: There | None) -> Held:
        """Take a destination; what is there is kept first, durably."""
        make_folders(self._files, self._folder, PRIVATE_FOLDER)
        record = self._record(destination)
        held = Held(destination)
        if there is not None:
            held = Held(destination, there.mode, there.owner, there.sha256)
            replace_durably(self._files, record.with_suffix(".before"), there.data)
        replace_durably(self._files, record, msgspec.json.encode(held))
        return held

    def before(self, held: Held) -> There | None:
        """What was there before the first version."""
        if held.mode is None or held.owner is None:
            return None
        data = bounded(self._record(held.destination).with_suffix(".before"), CONFIG_MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != held.sha256:
            raise Untrusted(f"cannot put {held.destination} back as it was: the copy of it has changed")
        return There(data, held.mode, held.owner)

    def let_go(self, held: Held) -> None:
        """The destination is nobody's any more."""
        record = self._record(held.destination)
        self._files.remove(record)
        self._files.sync_folder(self._folder)
        self._files.remove(record.with_suffix(".before"))

    def sweep(self) -> None:
        """Remove what a crash left: a record half written, a copy that no record names, the folder when it is empty."""
        if not self._folder.is_dir():
            return
        for path in sorted(self._folder.iterdir()):
            stray = path.suffix == ".before" and not path.with_suffix(".json").exists()
            if stray or path.name.startswith("."):
                self._files.remove(path)
        if not any(self._folder.iterdir()):
            self._files.remove_folder(self._folder)

    def _record(self, destination: str) -> Path:
        return self._folder / f"{hashlib.sha256(destination.encode()).hexdigest()}.json"


def bounded(path: Path, most: int) -> bytes:
    """The whole file. Raises `Untrusted` when it is longer, `OSError`."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Untrusted(f"cannot use {path}: it is longer than {most} bytes")
    return data


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        return msgspec.json.decode(bounded(path, _SMALL), type=kind)
    except FileNotFoundError:
        return None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"cannot use {path}: {error}") from error
