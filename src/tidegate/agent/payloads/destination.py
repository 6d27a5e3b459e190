"""One file at a path outside the agent's own folders, put there without following a link anywhere.

The path is walked from the root by folder descriptors, each opened below the one before and never through a link. From
then on only the last name is used, below the descriptor of its folder: whoever renames folders or plants links
meanwhile moves nothing of ours to another place. What was there is replaced by a rename, never opened for writing.
"""

from __future__ import annotations

import errno
import hashlib
import os
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tidegate.agent.files import Files
from tidegate.agent.payloads.origins import Origins
from tidegate.errors import Refused
from tidegate.wire.config import CONFIG_MAX_BYTES, below, path_fault

#: systemd reads units, and what is added to them, from folders of these names, below several others.
_UNIT_FOLDERS = (
    *("systemd/system", "systemd/user", "systemd/system.control", "systemd/system.attached", "systemd/transient"),
    *("systemd/generator", "systemd/generator.early", "systemd/generator.late"),
)
_AGENT = "tidegate-agent"
_OWN_UNITS = (f"{_AGENT}.service", f"{_AGENT}@", f"{_AGENT}-", "tidegate-.service.d", "service.d")
_FOLDER = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class NoFolder(Refused):
    """The folder that the file should lie in is not there."""

    type = "no-folder"


class Unflushed(OSError):
    """The file was renamed onto its destination, and that could not be made durable."""


@dataclass(frozen=True, slots=True)
class There:
    """A plain file, as it is."""

    data: bytes
    mode: int
    owner: tuple[int, int]

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.data).hexdigest()


