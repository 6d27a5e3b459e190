"""Files that survive a power cut: temp file in the same folder, fsync, rename, fsync of the folder.

After a crash at any instant the file is wholly the old one or wholly the new one; a temp file left behind is swept by
`sweep`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
from pathlib import Path

_TEMP_SUFFIX = ".unfinished"


def fsync_folder(folder: Path) -> None:
    """Make renames, new names and removals in `folder` durable."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def make_folder(folder: Path, mode: int = 0o700) -> None:
    """Create `folder` and its missing parents durably, each with `mode`; nothing when it is there."""
    if folder.is_dir():
        return
    make_folder(folder.parent, mode)
    with contextlib.suppress(FileExistsError):
        folder.mkdir(mode=mode)
        fsync_folder(folder.parent)


def write_file(path: Path, data: bytes, mode: int = 0o600) -> None:
    """Replace `path` by `data`, atomically and durably.

    Raises:
        OSError: the disk refused; what was at `path` is untouched.
    """
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}{_TEMP_SUFFIX}")
    try:
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    fsync_folder(path.parent)


def sweep(folder: Path) -> None:
    """Remove what a crash left unfinished in `folder`; only its single writer may call this."""
    for path in folder.glob(f".*{_TEMP_SUFFIX}"):
        path.unlink(missing_ok=True)
