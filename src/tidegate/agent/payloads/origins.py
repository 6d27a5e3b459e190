"""Where an open file or folder lies in its file system, whatever else it is mounted as (proc(5), mountinfo)."""

from __future__ import annotations

import os
import re
from collections.abc import Collection
from pathlib import Path

_MOUNT_ID = re.compile(r"^mnt_id:\t(\d+)$", re.MULTILINE)
_ESCAPED = re.compile(rb"\\([0-7]{3})")

Origin = tuple[int, str]


class Origins:
    """The mounts as they are now. Raises `OSError` where the kernel does not tell them."""

    def __init__(self) -> None:
        self._mounts: dict[str, tuple[str, str]] = {}
        for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
            words = line.split(b" ")
            self._mounts[words[0].decode()] = (_plain(words[3]), _plain(words[4]))

    def of(self, descriptor: int) -> Origin | None:
        """The file system, and the path in it; None where the mount has gone meanwhile."""
        found = _MOUNT_ID.search(Path(f"/proc/self/fdinfo/{descriptor}").read_text())
        mount = self._mounts.get(found[1]) if found else None
        if mount is None:
            return None
        root, point = mount
        path = str(Path(f"/proc/self/fd/{descriptor}").readlink())
        return os.fstat(descriptor).st_dev, root.rstrip("/") + path.removeprefix(point.rstrip("/"))

    def of_all(self, paths: Collection[str]) -> set[Origin]:
        """Of those of `paths` that are there; what is not cannot be mounted elsewhere."""
        found = set()
        for path in paths:
            try:
                descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except OSError:
                continue
            try:
                if (origin := self.of(descriptor)) is not None:
                    found.add(origin)
            finally:
                os.close(descriptor)
        return found


def _plain(word: bytes) -> str:
    return os.fsdecode(_ESCAPED.sub(lambda digits: bytes([int(digits[1], 8)]), word))
