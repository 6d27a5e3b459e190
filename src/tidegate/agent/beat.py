"""The threads that talk with the node, so that the main loop never waits for the network."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from dataclasses import dataclass

from tidegate.agent.link import Link
from tidegate.agent.outbox import Outbox
from tidegate.errors import TidegateError, Unavailable
from tidegate.wire.device import Heartbeat, HeartbeatAnswer, Register


@dataclass(frozen=True, slots=True)
class Ask:
    """Register first when `register` is there, then the heartbeat. `acknowledged`: how many flushes came before it."""

    link: Link
    heartbeat: Heartbeat
    acknowledged: int
    register: Register | None = None


@dataclass(frozen=True, slots=True)
class Answered:
    ask: Ask
    answer: HeartbeatAnswer


@dataclass(frozen=True, slots=True)
class Failed:
    ask: Ask
    error: TidegateError


@dataclass(frozen=True, slots=True)
class Flushed:
    """Every report that was waiting is acknowledged, or `error` says why not."""

    error: TidegateError | OSError | None = None


@dataclass(frozen=True, slots=True)
class LogSent:
    """One log request is answered, or `error` says why not; `Unavailable`: it may be tried again."""

    request: int
    error: TidegateError | None = None


@dataclass(frozen=True, slots=True)
class Broken:
    """Our own bug, brought to the main thread to end the process there."""

    error: Exception


Outcome = Answered | Failed | Flushed | LogSent | Broken


class Caller:
    """Runs one call after the other in a thread of its own, and tells what came of each."""

    def __init__(self, name: str, tell: Callable[[Outcome], None]) -> None:
        self._tell = tell
        self._calls: queue.SimpleQueue[Callable[[], Outcome] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def do(self, call: Callable[[], Outcome]) -> None:
        self._calls.put(call)

    def close(self, seconds: float) -> None:
        """The link's calls must have been ended."""
        self._calls.put(None)
        self._thread.join(seconds)

    def _run(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                self._tell(call())
            except Exception as error:  # noqa: BLE001 - handed on, and raised again in the main thread
                self._tell(Broken(error))


def beat(ask: Ask) -> Outcome:
    """One heartbeat, held by the node for up to its `wait_seconds`."""
    try:
        if ask.register is not None:
            ask.link.register(ask.register)
        return Answered(ask, ask.link.heartbeat(ask.heartbeat))
    except TidegateError as error:
        return Failed(ask, error)


def flush(link: Link, outbox: Outbox) -> Flushed:
    """Send what waits in the outbox; only what the node has acknowledged leaves it."""
    try:
        while (reports := outbox.pending()) is not None:
            answer = link.reports(reports)
            if not {item.sequence for item in reports.items} & {result.sequence for result in answer.results}:
                return Flushed(Unavailable("cannot use the node's answer to the reports: it decides on none of them"))
            outbox.acknowledge(answer)
    except (TidegateError, OSError) as error:
        return Flushed(error)
    return Flushed()
