"""One bash for a whole document, as a person has one terminal: folders, variables and background jobs stay."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType

COMMAND_SECONDS = 90
AGAIN_SECONDS = 30


class Shell:
    def __init__(self, folder: Path, environment: Mapping[str, str]) -> None:
        self.folder = folder
        self._said = folder / ".said"
        self._asked = folder / ".asked"
        self._bash = subprocess.Popen(
            ["bash", "--norc", "--noprofile"], cwd=folder, env=dict(environment), stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def __enter__(self) -> Shell:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        """Ends bash and whatever it left running in the background."""
        for sent in (signal.SIGTERM, signal.SIGKILL):
            try:
                os.killpg(self._bash.pid, sent)
            except ProcessLookupError:
                break
            if sent is signal.SIGTERM:
                self._await_end()
        self._bash.communicate()

    def _await_end(self) -> None:
        until = time.monotonic() + 15
        while time.monotonic() < until:
            self._bash.poll()
            try:
                os.killpg(self._bash.pid, 0)
            except ProcessLookupError:
                return
            time.sleep(0.05)  # between two looks at a condition

    def run(self, command: str) -> tuple[int, str]:
        """Status and everything said, as a terminal shows it."""
        assert self._bash.stdin is not None
        assert self._bash.stdout is not None
        self._asked.write_text(command + "\n")
        line = f'set -o pipefail; source {self._asked} >{self._said} 2>&1 </dev/null; echo "$?"\n'
        self._bash.stdin.write(line.encode())
        self._bash.stdin.flush()
        ready, _, _ = select.select([self._bash.stdout], [], [], COMMAND_SECONDS)
        if not ready:
            raise AssertionError(f"{command}: no end after {COMMAND_SECONDS} s; {self._said.read_text()}")
        return int(self._bash.stdout.readline()), self._said.read_text()
