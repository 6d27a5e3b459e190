"""The node's side of a check: feeds the child process and takes its verdict, or learns that there is none."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import threading
from collections.abc import Iterable, Sequence

import msgspec

from tidegate.control.sbom.verdict import Verdict

#: From start to verdict, on the clock of the wall.
MAX_SECONDS = 60.0
_MAX_ANSWER_BYTES = 64 << 20
PROGRAM = (sys.executable, "-I", "-m", "tidegate.control.sbom.child")


class NoVerdict(Exception):
    """The check ended without one: out of time, out of memory, or killed; the message says which."""


def check(pieces: Iterable[bytes], *, max_seconds: float = MAX_SECONDS, program: Sequence[str] = PROGRAM) -> Verdict:
    """What the child process says about these bytes.

    Raises:
        NoVerdict: it was ended by a limit, or died.
        Unavailable: the bytes cannot be read.
    """
    # No environment: nothing that the node was told in one reaches a process that reads what anybody sent.
    with subprocess.Popen(
        program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env={}
    ) as child:
        late = threading.Event()

        def end() -> None:
            late.set()
            child.kill()

        timer = threading.Timer(max_seconds, end)
        timer.start()
        try:
            answer = _exchange(child, pieces)
            code = child.wait()  # while the timer runs: one that has closed its output may still hang
        except BaseException:
            child.kill()
            raise
        finally:
            timer.cancel()
            timer.join()
    if late.is_set():
        raise NoVerdict(f"it took longer than {max_seconds:g} s")
    if code != 0:
        raise NoVerdict("it was ended by a limit of time or memory" if code < 0 else f"the checker failed ({code})")
    try:
        return msgspec.json.decode(answer, type=Verdict)
    except msgspec.MsgspecError as error:
        raise NoVerdict("the checker gave no verdict that can be read") from error


def _exchange(child: subprocess.Popen[bytes], pieces: Iterable[bytes]) -> bytes:
    """The child reads all before it writes, so one pipe after the other cannot block both."""
    assert child.stdin is not None
    assert child.stdout is not None
    with contextlib.suppress(BrokenPipeError):  # it has ended: its exit code says why
        for piece in pieces:
            child.stdin.write(piece)
    with contextlib.suppress(BrokenPipeError):
        child.stdin.close()
    return child.stdout.read(_MAX_ANSWER_BYTES)
