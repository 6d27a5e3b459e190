"""What a config's switch must remember, in ``configs/<name>/own``, private, durable, each record with its checksum.

``moving.json``   a switch was begun and has not ended
``tried.json``    it has ended and is on trial: what going back must know, so that it need not be written then
``<hash>.json``   a destination is this artifact's; says what was there before (bytes in ``<hash>.before``)
``<hash>.left``   that record, of a destination which the version on trial has left
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
_TRIED = "tried.json"
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
    """Of one artifact name. Writing raises `OSError`."""

    def __init__(self, folder: Path, files: Files) -> None:
        self._folder = folder
        self._files = files

    def settle(self) -> None:
        if self._folder.is_dir():
            self._files.sync_folder(self._folder)

    # -- the switch -------------------------------------------------------------------------------------------------

    def moving(self) -> Moving | None:
        """The switch that has not ended; of one whose record is damaged that is all there is to know."""
        try:
            return _read(self._folder / _MOVING, Moving)
        except Untrusted as error:
            return Moving(None, None, trouble=f"a switch has not ended: {error.detail}")

    def tried(self) -> Moving | None:
        """The switch that is on trial; going back can do without what a damaged record knew."""
        try:
            return _read(self._folder / _TRIED, Moving)
        except Untrusted:
            return None

    def note(self, moving: Moving) -> None:
        make_folders(self._files, self._folder, PRIVATE_FOLDER)
        replace_durably(self._files, self._folder / _MOVING, _encoded(moving))

    def on_trial(self) -> None:
        """The switch has ended, and may be taken back."""
        self._rename(_MOVING, _TRIED)

    def take_back(self) -> Moving | None:
        """What the switch to be taken back has noted; from now on it has not ended. Needs no room."""
        if (self._folder / _TRIED).exists() and not (self._folder / _MOVING).exists():
            self._rename(_TRIED, _MOVING)
        return self.moving()

    def done(self) -> None:
        """Nothing is moving, nothing on trial."""
        if self._folder.is_dir():
            # The older one last: seen alone it would mean that the switch is still on trial.
            self._files.remove(self._folder / _TRIED)
            self._files.remove(self._folder / _MOVING)
            self._files.sync_folder(self._folder)

    # -- destinations -----------------------------------------------------------------------------------------------

    def all(self) -> Iterator[Held]:
        """The destinations of which the record is whole."""
        for path in self._paths():
            try:
                held = _read(path, Held)
            except Untrusted:
                continue
            if held is not None:
                yield held

    def damaged(self) -> tuple[Path, ...]:
        """Records of destinations that cannot be used, or of which the copy cannot."""
        return tuple(path for path in self._paths() if not self._usable(path))

    def _usable(self, path: Path) -> bool:
        try:
            if (held := _read(path, Held)) is not None:
                self.before(held)
        except (Untrusted, FileNotFoundError):
            return False
        return True

    def takes(self, destination: str) -> bool:
        """Whether the destination is this artifact's, also where the record of it is damaged."""
        return self._record(destination).exists()

    def of(self, destination: str) -> Held | None:
        """Raises `Untrusted` where the record is damaged."""
        return _read(self._record(destination), Held)

    def hold(self, destination: str, there: There | None) -> Held:
        """Take a destination; what is there is kept first, durably."""
        make_folders(self._files, self._folder, PRIVATE_FOLDER)
        record = self._record(destination)
        self._files.remove(record.with_suffix(".left"))
        held = Held(destination)
        if there is not None:
            held = Held(destination, there.mode, there.owner, there.sha256)
            replace_durably(self._files, record.with_suffix(".before"), there.data)
        replace_durably(self._files, record, _encoded(held))
        return held

    def before(self, held: Held) -> There | None:
        """What was there before the first version. Raises `Untrusted` where the copy has changed."""
        if held.mode is None or held.owner is None:
            return None
        data = bounded(self._record(held.destination).with_suffix(".before"), CONFIG_MAX_BYTES)
        if hashlib.sha256(data).hexdigest() != held.sha256:
            raise Untrusted(f"cannot put {held.destination} back as it was: the copy of it has changed")
        return There(data, held.mode, held.owner)

    def let_go(self, held: Held) -> None:
        """The destination is nobody's any more, unless the switch is taken back."""
        name = self._record(held.destination).name
        self._rename(name, Path(name).with_suffix(".left").name)

    def hold_again(self, destination: str) -> Held | None:
        """The record of a destination that this switch has let go; None: it has not. Needs no room."""
        left = self._record(destination).with_suffix(".left")
        if left.exists() and not self.takes(destination):
            self._rename(left.name, left.with_suffix(".json").name)
        return self.of(destination)

    def left(self) -> Iterator[Held]:
        """Destinations that the switch on trial has let go."""
        for path in sorted(self._folder.glob("*.left")) if self._folder.is_dir() else ():
            if _whole(path) and (held := _read(path, Held)) is not None:
                yield held

    def replace(self, path: Path, held: Held | None) -> None:
        """In place of a damaged record, which is kept beside; None: nothing is known any more, nor needed."""
        before = path.with_suffix(".before")
        if held is None or held.mode is None:
            self._rename(before.name, before.with_suffix(".before-damaged").name)
        self._rename(path.name, path.with_suffix(".damaged").name)
        if held is not None:
            replace_durably(self._files, path, _encoded(held))
        self._files.sync_folder(self._folder)

    def sweep(self) -> None:
        """Nothing can be taken back any more: remove what only that needed, and what a crash left."""
        moving = self.moving()
        if moving is not None and moving.states:
            # How units stood then says nothing in a later switch.
            self.note(msgspec.structs.replace(moving, states={}))
        if not self._folder.is_dir():
            return
        self._files.remove(self._folder / _TRIED)
        for path in sorted(self._folder.iterdir()):
            stray = path.suffix == ".before" and not path.with_suffix(".json").exists()
            if stray or path.suffix == ".left" or path.name.startswith("."):
                self._files.remove(path)
        self._files.sync_folder(self._folder)
        if not any(self._folder.iterdir()):
            self._files.remove_folder(self._folder)

    def _paths(self) -> list[Path]:
        found = sorted(self._folder.glob("*.json")) if self._folder.is_dir() else []
        return [path for path in found if path.name not in (_MOVING, _TRIED)]

    def _record(self, destination: str) -> Path:
        return self._folder / f"{record_name(destination)}.json"

    def _rename(self, before: str, after: str) -> None:
        """Within the folder, durably; what is not there has been renamed already."""
        if (self._folder / before).exists():
            self._files.rename(self._folder / before, self._folder / after)
            self._files.sync_folder(self._folder)


