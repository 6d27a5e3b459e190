"""A program on a terminal of its own: what a person types and what the screen says."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import termios
import time
from collections.abc import Mapping, Sequence

SECONDS = 30
#: Colours, cursor movements, titles: how things are drawn, not what is said.
_DRAWING = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)|\x1b[=>()][A-Z0-9]?|\r")


class Terminal:
    """Use as a context manager: what still runs at the end is killed."""

    def __init__(self, command: Sequence[str], environment: Mapping[str, str], *, columns: int = 120) -> None:
        self._mine, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        # A size in the environment, as test runners set it, would count for more than the terminal's own.
        own = {name: value for name, value in environment.items() if name not in ("COLUMNS", "LINES")}
        self._process = subprocess.Popen(
            command, stdin=theirs, stdout=theirs, stderr=theirs, env={**own, "TERM": "xterm"},
            start_new_session=True,
        )  # fmt: skip
        os.close(theirs)
        self.raw = ""

    def __enter__(self) -> Terminal:
        return self

    def __exit__(self, *_: object) -> None:
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        os.close(self._mine)

    @property
    def said(self) -> str:
        return _DRAWING.sub("", self.raw)

    def type(self, text: str) -> None:
        os.write(self._mine, text.encode())

    def until(self, text: str) -> str:
        """Everything said by the time that it says `text`."""
        end = time.monotonic() + SECONDS
        while text not in self.said:
            assert time.monotonic() < end, f"it never says {text!r}: {self.said}"
            if not self._read() and self._process.poll() is not None:
                raise AssertionError(f"it ended with {self._process.returncode} before it said {text!r}: {self.said}")
        return self.said

    def interrupt(self) -> None:
        self._process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        end = time.monotonic() + SECONDS
        while self._process.poll() is None:
            assert time.monotonic() < end, f"it does not end: {self.said}"
            self._read()
        while self._read():
            pass
        return self._process.returncode

    def _read(self) -> bool:
        ready, _, _ = select.select([self._mine], [], [], 0.1)
        if not ready:
            return False
        try:
            data = os.read(self._mine, 1 << 16)
        except OSError:  # the other end is closed
            return False
        self.raw += data.decode(errors="replace")
        return bool(data)
