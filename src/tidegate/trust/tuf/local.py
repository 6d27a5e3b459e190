"""Where a device keeps verified metadata: one folder, every write durable before it counts.

``roots/<version>.json`` holds every root from the pinned one on: the lowest is the anchor, the highest is trusted.
``timestamp.json``, ``snapshot.json``, ``targets.json`` hold the newest accepted; ``delegated/<role>.json`` is a cache,
verified again by its delegator whenever it is read.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from tidegate.errors import Unavailable
from tidegate.trust.tuf.durable import make_folder, sweep, write_file

_ROOT_FILE = re.compile(r"(\d{1,18})\.json")
_MAX_ROLE_NAME = 128


class LocalMetadata:
    """Used by one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._roots = folder / "roots"
        self._delegated = folder / "delegated"
        try:
            for part in (self._folder, self._roots, self._delegated):
                make_folder(part)
                sweep(part)
        except OSError as error:
            raise Unavailable(f"cannot open the metadata folder {folder}: {error.strerror}") from error

    def root(self) -> bytes | None:
        """The trusted root; None before a device has an anchor."""
        versions = self._root_versions()
        return self.root_version(versions[-1]) if versions else None

    def anchor(self) -> bytes | None:
        """The root that was pinned first."""
        versions = self._root_versions()
        return self.root_version(versions[0]) if versions else None

    def root_version(self, version: int) -> bytes | None:
        return _read(self._roots / f"{version}.json")

    def write_root(self, version: int, data: bytes) -> None:
        """Raises `Unavailable` when the disk refuses; what was trusted stays trusted."""
        _write(self._roots / f"{version}.json", data)

    def read(self, role: str) -> bytes | None:
        return _read(self._folder / f"{role}.json")

    def write(self, role: str, data: bytes) -> None:
        _write(self._folder / f"{role}.json", data)

    def read_role(self, name: str) -> bytes | None:
        return _read(self._role_file(name)) if len(name) <= _MAX_ROLE_NAME else None

    def write_role(self, name: str, data: bytes) -> None:
        """A role whose name is too long for a file is not kept: it is fetched again each time."""
        if len(name) <= _MAX_ROLE_NAME:
            _write(self._role_file(name), data)

    def documents(self) -> Iterator[tuple[str, bytes]]:
        """What is kept now, as names that never clash (``root``, ``role-<quoted name>``) and documents."""
        if (root := self.root()) is not None:
            yield "root", root
        for role in ("timestamp", "snapshot", "targets"):
            if (data := self.read(role)) is not None:
                yield role, data
        for path in sorted(self._delegated.glob("role-*.json")):
            if (data := _read(path)) is not None:
                yield path.stem, data

    def _role_file(self, name: str) -> Path:
        # The name is whatever a delegator signed. Quoted, prefixed and in a folder of its own, it is only ever a file
        # name: no path, no dot file, none of the files above.
        return self._delegated / f"role-{quote(name, safe='')[:200]}.json"

    def _root_versions(self) -> list[int]:
        try:
            names = [path.name for path in self._roots.iterdir()]
        except OSError as error:
            raise Unavailable(f"cannot read the trust anchor: {error.strerror}") from error
        return sorted(int(match[1]) for name in names if (match := _ROOT_FILE.fullmatch(name)))


def _read(path: Path) -> bytes | None:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"cannot read {path.name}: {error.strerror}") from error


def _write(path: Path, data: bytes) -> None:
    try:
        write_file(path, data)
    except OSError as error:
        raise Unavailable(f"cannot write {path.name}: {error.strerror}") from error
