"""A local file that says "not now": while it exists, updates stay in `ready`, and say so."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

WORDS_MAX_BYTES = 200


def reason(path: Path) -> str:
    """Why no update may start applying: the file's first line, or that it is there; empty when it is not.

    The folder may be one that others write to: a pipe put there is not waited for, a link's target not told on.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            line = os.read(descriptor, WORDS_MAX_BYTES).partition(b"\n")[0] if regular else b""
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return ""
    except OSError as error:
        # Somebody meant something by it: the careful reading is "not now".
        return f"held on the device by {path} ({error.strerror})"
    words = "".join(letter for letter in line.decode("utf-8", "replace").strip() if letter.isprintable())
    return f"held on the device by {path}" + (f": {words}" if words else "")


class InhibitFile:
    """The file that the settings in force name."""

    def __init__(self, path: Callable[[], Path]) -> None:
        self._path = path

    def reason(self) -> str:
        return reason(self._path())
