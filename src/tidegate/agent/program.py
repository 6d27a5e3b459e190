"""Runs one program of the device's owner: a whole argument vector, never a shell; bounded in time and in output."""

from __future__ import annotations

import os
import pwd
import selectors
import signal
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tidegate.agent.offspring import Offspring
from tidegate.clock import Clock

OUTPUT_MAX_BYTES = 4096
LOOK_SECONDS = 0.2
SAFE_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Interrupted(Exception):
    """The agent was asked to stop: how the program would have ended is not known."""


@dataclass(frozen=True, slots=True)
class Ended:
    """`how` is empty for exit status 0, else words such as "ended with exit status 1"; `output` is the last it said."""

    how: str
    output: str


@dataclass(frozen=True, slots=True)
class Runner:
    """Runs programs one at a time; ends them when `stopping` becomes true."""

    clock: Clock
    stopping: Callable[[], bool] = lambda: False

    def run(
        self, argv: Sequence[str], seconds: float, *, user: str = "", more: dict[str, str] | None = None,
        may_leave: bool = False,
    ) -> Ended:  # fmt: skip
        """Run `argv` as `user` (empty: as the agent) with a bare environment and `more`.

        All that it started is ended with it, also what has made itself a daemon. With `may_leave` and in time, a
        service that it started in a session of its own stays.

        Raises:
            Interrupted: `stopping` became true.
            OSError: it cannot be started.
        """
        deadline = self.clock.monotonic() + seconds
        with Offspring() as offspring:
            process = self._start(argv, user, more or {})
            finished = False
            try:
                said, in_time = self._listen(process, deadline)
                finished = in_time
            finally:
                _kill_group(process)
                if not (may_leave and finished):
                    offspring.end()
        output = _printable(said)
        if not in_time:
            return Ended(f"was ended after {seconds:.0f} s", output)
        code = process.returncode
        if code == 0:
            return Ended("", output)
        return Ended(f"ended with exit status {code}" if code > 0 else f"ended with signal {-code}", output)

    def rest(self, seconds: float) -> None:
        """Wait, in short pieces. Raises `Interrupted`."""
        until = self.clock.monotonic() + seconds
        while (left := until - self.clock.monotonic()) > 0:
            if self.stopping():
                raise Interrupted
            time.sleep(min(left, LOOK_SECONDS))

    def _start(self, argv: Sequence[str], user: str, more: dict[str, str]) -> subprocess.Popen[bytes]:
        to_user, group, extra_groups = _switch_user(user)
        try:
            return subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                env={"PATH": SAFE_PATH, "LANG": "C.UTF-8", **more},
                cwd="/",
                start_new_session=True,
                user=to_user,
                group=group,
                extra_groups=extra_groups,
            )
        except subprocess.SubprocessError as error:
            raise OSError(str(error)) from error

    def _listen(self, process: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bool]:
        """The last output of `process`, and whether it ended in time; its children may hold the pipe open longer."""
        assert process.stdout is not None
        pipe = process.stdout.fileno()
        os.set_blocking(pipe, False)
        said = b""
        with selectors.DefaultSelector() as selector:
            selector.register(pipe, selectors.EVENT_READ)
            while (left := deadline - self.clock.monotonic()) > 0:
                if self.stopping():
                    raise Interrupted
                ended = process.poll() is not None
                if selector.select(0 if ended else min(left, LOOK_SECONDS)):
                    part = os.read(pipe, 65_536)
                    said = (said + part)[-OUTPUT_MAX_BYTES:]
                    if part:
                        continue
                    return said, _waited(process, deadline - self.clock.monotonic())
                if ended:
                    return said, True
        return said, False


def user_refusal(user: str) -> str:
    """Why no program can be run as `user` here; empty when one can."""
    if not user:
        return ""
    try:
        wanted = pwd.getpwnam(user)
    except KeyError:
        return f"there is no user {user} on this device"
    return "" if os.geteuid() in (0, wanted.pw_uid) else "the agent does not run as root"


def _switch_user(user: str) -> tuple[int | None, int | None, list[int] | None]:
    """User, group and further groups to switch to; only root can, and `user_refusal` has seen to that."""
    if not user or os.geteuid() != 0:
        return None, None, None
    wanted = pwd.getpwnam(user)
    return wanted.pw_uid, wanted.pw_gid, os.getgrouplist(wanted.pw_name, wanted.pw_gid)


def _waited(process: subprocess.Popen[bytes], seconds: float) -> bool:
    try:
        process.wait(max(seconds, 0))
    except subprocess.TimeoutExpired:
        return False
    return True


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    """Nothing of its process group outlives it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    if process.stdout is not None:
        process.stdout.close()


def _printable(data: bytes) -> str:
    text = data.decode("utf-8", "replace").strip()
    return "".join(letter if letter.isprintable() or letter in "\n\t" else "�" for letter in text)