class Spot:
    """A name in a folder that is held open."""

    def __init__(self, path: str, folder: int, files: Files) -> None:
        self._path = path
        self._descriptor = folder
        self._files = files
        self._folder = Path(f"/proc/self/fd/{folder}")
        self._name = path.rpartition("/")[2]
        # Hidden, so that no program reads them as its own; always the same, so that what a crash left is found.
        self._fresh = self._folder / f".tidegate-{hashlib.sha256(self._name.encode()).hexdigest()[:16]}"
        self._kept = self._fresh.with_name(f"{self._fresh.name}.back")

    def look(self) -> There | None:
        """What is there; None: nothing.

        Raises:
            Refused: it is not a plain file of one name that an agent may replace.
            OSError: it cannot be read.
        """
        return self._look(self._name)

    def kept(self) -> There | None:
        """What was kept for the way back; what others put in its place is none. Raises `OSError`."""
        try:
            return self._look(self._kept.name)
        except Refused:
            return None

    def _look(self, name: str) -> There | None:
        try:
            # Neither read nor opened yet: a device answers to being opened, and a pipe waits.
            found = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=self._descriptor)
        except FileNotFoundError:
            return None
        try:
            facts = os.fstat(found)
            self._refuse(facts, os.fstat(self._descriptor))
            opened = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
            with os.fdopen(opened, "rb") as file:
                data = file.read(CONFIG_MAX_BYTES + 1)
        finally:
            os.close(found)
        if len(data) > CONFIG_MAX_BYTES:
            raise Refused(f"{self._path} has more than {CONFIG_MAX_BYTES} bytes: the agent replaces no such file")
        return There(data, stat.S_IMODE(facts.st_mode), (facts.st_uid, facts.st_gid))

    def _refuse(self, facts: os.stat_result, folder: os.stat_result) -> None:
        if stat.S_ISLNK(facts.st_mode):
            raise Refused(f"{self._path} is a link: links are not followed")
        if not stat.S_ISREG(facts.st_mode):
            raise Refused(f"{self._path} is not a plain file")
        if facts.st_nlink != 1:
            raise Refused(f"{self._path} has other names (hard links)")
        if facts.st_dev != folder.st_dev:
            raise Refused(f"{self._path} is a mount point")
        if facts.st_mode & (stat.S_ISUID | stat.S_ISGID | stat.S_ISVTX):
            raise Refused(f"{self._path} has its setuid, setgid or sticky bit set")

    def keep(self, way_back: There) -> None:
        """Write what going back will put here beside it, whole: then it takes no room.

        Raises:
            OSError: as `prepare`.
        """
        if self.kept() != way_back:
            self._write(self._kept, way_back.data, way_back.mode, way_back.owner)

    def prepare(self, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        """Write the file beside the destination, whole; what fails here has changed nothing.

        Raises:
            OSError: the disk is full or read-only, or the agent lacks the right.
        """
        self._write(self._fresh, data, mode, owner)

    def _write(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        try:
            self._files.remove(path)
            self._files.create(path, data, mode, owner)
        except OSError as error:
            self._remove_quietly(path)
            raise self._explained(error) from error

    def place(self) -> None:
        """Rename what was prepared onto the destination, durably.

        Raises:
            Unflushed: it was renamed.
            OSError: nothing has changed.
        """
        try:
            self._rename(self._fresh)
        except Unflushed:
            raise
        except OSError:
            self.clear()
            raise

    def bring_back(self) -> None:
        """Rename what was kept onto the destination, durably; raises as `place`."""
        self._rename(self._kept)

    def _rename(self, path: Path) -> None:
        try:
            self._files.rename(path, self._folder / self._name)
        except OSError as error:
            raise self._explained(error) from error
        try:
            self._files.sync_folder(self._folder)
        except OSError as error:
            raise Unflushed(error.errno, os.strerror(error.errno or 0), self._path) from error

    def settle(self) -> None:
        """Make durable what was renamed here and perhaps not flushed; raises `OSError`."""
        self._files.sync_folder(self._folder)

    def remove(self) -> None:
        """Remove the file, durably; an absent one is fine."""
        try:
            self._files.remove(self._folder / self._name)
            self._files.sync_folder(self._folder)
        except OSError as error:
            raise self._explained(error) from error

    def clear(self) -> None:
        """Nothing that was prepared stays beside the destination."""
        self._remove_quietly(self._fresh)

    def sweep(self) -> None:
        """Nothing of ours at all stays beside it. Raises `OSError`."""
        if any(os.path.lexists(path) for path in (self._fresh, self._kept)):
            self._files.remove(self._fresh)
            self._files.remove(self._kept)
            self._files.sync_folder(self._folder)

    def _remove_quietly(self, path: Path) -> None:
        try:
            self._files.remove(path)
        except OSError:
            return  # the first error says what is wrong

    def _explained(self, error: OSError) -> OSError:
        """The same, with what the device's owner can do about it."""
        advice = {
            errno.EROFS: f"; where systemd runs the agent, its unit must say ReadWritePaths={self._parent}",
            errno.EPERM: "; it is immutable, or the agent's unit lacks the capability to do this",
            errno.EACCES: "; the agent's user may not write there",
            errno.EBUSY: "; it is a mount point",
        }.get(error.errno or 0, "")
        return OSError(error.errno, f"{os.strerror(error.errno or 0)}{advice}", self._path)

    @property
    def _parent(self) -> str:
        return self._path.rpartition("/")[0] or "/"


class Destinations:
    """`own` gives the agent's own files and folders; `root` is where paths begin (another one only in tests)."""

    def __init__(self, files: Files, own: Callable[[], Collection[str]] = tuple, root: Path = Path("/")) -> None:
        self._files = files
        self._own = own
        self._root = root

    def fault(self, destination: str) -> str:
        """Why nothing may ever be put there, whatever the owner allows; empty when it may."""
        if rule := path_fault(destination):
            return f"cannot use the destination {destination!r}: it {rule}"
        if any(below(destination, own) for own in self._own()) or _is_unit_of_ours(destination):
            return f"cannot use the destination {destination}: it belongs to the agent itself"
        return ""

    def same(self, one: str, other: str) -> bool:
        """Whether two spellings are one place: the same name in the same folder, as where that is mounted twice.

        Where a folder is not there or may not be passed that cannot be decided, and nothing can be put there either.
        """
        if one.rpartition("/")[2] != other.rpartition("/")[2]:
            return False
        try:
            return one == other or self._place(one) == self._place(other)
        except (Refused, OSError):
            return False

    def _place(self, destination: str) -> tuple[int, int]:
        """Device and inode of its folder."""
        folder = self._walk(destination)
        try:
            return _same(os.fstat(folder))
        finally:
            os.close(folder)

    @contextmanager
    def open(self, destination: str) -> Iterator[Spot]:
        """Walk to the folder of `destination` and hold it.

        Raises:
            Refused: a link or no folder is on the way, or it leads into the agent's own folders.
            OSError: the agent may not pass.
        """
        if fault := self.fault(destination):
            raise Refused(fault)
        folder = self._walk(destination)
        try:
            yield Spot(destination, folder, self._files)
        finally:
            os.close(folder)

    def _walk(self, destination: str) -> int:
        own = {_identity(path) for path in self._own()}
        folder = os.open(self._root, _FOLDER)
        try:
            passed = ""
            for part in destination[1:].split("/")[:-1]:
                passed = f"{passed}/{part}"
                folder = _step(folder, part, passed)
                if _same(os.fstat(folder)) in own:
                    # By another name, such as a mount of it elsewhere.
                    raise Refused(f"cannot use the destination {destination}: {passed} belongs to the agent itself")
            if self._within_own(folder, destination.rpartition("/")[2]):
                raise Refused(f"cannot use the destination {destination}: it belongs to the agent itself")
        except BaseException:
            os.close(folder)
            raise
        return folder

    def _within_own(self, folder: int, name: str) -> bool:
        """Whether `name` in this folder lies in anything of ours, as where a part of that is mounted elsewhere."""
        own = self._own()
        if not own:
            return False
        origins = Origins()
        origin = origins.of(folder)
        if origin is None:
            return True
        place = f"{origin[1].rstrip('/')}/{name}"
        return any(device == origin[0] and below(place, path) for device, path in origins.of_all(own))


def _step(folder: int, part: str, passed: str) -> int:
    """The folder `part` below `folder`, which is closed when that is found."""
    try:
        further = os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        raise NoFolder(f"there is no folder {passed}; the device's owner must make it first") from None
    except OSError as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise Refused(f"{passed} is a link or no folder: links are not followed") from None
        raise OSError(error.errno, os.strerror(error.errno or 0), passed) from error
    os.close(folder)
    return further


def _identity(path: str) -> tuple[int, int] | None:
    try:
        return _same(Path(path).stat())
    except OSError:
        return None


def _same(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino


def _is_unit_of_ours(path: str) -> bool:
    """A unit of the agent, what systemd adds to it or to every service, or its one file, wherever that lies."""
    for folder in _UNIT_FOLDERS:
        _, found, rest = f"{path}/".partition(f"/{folder}/")
        if found and any(rest == f"{own}/" or rest.startswith(own) for own in _OWN_UNITS):
            return True
    return path.rpartition("/")[2] in (_AGENT, f"{_AGENT}.pyz")
