"""Child processes that never outlive the demo: each in its own group, output in a file, stopped in reverse order."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType

STOP_SECONDS = 15


class Processes:
    """A context manager; on the way out everything started is asked to stop, and killed if it does not."""

    def __init__(self, logs: Path) -> None:
        self.logs = logs
        self.logs.mkdir(parents=True, exist_ok=True)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Processes:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop(*reversed(self._running))

    def start(self, name: str, argv: Sequence[str], environment: Mapping[str, str] | None = None) -> None:
        with (self.logs / f"{name}.log").open("ab") as log:
            self._running[name] = subprocess.Popen(
                list(argv), stdin=subprocess.DEVNULL, stdout=log, stderr=log,
                env={**os.environ, **(environment or {})}, start_new_session=True,
            )  # fmt: skip

    def pid(self, name: str) -> int:
        return self._running[name].pid

    def exit_code(self, name: str) -> int | None:
        """None while it runs."""
        return self._running[name].poll()

    def stop(self, *names: str) -> None:
        """Ask all at once, then wait for each; whatever is left of a group is killed."""
        chosen = [(name, self._running[name]) for name in names if name in self._running]
        for _, process in chosen:
            if process.poll() is None:
                process.terminate()
        for name, process in chosen:
            try:
                process.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                _kill_group(process.pid)
                process.wait()
            _kill_group(process.pid)
            del self._running[name]

    def kill(self, name: str) -> None:
        """End it at once with its whole group, as a power cut or the kernel's out-of-memory killer would."""
        process = self._running.pop(name)
        _kill_group(process.pid)
        process.wait()

    def tail(self, name: str, lines: int = 15) -> str:
        text = (self.logs / f"{name}.log").read_text(errors="replace")
        return "\n".join(text.splitlines()[-lines:])


def _kill_group(group: int) -> None:
    try:
        os.killpg(group, signal.SIGKILL)
    except ProcessLookupError:
        return