def record_name(destination: str) -> str:
    """What the record of a destination is called, without its suffix."""
    return hashlib.sha256(destination.encode()).hexdigest()


def bounded(path: Path, most: int) -> bytes:
    """The whole file. Raises `Untrusted` when it is longer, `OSError`."""
    with path.open("rb") as file:
        data = file.read(most + 1)
    if len(data) > most:
        raise Untrusted(f"cannot use {path}: it is longer than {most} bytes")
    return data


def _encoded(record: Struct) -> bytes:
    body = msgspec.json.encode(record)
    return hashlib.sha256(body).hexdigest().encode() + b"\n" + body


def _read(path: Path, kind: type[T]) -> T | None:
    try:
        header, _, body = bounded(path, _SMALL).partition(b"\n")
    except FileNotFoundError:
        return None
    if header != hashlib.sha256(body).hexdigest().encode():
        raise Untrusted(f"cannot use {path}: its checksum does not match")
    try:
        found = msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise Untrusted(f"cannot use {path}: {error}") from error
    if isinstance(found, Held) and record_name(found.destination) != path.stem:
        raise Untrusted(f"cannot use {path}: it is of another destination")
    return found


def _whole(path: Path) -> bool:
    try:
        _read(path, Held)
    except Untrusted:
        return False
    return True
