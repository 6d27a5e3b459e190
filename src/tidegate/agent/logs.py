"""Logs on request: the end of a source that the device's owner allows, packed and sent (docs/design/logs.md).

Nothing about a request is durable here: while it waits, the node tells it again over every new connection.
"""

from __future__ import annotations

import errno
import logging
import os
import selectors
import stat
import subprocess
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

from tidegate.agent.backoff import Backoff
from tidegate.agent.beat import Caller, LogSent, Outcome
from tidegate.agent.link import ChannelProblem, Link
from tidegate.clock import Clock, SystemClock
from tidegate.errors import NotFound, TidegateError, Unavailable
from tidegate.wire.device import LOG_BUNDLE_BYTES_MAX, LOG_BYTES_MAX, LogRequest

log = logging.getLogger(__name__)

UNIT = "unit:"
PIECE_BYTES = 256 << 10
JOURNAL_SECONDS = 60.0
MOST_WAITING = 64
#: A line of the journal is seldom shorter: so many lines are enough for the bytes that are wanted.
_LINE_BYTES = 64
#: Looked for here only: what a variable of somebody's shell says is of no account.
_JOURNALCTL = ("/usr/bin/journalctl", "/bin/journalctl")


class Logs:
    """The requests of this process, one after the other in a thread of its own; used by the daemon's main thread."""

    def __init__(self, tell: Callable[[Outcome], None], clock: Clock, backoff: Backoff) -> None:
        self._caller = Caller("logs", tell)
        self._clock = clock
        self._backoff = backoff
        self._waiting: dict[int, LogRequest] = {}
        self._busy = False
        self._not_before = 0.0

    def asked(self, requests: tuple[LogRequest, ...]) -> None:
        """What the node wants; what is waiting or under way already is not begun twice."""
        for request in requests:
            if len(self._waiting) < MOST_WAITING:
                self._waiting[request.id] = request

    def tick(self, link: Link, sources: Mapping[str, str]) -> None:
        """Begin the next one, when its time has come."""
        if self._busy or not self._waiting or self._clock.monotonic() < self._not_before:
            return
        self._busy = True
        request = next(iter(self._waiting.values()))
        named = dict(sources)
        self._caller.do(lambda: send(link, request, named))

    def sent(self, outcome: LogSent) -> None:
        """What came of one: tried again where the world was broken, over for good otherwise."""
        self._busy = False
        if isinstance(outcome.error, Unavailable):
            wait = self._backoff.next(outcome.error.retry_after_seconds)
            self._not_before = self._clock.monotonic() + wait
            log.warning("logs wait: %s; trying again in %.0f s", outcome.error.detail, wait)
            return
        if outcome.error is not None:
            log.warning("%s", outcome.error.detail)
        self._backoff.reset()
        self._not_before = 0.0
        self._waiting.pop(outcome.request, None)

    def due_in(self) -> float:
        """Seconds until `tick` has something to do."""
        if self._busy or not self._waiting:
            return float("inf")
        return max(0.0, self._not_before - self._clock.monotonic())

    def close(self, seconds: float) -> None:
        self._caller.close(seconds)


def send(link: Link, request: LogRequest, sources: Mapping[str, str]) -> LogSent:
    """Answer one request, with the log or with why not."""
    try:
        try:
            packed = collect(request.source, sources, min(max(0, request.max_bytes), LOG_BYTES_MAX))
        except NotFound as error:
            link.refuse_log(request.id, error.detail)
        else:
            link.send_log(request.id, packed)
    except ChannelProblem as error:
        return LogSent(request.id, error)
    except TidegateError as error:
        return LogSent(request.id, error if isinstance(error, Unavailable) else Unavailable(error.detail))
    return LogSent(request.id)


def collect(name: str, sources: Mapping[str, str], most_bytes: int) -> bytes:
    """The last `most_bytes` of a source as gzip of at most `LOG_BUNDLE_BYTES_MAX`; less where that is too much.

    Raises:
        NotFound: the owner does not allow it, or it cannot be read; the words do not say what the name stands for.
    """
    source = sources.get(name)
    if source is None:
        raise NotFound(f"cannot read the log {name}: this device's allowlist has no log source of that name")
    wanted = most_bytes
    while True:
        packed = _packed(_journal(name, source, wanted) if source.startswith(UNIT) else _file(name, source, wanted))
        if packed is not None:
            return packed
        wanted //= 2


