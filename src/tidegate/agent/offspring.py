"""All that a program has started, also what has left its session: found because orphans come to this process.

While an `Offspring` is open this process is a subreaper (prctl(2), PR_SET_CHILD_SUBREAPER): a process whose parent has
ended becomes its child, however it made itself a daemon, so that none can hide. Where the kernel denies that, only the
program's own process group is known.
"""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path
from types import TracebackType

_log = logging.getLogger(__name__)

_SET_CHILD_SUBREAPER = 36
#: For what cannot be ended, or goes on starting others faster than they are.
END_SECONDS = 5.0


class Offspring:
    """For one program at a time: children that were there before, or were left on purpose, are none of it."""

    def __enter__(self) -> Offspring:
        self._ours = _children()
        _adopt(True)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        _adopt(False)

    def end(self) -> None:
        """Kill and reap until nothing of it is left; its own children become ours when it has gone."""
        until = time.monotonic() + END_SECONDS
        while left := _children() - self._ours:
            if time.monotonic() > until:
                _log.warning("cannot end all that a program has started: %d processes go on", len(left))
                return
            for process in left:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(process, signal.SIGKILL)
            reaped = 0
            for process in left:
                with suppress(ChildProcessError):
                    reaped += os.waitpid(process, os.WNOHANG)[0] != 0
            if not reaped:
                time.sleep(0.01)  # between two looks at what is ending


def _adopt(on: bool) -> None:
    library = ctypes.CDLL(None, use_errno=True)
    if library.prctl(_SET_CHILD_SUBREAPER, ctypes.c_ulong(on), 0, 0, 0) != 0:
        _log.info("orphans of programs are not followed: %s", os.strerror(ctypes.get_errno()))


def _children() -> frozenset[int]:
    """The children of this process, by whichever of its threads (proc(5), children)."""
    found: set[int] = set()
    for thread in threading.enumerate():
        with suppress(OSError):
            found.update(int(one) for one in Path(f"/proc/self/task/{thread.native_id}/children").read_text().split())
    return frozenset(found)
