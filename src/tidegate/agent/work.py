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

from tidegate.agent import beat, hardware
from tidegate.agent.here import Here
from tidegate.agent.identity import Certificate, Enrollment, Identity
from tidegate.agent.inforce import InForce
from tidegate.agent.inhibitor import InhibitFile
from tidegate.agent.link import Link
from tidegate.agent.parts import Contents, ProbeResult
from tidegate.agent.perform import Stopped
from tidegate.agent.settings import Source
from tidegate.agent.state import open_executor, outbox
from tidegate.agent.words import plain
from tidegate.clock import SystemClock
from tidegate.errors import Invalid, TidegateError
from tidegate.wire.device import DesiredState, LeaveAnswer, LeaveRequest, Probe, Work

#: Waiting longer than this is done by the parent, which costs less memory than this process.
STAY_SECONDS = 60.0
#: How often a download says how far it has come.
PROGRESS_SECONDS = 2.0
#: After so many waits in a row without anything moving, the parent waits, however short each of them is.
STAY_ROUNDS = 4


class Wanted(Struct, frozen=True, tag="wanted"):
    """What the node wants; None while that is not known: then only what is applying is finished."""

    desired: DesiredState | None


class Moved(Struct, frozen=True, tag="moved"):
    """A step was taken; reports may be waiting. `goes_on`: what was waited for is over."""

    goes_on: bool = False


class Progress(Struct, frozen=True, tag="progress"):
    """How far the download of a piece of work has come."""

    work: str
    percent: int


class Rests(Struct, frozen=True, tag="rests"):
    """Nothing goes on now; `retry_seconds` None: until something changes. `heard` counts the `Wanted` lines heeded."""

    waiting_on: str
    retry_seconds: float | None
    heard: int


Said = Moved | Progress | Rests


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


class Ports(Here):
    """The executor's way to the world; each says first that something moved, so that reports go out meanwhile.

    `fetch`, `leave` and `attempt` raise `Stopped` when the process is asked to stop: nothing new begins then.
    """

    def __init__(self, inforce: InForce, link: Link, certificate: Certificate, voice: Voice, ears: Ears) -> None:
        super().__init__(inforce, lambda: ears.stopped)
        self._link = link
        self._certificate = certificate
        self._voice = voice
        self._ears = ears
        self._outbox = outbox(Path(inforce.settings.state_dir))

    def _begins(self) -> None:
        if self._ears.stopped:
            raise Stopped
        self._voice.say(Moved())

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        self._begins()
        self._inforce.look()
        # The verifying client is the heaviest part of the agent, and most lives of a child never need it.
        from tidegate.agent.fetch import Place, TargetFetcher, client_over

        state_dir = Path(self._settings.state_dir)
        place = Place(self._certificate.fleet, hardware.detect(state_dir), state_dir, self._settings.keep_free_bytes)
        client = client_over(self._link, trust_folder(state_dir), place.fleet)

        def going_on() -> bool:
            if self._ears.stopped:
                raise Stopped
            return wanted()

        clock = SystemClock()
        said = clock.monotonic()

        def progress(here: int, whole: int) -> None:
            nonlocal said
            if clock.monotonic() - said >= PROGRESS_SECONDS:
                said = clock.monotonic()
                self._voice.say(Progress(work.id, here * 100 // max(1, whole)))

        TargetFetcher(self._link, client, place, progress).fetch(work, store, going_on)

    def leave(self, request: LeaveRequest) -> LeaveAnswer:
        """Ask for leave once the node knows all that happened before.

        A `ready` that arrived after the leave would read as giving it back.
        """
        if self._ears.stopped:
            raise Stopped
        flushed = beat.flush(self._link, self._outbox)
        if flushed.error is not None:
            raise flushed.error
        self._voice.say(Moved())
        answer = self._link.leave(request)
        if answer.granted:
            self._voice.say(Moved(goes_on=True))
        return answer

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        self._begins()
        return super().attempt(probe, artifact)


def trust_folder(state_dir: Path) -> Path:
    return state_dir / "trust"


def work(source: Source) -> int:
    """Do what standard input asks for until nothing can go on; the child's whole life.

    What ends it is said on standard output too: the parent tells it to people.
    """
    voice = Voice(sys.stdout.buffer)
    try:
        return _work(source, voice)
    except (TidegateError, OSError) as error:
        voice.say(Rests(plain(str(error)), None, 0))
        raise


def _work(source: Source, voice: Voice) -> int:
    inforce = InForce(source)
    settings = inforce.settings
    state_dir = Path(settings.state_dir)
    enrollment, certificate = _known(Identity(state_dir / "identity"))
    clock, ears = SystemClock(), Ears()
    signal.signal(signal.SIGTERM, lambda *_: ears.stop())
    link = Link(
        enrollment.channel_url,
        enrollment.ca_bundle_pem,
        certificate.file,
        timeout_seconds=settings.request_timeout_seconds,
    )
    ports = Ports(inforce, link, certificate, voice, ears)
    executor = open_executor(
        state_dir,
        fetcher=ports,
        prober=ports,
        leave=ports,
        inhibitor=InhibitFile(ports.inhibited),
        clock=clock,
        pause=ears.pause,
        owner=ports.owner(source),
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
        rests = Rests(plain(waiting.waiting_on), waiting.retry_seconds, heard)
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
