"""What the agent says of itself: a read-only answer on a local Unix socket, and the words for people.

Whoever connects gets one JSON document and the end of file; nothing is read from the connection. When no daemon runs,
the same document is put together from the state folder.
"""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path

import msgspec
from msgspec import Struct

from tidegate.agent.settings import Settings
from tidegate.errors import Unavailable
from tidegate.wire.device import InProgress, Installed

SOCKET = "agent.sock"
CONNECTED = "connected"
ANSWER_MAX_BYTES = 1 << 20
ANSWER_SECONDS = 5.0
#: Whoever does not take the answer is let go well before the next one gives up.
SEND_SECONDS = 1.0


class Status(Struct, frozen=True, omit_defaults=True):
    """`connection` and `waiting_on` are sentences for people; `running` is whether a daemon gave this answer."""

    agent_version: str
    running: bool
    connection: str
    device: str = ""
    fleet: str = ""
    node: str = ""
    last_contact: datetime | None = None
    certificate_ends: datetime | None = None
    certificate_renews: datetime | None = None
    waiting_on: str = ""
    problems: tuple[str, ...] = ()
    installed: tuple[Installed, ...] = ()
    in_progress: tuple[InProgress, ...] = ()
    reports_waiting: int = 0


def in_words(status: Status) -> Iterator[str]:
    """Lines for people: what runs, what it waits for, and why. Some words are the node's: a terminal obeys none."""
    for line in _lines(status):
        indent = len(line) - len(line.lstrip())
        yield " " * indent + "".join(letter if letter.isprintable() else " " for letter in line[indent:])


def _lines(status: Status) -> Iterator[str]:
    who = f"device {status.device} of fleet {status.fleet}" if status.device else "not enrolled"
    yield f"tidegate-agent {status.agent_version}: {who}"
    yield f"  node         {status.node or 'none'}"
    yield f"  connection   {status.connection}"
    if status.last_contact is not None:
        yield f"  last contact {_time(status.last_contact)}"
    if status.certificate_ends is not None and status.certificate_renews is not None:
        renews = _time(status.certificate_renews)
        yield f"  certificate  ends {_time(status.certificate_ends)}, is renewed from {renews} on"
    yield "  runs         " + ("nothing yet" if not status.installed else "")
    for item in status.installed:
        before = f", before that {item.previous_version}" if item.previous_version else ""
        yield f"    {item.artifact} {item.version}{before}" + (f" (drift: {item.drift})" if item.drift else "")
    for work in status.in_progress:
        yield f"  {work.state:<12} {work.work}" + (f" ({work.detail})" if work.detail else "")
    yield f"  waits for    {waits_for(status)}"
    if status.reports_waiting:
        yield f"  reports      {status.reports_waiting} not yet acknowledged by the node"
    for problem in status.problems:
        yield f"  problem      {problem}"


def waits_for(status: Status) -> str:
    """Why nothing more happens now, in every state (SPEC section 0, P10)."""
    if status.waiting_on:
        return status.waiting_on
    if not status.device:
        return "enrollment: tidegate-agent enroll"
    if not status.running:
        return "somebody to start it: tidegate-agent run"
    if status.in_progress:
        return "nothing: it is working"
    if status.connection != CONNECTED:
        return "its node, to learn what it should run"
    return "nothing: the node wants nothing else"


class StatusServer:
    """Answers with `current()` until closed."""

    def __init__(self, run_dir: Path, current: Callable[[], Status]) -> None:
        run_dir.mkdir(mode=0o755, parents=True, exist_ok=True)
        self._path = run_dir / SOCKET
        self._current = current
        self._socket = socket.socket(socket.AF_UNIX)
        with _short(self._path) as short:
            # A daemon that was killed leaves its socket behind; the lock on the state says that it is gone.
            Path(short).unlink(missing_ok=True)
            self._socket.bind(short)
        self._path.chmod(0o660)
        self._socket.listen(4)
        self._thread = threading.Thread(target=self._serve, name="status", daemon=True)
        self._thread.start()

    def close(self) -> None:
        # Only a shutdown ends an accept that is under way.
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._thread.join(ANSWER_SECONDS * 2)
        self._socket.close()
        self._path.unlink(missing_ok=True)

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return  # closed
            with connection, suppress(OSError):
                connection.settimeout(SEND_SECONDS)
                connection.sendall(msgspec.json.encode(self._current()))


def ask(settings: Settings) -> Status | None:
    """The running daemon's own answer; None when none runs.

    Raises:
        Unavailable: something else answers there, or not in time.
    """
    path = Path(settings.run_dir) / SOCKET
    data = b""
    try:
        with _short(path) as short, socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(short)
            while (part := connection.recv(65_536)) and len(data) <= ANSWER_MAX_BYTES:
                data += part
    except (FileNotFoundError, ConnectionRefusedError):
        return None
    except OSError as error:
        raise Unavailable(f"cannot ask the agent at {path}: {error.strerror or error}") from error
    try:
        return msgspec.json.decode(data, type=Status)
    except msgspec.DecodeError as error:
        raise Unavailable(f"cannot use the answer of the agent at {path}: {error}") from error


@contextmanager
def _short(path: Path) -> Iterator[str]:
    """Another name of `path`, short enough for a socket's address (108 bytes), however deep the folder is."""
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)


def _time(at: datetime) -> str:
    return at.strftime("%Y-%m-%d %H:%M:%S UTC")