@dataclass(slots=True)
class _Tail:
    """Pieces of the end of something, at most `most_bytes` of them."""

    most_bytes: int
    data: bytearray
    cut: bool = False

    def add(self, piece: bytes) -> None:
        self.data += piece
        if len(self.data) > self.most_bytes:
            del self.data[: len(self.data) - self.most_bytes]
            self.cut = True

    def whole_lines(self) -> bytes:
        """Without the rest of a line whose beginning was cut off, where there is another."""
        end = self.data.find(b"\n") + 1 if self.cut else 0
        return bytes(self.data[end:]) or bytes(self.data)


def _packed(pieces: Iterator[bytes]) -> bytes | None:
    """gzip (RFC 1952); None when it grows beyond what the node takes."""
    packer = zlib.compressobj(wbits=31)
    packed = bytearray()
    for piece in pieces:
        packed += packer.compress(piece)
        if len(packed) > LOG_BUNDLE_BYTES_MAX:
            return None
    packed += packer.flush()
    return bytes(packed) if len(packed) <= LOG_BUNDLE_BYTES_MAX else None


def _file(name: str, path: str, most_bytes: int) -> Iterator[bytes]:
    """Not through a link anywhere, nor by a further name: whoever writes the log chooses no other file of root's."""
    descriptor = _opened(name, path)
    facts = os.fstat(descriptor)
    if not stat.S_ISREG(facts.st_mode) or facts.st_nlink > 1:
        os.close(descriptor)
        wrong = "it has other names (hard links)" if stat.S_ISREG(facts.st_mode) else "it is not a file"
        raise NotFound(f"cannot read the log {name}: {wrong}")
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        left = min(most_bytes, facts.st_size)
        first = facts.st_size > left
        file.seek(facts.st_size - left)
        while left > 0:
            try:
                piece = file.read(min(PIECE_BYTES, left))
            except OSError as error:
                raise _unreadable(name, error) from error
            if not piece:
                return  # it was cut meanwhile
            left -= len(piece)
            if first:
                tail = _Tail(len(piece), bytearray(piece), cut=True)
                piece, first = tail.whole_lines(), False
            yield piece


def _opened(name: str, path: str) -> int:
    """Walked by folder descriptors, each opened below the last, so that links planted meanwhile lead nowhere."""
    *folders, last = [part for part in path.split("/") if part not in ("", ".")] or ["."]
    folder = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in folders:
            further = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
            os.close(folder)
            folder = further
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise NotFound(
                f"cannot read the log {name}: a link is on the way to it; the device's owner must name its real path"
            ) from error
        raise _unreadable(name, error) from error
    finally:
        os.close(folder)


def _journal(name: str, source: str, most_bytes: int) -> Iterator[bytes]:
    program = next((path for path in _JOURNALCTL if os.access(path, os.X_OK)), None)
    if program is None:
        raise NotFound(f"cannot read the log {name}: this device has no journal")
    argv = (
        program,
        f"--unit={source.removeprefix(UNIT)}",
        f"--lines={max(1, most_bytes // _LINE_BYTES)}",
        "--output=short-iso-precise",
        "--no-pager",
        "--quiet",
    )
    tail = _Tail(most_bytes, bytearray())
    _run(name, argv, tail)
    data = tail.whole_lines()
    return (data[start : start + PIECE_BYTES] for start in range(0, len(data), PIECE_BYTES))


def _run(name: str, argv: tuple[str, ...], tail: _Tail) -> None:
    """Its output, within `JOURNAL_SECONDS`."""
    clock = SystemClock()
    ends = clock.monotonic() + JOURNAL_SECONDS
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    try:
        process = subprocess.Popen(
            argv, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError as error:
        raise _unreadable(name, error) from error
    assert process.stdout is not None
    try:
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while selector.select(max(0.0, ends - clock.monotonic())):
                piece = os.read(process.stdout.fileno(), PIECE_BYTES)
                if not piece:
                    status = process.wait(max(0.1, ends - clock.monotonic()))
                    if status:
                        raise NotFound(f"cannot read the log {name}: the journal ended with status {status}")
                    return
                tail.add(piece)
        raise NotFound(f"cannot read the log {name}: the journal did not answer within {JOURNAL_SECONDS:.0f} s")
    except subprocess.TimeoutExpired as error:
        raise NotFound(f"cannot read the log {name}: the journal did not end") from error
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
        process.stdout.close()


def _unreadable(name: str, error: OSError) -> NotFound:
    return NotFound(f"cannot read the log {name}: {(error.strerror or 'it is broken').lower()}")
