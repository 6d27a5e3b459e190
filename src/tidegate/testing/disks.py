"""A small disk of its own for a test: filled for real, and gone when the test is, however that ends."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

# It waits for the end of its standard input, which comes when the test closes it and when the test is killed. Lazily,
# because what was started in the folder may still be ending.
_MOUNTED = 'mount -t tmpfs -o "$1" tidegate-test "$2" && echo mounted && { read -r _; umount --lazy "$2"; }'


class CannotMount(Exception):
    """Says what the machine does not let the test do."""


@contextmanager
def small_disk(folder: Path, size: int, *, mode: int = 0o700) -> Iterator[Path]:
    """`folder`, which exists, as a file system of `size` bytes.

    Raises:
        CannotMount: neither root nor sudo without a password, or the machine mounts nothing.
    """
    as_root: list[str] = []
    if os.geteuid() != 0:
        if shutil.which("sudo") is None:
            raise CannotMount("cannot mount a test's disk: run the tests as root, or install sudo")
        as_root = ["sudo", "-n"]
    options = f"size={size},mode={mode:o},uid={os.geteuid()}"
    mounted = subprocess.Popen(
        [*as_root, "sh", "-c", _MOUNTED, "sh", options, str(folder)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
    )  # fmt: skip
    assert mounted.stdin is not None
    assert mounted.stdout is not None
    if mounted.stdout.readline() != "mounted\n":
        raise CannotMount(f"cannot mount a test's disk: {mounted.communicate()[1].strip()}")
    try:
        yield folder
    finally:
        _, said = mounted.communicate()
        if mounted.returncode != 0:
            raise CannotMount(f"cannot unmount {folder}: {said.strip()}")


def fill(disk: Path, percent: float) -> None:
    """Make the disk this full, with a file that is nobody's."""
    with (disk / "filler").open("ab") as file:
        while True:
            usage = os.statvfs(disk)
            missing = int(usage.f_bavail * usage.f_frsize - usage.f_blocks * usage.f_frsize * (100 - percent) / 100)
            if missing <= 0:
                return
            try:
                file.write(bytes(min(missing, 1 << 20)))
                file.flush()
            except OSError as error:
                if error.errno != errno.ENOSPC:
                    raise
                return
