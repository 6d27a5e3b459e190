"""Files that survive a power cut: written beside, flushed, renamed, and the folder flushed."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

PRIVATE_FILE = 0o600
PRIVATE_FOLDER = 0o700


def sync_folder(folder: Path) -> None:
    """Make renames and removals in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = PRIVATE_FOLDER) -> None:
    """Create `folder` (and what is above it) durably; an existing one is left as it is."""
    missing = []
    probe = folder
    while not probe.exists():
        missing.append(probe)
        probe = probe.parent
    for path in reversed(missing):
        path.mkdir(mode=mode, exist_ok=True)
        sync_folder(path.parent)


def write(path: Path, data: bytes, mode: int = PRIVATE_FILE) -> None:
    """Replace `path` by `data`: after a power cut at any instant it is wholly the old or wholly the new.

    Raises:
        OSError: the disk is full, read-only or broken; the old file stands and nothing is left beside it.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.new")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, mode)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    sync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what interrupted writes left in `folder`; only its single writer may call this."""
    for path in folder.glob(".*.new"):
        path.unlink(missing_ok=True)
    if folder.is_dir():
        sync_folder(folder)


def rename(source: Path, target: Path) -> None:
    """Move within one folder, durably."""
    source.replace(target)
    sync_folder(target.parent)


def remove(path: Path) -> None:
    """Remove durably; an absent file is fine."""
    path.unlink(missing_ok=True)
    if path.parent.is_dir():
        sync_folder(path.parent)
