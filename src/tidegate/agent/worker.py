"""The parent's side of the child processes: start one, tell it what is wanted, hear what it says."""

from __future__ import annotations

import logging
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec

import tidegate
from tidegate.agent.backoff import Backoff
from tidegate.agent.view import View
from tidegate.agent.work import Moved, Progress, Rests, Said, Wanted
from tidegate.clock import Clock
from tidegate.wire.device import DesiredState

log = logging.getLogger(__name__)

LINE_MAX_BYTES = 64 * 1024
STOP_SECONDS = 20.0
NEVER = float("inf")

#: The child runs the same code as the parent, wherever that was unpacked.
_BOOT = "import sys; sys.path.insert(0, sys.argv.pop(1)); from tidegate.agent.run import main; sys.exit(main())"


def command(arguments: Sequence[str]) -> list[str]:
    """An argument vector that runs this agent again; `-I`: nothing comes from the current folder, variables, a home."""
    return [sys.executable, "-I", "-c", _BOOT, str(Path(tidegate.__file__).parents[1]), *arguments]


class Child:
    """One child process. `on_said` and `on_end` are called from a thread of its own, `on_end` last, with the status."""

    def __init__(
        self, arguments: Sequence[str], on_said: Callable[[Child, Said], None], on_end: Callable[[Child, int], None]
    ) -> None:
        self._on_said = on_said
        self._on_end = on_end
        self._process = subprocess.Popen(
            command(arguments), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd="/", start_new_session=True
        )
        self._lock = threading.Lock()
        self._thread = threading.Thread(target=self._listen, name="child", daemon=True)
        self._thread.start()

    def tell(self, desired: DesiredState | None) -> None:
        """What the node wants from now on; a child that has just ended hears nothing, and `on_end` follows."""
        assert self._process.stdin is not None
        with self._lock, suppress(BrokenPipeError, ValueError):
            self._process.stdin.write(msgspec.json.encode(Wanted(desired)) + b"\n")
            self._process.stdin.flush()

    def let_go(self) -> None:
        """Nothing more will be told: the child stops at the next safe point."""
        assert self._process.stdin is not None
        with self._lock, suppress(BrokenPipeError):
            self._process.stdin.close()

    def join(self, seconds: float) -> bool:
        """Whether the child has ended within `seconds`."""
        self._thread.join(seconds)
        return not self._thread.is_alive()

    def stop(self) -> None:
        """Ask, wait, and end it: the journal makes ending it at any instant safe."""
        self.let_go()
        if not self.join(STOP_SECONDS):
            self._process.kill()
            self.join(STOP_SECONDS)

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in iter(lambda: self._process.stdout.readline(LINE_MAX_BYTES), b""):  # type: ignore[union-attr]
            try:
                said = msgspec.json.decode(line, type=Said)
            except (msgspec.DecodeError, UnicodeDecodeError) as error:
                log.error("cannot understand the working process: %s", error)  # noqa: TRY400 - one line says it all
            else:
                self._on_said(self, said)
        self._process.stdout.close()
        self.let_go()
        self._on_end(self, self._process.wait())


class Works:
    """Has a child at work whenever there is something to do, and remembers why there is not. For one thread."""

    def __init__(self, start: Callable[[], Child], view: View, clock: Clock, backoff: Backoff) -> None:
        self._start = start
        self._view = view
        self._clock = clock
        self._backoff = backoff
        self._child: Child | None = None
        self._told = 0
        self._moved = False
        self._rests: Rests | None = None
        self._due = NEVER
        self.waiting_on = ""

    def wake(self, desired: DesiredState | None) -> None:
        """Something changed: what is wanted, the inhibitor, the settings, or this process has just begun."""
        if self._child is not None:
            self._tell(self._child, desired)
        elif self._view.has_work(desired):
            self._begin(desired)
        else:
            self._due, self.waiting_on = NEVER, ""

    def tick(self, desired: DesiredState | None) -> None:
        """Begin again what was put off until now."""
        if self._child is None and self._clock.monotonic() >= self._due:
            self.wake(desired)

    def due_in(self) -> float:
        """Seconds until `tick` is worth calling."""
        return NEVER if self._child is not None else max(0.0, self._due - self._clock.monotonic())

    def said(self, child: Child, said: Said) -> None:
        if child is not self._child:
            return
        if isinstance(said, Moved):
            self._moved = True
            if said.goes_on:
                self.waiting_on = ""
        elif isinstance(said, Progress):
            self._view.downloaded = {said.work: said.percent}
        else:
            self._rests, self.waiting_on = said, said.waiting_on

    def ended(self, child: Child, status: int) -> None:
        """The child is gone; say when the next one begins."""
        if child is not self._child:
            return
        self._child, rests = None, self._rests
        if status == 0 and self._moved:
            # Only a life that ended well: one that moves and then dies, again and again, is put off ever longer.
            self._backoff.reset()
        if status != 0 or rests is None:
            why = f": {rests.waiting_on}" if rests is not None and rests.waiting_on else ""
            self.waiting_on = f"the working process ended with status {status}{why}"
            log.error("%s", self.waiting_on)
            self._due = self._clock.monotonic() + self._backoff.next()
        elif rests.heard < self._told:
            self._due = self._clock.monotonic()
        elif rests.retry_seconds is None:
            self._due = NEVER
        else:
            self._due = self._clock.monotonic() + self._backoff.next(rests.retry_seconds)

    def finish(self, seconds: float) -> None:
        """Let the child end what is applying, for at most so long, and begin nothing else."""
        if self._child is not None:
            self._child.tell(None)
            self._child.join(seconds)
            self.stop()

    def stop(self) -> None:
        if self._child is not None:
            self._child.stop()

    def _begin(self, desired: DesiredState | None) -> None:
        self._due, self._rests, self._told, self._moved = NEVER, None, 0, False
        try:
            self._child = self._start()
        except OSError as error:
            self.waiting_on = f"cannot start the working process: {error.strerror}"
            self._due = self._clock.monotonic() + self._backoff.next()
            return
        self._tell(self._child, desired)

    def _tell(self, child: Child, desired: DesiredState | None) -> None:
        self._told += 1
        child.tell(desired)
