"""The few operations by which the transaction changes the disk, one durable effect each.

Journal, outbox, store and payloads write through `Files` only, so that the crash tests can lose power between any two
of them, drop what was not flushed, and kill the process at each.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Protocol

PRIVATE_FOLDER = 0o700
PUBLIC_FOLDER = 0o755
READ_ONLY_FILE = 0o444


class Files(Protocol):
    """Every method raises `OSError` and then has changed nothing, or only what a repetition completes."""

    def make_folder(self, path: Path, mode: int = PRIVATE_FOLDER) -> None:
        """Create `path`, whose parent exists; an existing folder is fine."""

    def write(self, path: Path, data: bytes) -> None:
        """Create or replace the content of `path`, readable by its owner only; not durable before `sync_file`."""

    def append(self, path: Path, data: bytes) -> None:
        """Add to the end of `path`, creating it; not durable before `sync_file`."""

    def create(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        """A new file with this content, durable, and with mode and owner from the first moment that others may see.

        An existing `path`, also a link, is an error. `owner` None: the agent's own.
        """

    def copy(self, source: Path, target: Path) -> None:
        """Make `target` a new file with the content of `source`; not durable before `sync_file`."""

    def link(self, source: Path, target: Path) -> None:
        """A second name for the same file; an existing `target` is an error."""

    def symlink(self, to: str, path: Path) -> None:
        """An existing `path` is an error."""

    def make_readable(self, path: Path) -> None:
        """Let everybody read a file and nobody write it."""

    def rename(self, source: Path, target: Path) -> None:
        """Replace `target` atomically; durable after `sync_folder` of its parent."""

    def remove(self, path: Path) -> None:
        """Remove a file or link; an absent one is fine."""

    def remove_folder(self, path: Path) -> None:
        """Remove an empty folder; an absent one is fine."""

    def sync_file(self, path: Path) -> None:
        """Make the content of `path` durable."""

    def sync_folder(self, path: Path) -> None:
        """Make the names in `path` durable."""


class RealFiles:
    def make_folder(self, path: Path, mode: int = PRIVATE_FOLDER) -> None:
        path.mkdir(mode=mode, exist_ok=True)

    def write(self, path: Path, data: bytes) -> None:
        _write(path, data, os.O_TRUNC)

    def append(self, path: Path, data: bytes) -> None:
        _write(path, data, os.O_APPEND)

    def create(self, path: Path, data: bytes, mode: int, owner: tuple[int, int] | None) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
        descriptor = os.open(path, flags, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            # Through the open file, never by name: in a folder of others the name may lead elsewhere by now.
            if owner is not None and owner != (os.geteuid(), os.getegid()):
                os.fchown(descriptor, *owner)
            os.fchmod(descriptor, mode)
            file.write(data)
            file.flush()
            os.fsync(descriptor)

    def copy(self, source: Path, target: Path) -> None:
        _write(target, b"", os.O_TRUNC)
        with source.open("rb") as origin:
            while chunk := origin.read(1 << 20):
                _write(target, chunk, os.O_APPEND)

    def link(self, source: Path, target: Path) -> None:
        os.link(source, target, follow_symlinks=False)

    def symlink(self, to: str, path: Path) -> None:
        path.symlink_to(to)

    def make_readable(self, path: Path) -> None:
        path.chmod(READ_ONLY_FILE)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def remove(self, path: Path) -> None:
        path.unlink(missing_ok=True)

    def remove_folder(self, path: Path) -> None:
        try:
            path.rmdir()
        except FileNotFoundError:
            return

    def sync_file(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def sync_folder(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def make_folders(files: Files, path: Path, mode: int = PRIVATE_FOLDER) -> None:
    """Create `path` and what is missing above it, durably."""
    missing = []
    while not path.is_dir():
        missing.append(path)
        path = path.parent
    for folder in reversed(missing):
        files.make_folder(folder, mode)
        files.sync_folder(folder.parent)


def replace_durably(files: Files, path: Path, data: bytes) -> None:
    """After a power cut at any instant `path` is wholly the old or wholly the new.

    Raises:
        OSError: the disk is full, read-only or broken; the old content stands, unless only the last flush failed.
    """
    temporary = path.with_name(f".{path.name}.new")
    files.write(temporary, data)
    files.sync_file(temporary)
    files.rename(temporary, path)
    files.sync_folder(path.parent)


def remove_tree(files: Files, path: Path) -> None:
    """Remove a folder and all below it, one entry at a time, following no link; an absent one is fine."""
    if not path.is_dir() or path.is_symlink():
        files.remove(path)
        return
    for entry in sorted(path.iterdir()):
        remove_tree(files, entry)
    files.remove_folder(path)


def _write(path: Path, data: bytes, how: int) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW | how
    descriptor = os.open(path, flags, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
