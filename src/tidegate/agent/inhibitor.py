"""A local file that says "not now": while it exists, updates stay in `ready`, and say so."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

WORDS_MAX_BYTES = 200


def reason(path: Path) -> str:
    """Why no update may start applying: the file's first line, or that it is there; empty when it is not."""
    try:
        with path.open("rb") as file:
            line = file.readline(WORDS_MAX_BYTES)
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
