"""The child process that does one burst of work, so that the idle agent stays small.

It is told on standard input, a line of JSON each time, what the node wants (`Wanted`; the end of file means stop), and
says on standard output, a line each, that something moved (`Moved`: there may be reports to send) and, last, why
nothing goes on (`Rests`). It ends by itself when there is nothing to do soon.
"""

from __future__ import annotations

import io
import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import msgspec
from msgspec import Struct

from tidegate.agent import hardware
from tidegate.agent.identity import Certificate, Enrollment, Identity
from tidegate.agent.inhibitor import InhibitFile
from tidegate.agent.link import Link
from tidegate.agent.parts import Contents, ProbeResult
from tidegate.agent.probe import Probes
from tidegate.agent.settings import Settings
from tidegate.agent.state import open_executor, outbox
from tidegate.clock import Clock, SystemClock
from tidegate.errors import Invalid
from tidegate.wire.device import DesiredState, LeaveAnswer, LeaveRequest, Probe, Work

#: Waiting longer than this is done by the parent, which costs less memory than this process.
STAY_SECONDS = 60.0
#: After so many waits in a row without anything moving, the parent waits, however short each of them is.
STAY_ROUNDS = 4


class Wanted(Struct, frozen=True, tag="wanted"):
    """What the node wants; None while that is not known: then only what is applying is finished."""

    desired: DesiredState | None


class Moved(Struct, frozen=True, tag="moved"):
    """A step was taken; reports may be waiting."""


class Rests(Struct, frozen=True, tag="rests"):
    """Nothing goes on now; `retry_seconds` None: until something changes. `heard` counts the `Wanted` lines heeded."""

    waiting_on: str
    retry_seconds: float | None
    heard: int


Said = Moved | Rests


class Voice:
    """Standard output, a line at a time; a parent that is gone is no reason to fail."""

    def __init__(self, out: BinaryIO) -> None:
        self._out = out

    def say(self, what: Said) -> None:
        try:
            self._out.write(msgspec.json.encode(what) + b"\n")
            self._out.flush()
        except BrokenPipeError:
            # Standard input has ended too: `Ears` stops the work.
            return


class Ears:
    """Standard input: keeps the newest `Wanted`, and whether to stop."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._stop = threading.Event()
        self._version = 0
        self.wanted = Wanted(None)
        self.on_wanted: Callable[[DesiredState | None], None] = lambda _: None

    def listen(self, source: io.RawIOBase) -> None:
        """Blocks until the end of file; run in a thread of its own."""
        for line in source:
            self.hear(msgspec.json.decode(line, type=Wanted))
        self.stop()

    def hear(self, wanted: Wanted) -> None:
        with self._changed:
            self.wanted = wanted
            self._version += 1
            self.on_wanted(wanted.desired)
            self._changed.notify_all()

    def stop(self) -> None:
        self._stop.set()
        with self._changed:
            self._changed.notify_all()

    @property
    def stopped(self) -> bool:
        return self._stop.is_set()

    def pause(self, seconds: float) -> bool:
        """Wait; True as soon as the process is asked to stop."""
        return self._stop.wait(seconds)

    def version(self) -> int:
        return self._version

    def await_change(self, since: int, seconds: float) -> bool:
        """Whether something new was heard, or stop asked for, within `seconds`."""
        with self._changed:
            return self._changed.wait_for(lambda: self.stopped or self._version != since, seconds)


class Ports:
    """The executor's way to the world; each says first that something moved, so that reports go out meanwhile."""

    def __init__(self, settings: Settings, link: Link, certificate: Certificate, voice: Voice, clock: Clock) -> None:
        self._settings = settings
        self._link = link
        self._certificate = certificate
        self._voice = voice
        self._probes = Probes(lambda: settings.allow, clock)
        self._outbox = outbox(Path(settings.state_dir))

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        self._voice.say(Moved())
        # The verifying client is the heaviest part of the agent, and most lives of a child never need it.
        from tidegate.agent.fetch import Place, TargetFetcher, client_over

        state_dir = Path(self._settings.state_dir)
        place = Place(self._certificate.fleet, hardware.detect(state_dir), state_dir, self._settings.keep_free_bytes)
        client = client_over(self._link, trust_folder(state_dir), place.fleet)
        TargetFetcher(self._link, client, place).fetch(work, store, wanted)

    def leave(self, request: LeaveRequest) -> LeaveAnswer:
        """Ask for leave once the node knows all that happened before.

        A `ready` that arrived after the leave would read as giving it back.
        """
        while (reports := self._outbox.pending()) is not None:
            self._outbox.acknowledge(self._link.reports(reports))
        self._voice.say(Moved())
        return self._link.leave(request)

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        self._voice.say(Moved())
        return self._probes.attempt(probe, artifact)


def trust_folder(state_dir: Path) -> Path:
    return state_dir / "trust"


def work(settings: Settings) -> int:
    """Do what standard input asks for until nothing can go on; the child's whole life."""
    state_dir = Path(settings.state_dir)
    enrollment, certificate = _known(Identity(state_dir / "identity"))
    clock, ears, voice = SystemClock(), Ears(), Voice(sys.stdout.buffer)
    signal.signal(signal.SIGTERM, lambda *_: ears.stop())
    link = Link(
        enrollment.channel_url,
        enrollment.ca_bundle_pem,
        certificate.file,
        timeout_seconds=settings.request_timeout_seconds,
    )
    ports = Ports(settings, link, certificate, voice, clock)
    executor = open_executor(
        state_dir,
        fetcher=ports,
        prober=ports,
        leave=ports,
        inhibitor=InhibitFile(lambda: settings.inhibit_path),
        clock=clock,
        pause=ears.pause,
    )
    ears.on_wanted = executor.desire
    # Unbuffered: a thread that waits in a buffered reader holds its lock, and the interpreter aborts at exit.
    told = io.FileIO(sys.stdin.fileno(), closefd=False)
    first = told.readline()
    if not first:
        return os.EX_OK
    ears.hear(msgspec.json.decode(first, type=Wanted))
    threading.Thread(target=ears.listen, args=(told,), name="ears", daemon=True).start()
    rounds = 0
    while True:
        heard = ears.version()
        waiting = executor.run(ears.wanted.desired)
        rests = Rests(waiting.waiting_on, waiting.retry_seconds, heard)
        voice.say(rests)
        rounds += 1
        soon = rests.retry_seconds is not None and rests.retry_seconds <= STAY_SECONDS and rounds < STAY_ROUNDS
        if ears.stopped:
            return os.EX_OK
        if ears.version() != heard:
            rounds = 0
        elif not soon or rests.retry_seconds is None:
            return os.EX_OK
        elif ears.await_change(heard, rests.retry_seconds):
            rounds = 0


def _known(identity: Identity) -> tuple[Enrollment, Certificate]:
    enrollment, certificate = identity.enrollment(), identity.to_use()
    if enrollment is None or certificate is None:
        raise Invalid("cannot work: this device is not enrolled")
    return enrollment, certificate
