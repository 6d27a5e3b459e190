"""The agent's one loop: whatever happens is an event, each is handled whole, and then the next is waited for.

Threads only wait and bring events: the node (beat.py), a working child (worker.py), signals. The main thread alone
changes what the daemon knows. While nothing happens, nothing is done.
"""

from __future__ import annotations

import logging
import os
import queue
import signal
from dataclasses import dataclass
from pathlib import Path
from random import Random

import msgspec

from tidegate import __version__
from tidegate.agent import beat, hardware, inhibitor
from tidegate.agent.backoff import Backoff
from tidegate.agent.connection import Connection
from tidegate.agent.identity import Final, Identity
from tidegate.agent.inforce import InForce
from tidegate.agent.logs import Logs
from tidegate.agent.renewal import Renewal
from tidegate.agent.session import Again, Later, Over, Pace, RenewFirst, UseCurrent, UsePending, course
from tidegate.agent.settings import Source
from tidegate.agent.standing import Standing
from tidegate.agent.status import CONNECTED, StatusServer
from tidegate.agent.view import View
from tidegate.agent.work import Progress, Said
from tidegate.agent.worker import Child, Works
from tidegate.clock import Clock
from tidegate.errors import Invalid, Untrusted
from tidegate.wire.device import DesiredState, Heartbeat, HeartbeatAnswer, Register

log = logging.getLogger(__name__)

#: The unit's RestartPreventExitStatus: starting again would change nothing.
EXIT_FINAL = 78
FINISH_SECONDS = 600.0
CLOSE_SECONDS = 5.0
HELD_SECONDS_MAX = 60
INTERVAL_SECONDS_MAX = 3600
WAKE_SECONDS_MAX = 3600.0
#: A bundle that did not verify the node is tried again, though not over each connection.
BUNDLE_AGAIN_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class ChildSaid:
    child: Child
    said: Said


@dataclass(frozen=True, slots=True)
class ChildEnded:
    child: Child
    status: int


@dataclass(frozen=True, slots=True)
class Stop:
    pass


Event = beat.Outcome | ChildSaid | ChildEnded | Stop


class Daemon:
    """One run of the agent on one state folder.

    Raises:
        Invalid: the settings cannot be used, or this device is not enrolled.
    """

    def __init__(self, source: Source, arguments: tuple[str, ...], clock: Clock, random: Random) -> None:
        self._inforce = InForce(source)
        # A child lives in the folders of this life, whatever the files say by then.
        folders = (f"--{key.replace('_', '-')}={value}" for key, value in self._inforce.folders.items())
        self._arguments = (*arguments, *folders)
        self._clock = clock
        settings = self._inforce.settings
        state_dir = Path(settings.state_dir)
        self._identity = Identity(state_dir / "identity")
        self._identity.sweep()
        self._connection = Connection(self._identity, settings.request_timeout_seconds)
        self._view = View(state_dir)
        self._standing = Standing(
            self._view, self._inforce.loaded, self._connection.enrollment, self._connection.certificate
        )
        self._events: queue.SimpleQueue[Event] = queue.SimpleQueue()

        def backoff(first_seconds: float, max_seconds: float = settings.backoff_max_seconds) -> Backoff:
            return Backoff(random, first_seconds=first_seconds, max_seconds=max_seconds)

        self._works = Works(lambda: self._child("work"), self._view, clock, backoff(1.0))
        self._renewal = Renewal(lambda: self._child("renew"), clock, backoff(60.0, 6 * 3600.0))
        self._beat_backoff, self._flush_backoff, self._disk_backoff = backoff(1.0), backoff(1.0), backoff(5.0)
        self._beats = beat.Caller("beat", self._events.put)
        self._reports = beat.Caller("reports", self._events.put)
        self._logs = Logs(self._events.put, clock, backoff(5.0))
        self._asked: beat.Ask | None = None
        self._asked_at = clock.monotonic()
        self._pace = Pace(self._asked_at)
        self._next_beat = self._next_flush = 0.0
        self._quiet_until = self._bundle_not_before = 0.0
        self._flushing = False
        self._flushes = 0
        self._interval = max(1, self._connection.enrollment.interval_seconds)
        self._desired: DesiredState | None = None
        self._seen = ""
        self._inhibited = self._damaged = ""

    def run(self) -> int:
        """Until told to stop, or until this identity is over; gives back the exit status."""
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: self._events.put(Stop()))
        status = self._status_server()
        try:
            # What was applying when the last life ended is finished first: going back needs no network.
            self._works.wake(None)
            while True:
                try:
                    self._tick()
                    event = self._next_event()
                    if isinstance(event, Stop):
                        return os.EX_OK
                    final = None if event is None else self._handle(event)
                except OSError as error:
                    # A full or broken disk takes no device away: it goes on, and says so.
                    self._disk_refused(error)
                    continue
                if final is not None:
                    return self._end(final)
        finally:
            self._works.stop()
            self._renewal.stop()
            self._connection.link.end_calls()
            self._beats.close(CLOSE_SECONDS)
            self._reports.close(CLOSE_SECONDS)
            self._logs.close(CLOSE_SECONDS)
            self._connection.link.close()
            if status is not None:
                status.close()

    # -- time passes ------------------------------------------------------------------------------------------------

    def _tick(self) -> None:
        """Begin everything whose time has come."""
        now = self._clock.monotonic()
        if now < self._quiet_until:
            return
        self._works.tick(self._desired)
        self._renewal.tick(self._connection.certificate)
        self._logs.tick(self._connection.link, self._inforce.settings.allow.log_sources)
        if not self._flushing and now >= self._next_flush and self._view.outbox.pending() is not None:
            link, outbox = self._connection.link, self._view.outbox
            self._flushing = True
            self._reports.do(lambda: beat.flush(link, outbox))
        if self._asked is None and now >= self._next_beat:
            self._ask()

    def _next_event(self) -> Event | None:
        now = self._clock.monotonic()
        waits = [self._works.due_in(), self._renewal.due_in(self._connection.certificate), self._logs.due_in()]
        if self._asked is None:
            waits.append(self._next_beat - now)
        if not self._flushing and self._next_flush > now:
            waits.append(self._next_flush - now)
        # Bounded: a certificate may be good for longer than a lock can be waited for.
        wait = min(max(0.0, min(waits), self._quiet_until - now), WAKE_SECONDS_MAX)
        try:
            return self._events.get(timeout=wait)
        except queue.Empty:
            return None

    def _ask(self) -> None:
        connection, settings = self._connection, self._inforce.settings
        register = None
        if connection.fresh:
            found = hardware.detect(Path(settings.state_dir))
            sources = tuple(sorted(settings.allow.log_sources))
            register = Register(found, __version__, settings.declared_tags, sources)
        self._asked = beat.Ask(connection.link, self._heartbeat(), self._flushes, register)
        self._asked_at = self._clock.monotonic()
        asked = self._asked
        self._beats.do(lambda: beat.beat(asked))

    def _heartbeat(self) -> Heartbeat:
        self._standing.waiting_on = self._works.waiting_on or self._inhibited
        return Heartbeat(
            installation=self._view.outbox.installation(),
            installed=self._view.installed(),
            in_progress=self._view.in_progress(),
            seen=self._seen,
            wait_seconds=min(self._interval, HELD_SECONDS_MAX),
            waiting_on=self._standing.waits(),
        )

    # -- something happened -----------------------------------------------------------------------------------------

    def _handle(self, event: Event) -> Over | None:
        match event:
            case beat.Answered(ask=ask, answer=answer):
                self._answered(ask, answer)
            case beat.Failed():
                return self._failed(event)
            case beat.Flushed(error=error):
                self._flushed(error)
            case beat.LogSent():
                self._logs.sent(event)
            case ChildSaid(child=child, said=said):
                self._works.said(child, said)
                self._renewal.said(child, said)
                if not isinstance(said, Progress):
                    self._speak_if_new()
            case ChildEnded(child=child, status=status):
                if self._renewal.ended(child, status):
                    self._connection.link.end_calls()
                    self._connection.renewed()
                self._works.ended(child, status)
                self._speak_if_new()
            case beat.Broken(error=error):
                raise error
        self._show()
        return None

    def _answered(self, ask: beat.Ask, answer: HeartbeatAnswer) -> None:
        now = self._clock.monotonic()
        self._asked = None
        self._beat_backoff.reset()
        if self._connection.accepted():
            self._renewal.settled()
        if self._standing.connection != CONNECTED:
            enrolled = self._connection.enrollment
            log.info("connected to %s as %s of fleet %s", enrolled.channel_url, enrolled.device, enrolled.fleet)
        self._standing.connection, self._standing.last_contact = CONNECTED, self._clock.now()
        self._interval = min(max(1, answer.interval_seconds), INTERVAL_SECONDS_MAX)
        self._take_bundle(answer)
        if answer.renew_now:
            self._renewal.tick(self._connection.certificate, now_please=True)
        self._logs.asked(answer.log_requests)
        news = isinstance(answer.desired, DesiredState) or bool(answer.log_requests)
        self._next_beat = now + self._pace.wait(
            now, held_seconds=now - self._asked_at, asked_seconds=self._interval, news=news
        )
        if isinstance(answer.desired, DesiredState):
            self._desired, self._seen = answer.desired, answer.desired_digest
            self._standing.notice = answer.desired.notice
            self._works.wake(self._desired)
        if not self._flushing and ask.acknowledged == self._flushes:
            self._view.outbox.node_knows(answer.report_sequence)
        self._look_around()
        self._disk_backoff.reset()
        self._standing.disk_trouble = ""

    def _failed(self, failed: beat.Failed) -> Over | None:
        self._asked = None
        connection = self._connection
        self._look_around()
        if isinstance(failed.error, Untrusted) and connection.refuse_bundle():
            log.warning("the node's new CA bundle does not verify the node; the known one stands")
            self._bundle_not_before = self._clock.monotonic() + BUNDLE_AGAIN_SECONDS
            return None
        decided = course(
            failed.error,
            on_pending=connection.on_pending,
            has_current=connection.has_current(),
            has_pending=connection.has_pending(),
        )
        wait = 0.0
        match decided:
            case Over():
                return decided
            case Again():
                pass
            case UseCurrent(forget=forget):
                connection.use_current(forget=forget)
            case UsePending():
                connection.retry_pending()
                wait = self._beat_backoff.next()
            case RenewFirst():
                connection.recognised()
                self._renewal.tick(connection.certificate, now_please=True)
                wait = self._beat_backoff.next()
            case Later(at_least_seconds=at_least):
                connection.retry_pending()
                wait = self._beat_backoff.next(at_least)
        if not isinstance(decided, Again):
            self._standing.connection = failed.error.detail
            log.warning("%s; trying again in %.0f s", failed.error.detail, wait)
        self._next_beat = self._clock.monotonic() + wait
        self._show()
        return None

    def _flushed(self, error: Exception | None) -> None:
        self._flushing = False
        self._flushes += 1
        if error is None:
            self._flush_backoff.reset()
            self._next_flush = 0.0
        else:
            self._next_flush = self._clock.monotonic() + self._flush_backoff.next()
            log.warning("reports wait: %s", error)

    def _take_bundle(self, answer: HeartbeatAnswer) -> None:
        if self._clock.monotonic() < self._bundle_not_before:
            return
        try:
            self._connection.take_bundle(answer.ca_bundle_sha256, answer.ca_bundle)
        except Invalid as error:
            log.warning("%s", error.detail)

    def _look_around(self) -> None:
        """What may have changed on the device itself: settings files, the inhibitor, a journal damaged or repaired."""
        if self._inforce.look():
            self._reloaded()
        inhibited, damaged = inhibitor.reason(self._inforce.settings.inhibit_path), self._view.damaged()
        if (inhibited, damaged) != (self._inhibited, self._damaged):
            self._inhibited, self._damaged = inhibited, damaged
            self._works.wake(self._desired)

    def _reloaded(self) -> None:
        """New settings hold from now on; a child that is at work looks for itself."""
        self._standing.loaded = self._inforce.loaded
        self._connection.fresh = True
        self._works.wake(self._desired)
        if self._inforce.loaded.problem:
            log.warning("%s", self._inforce.loaded.problem)

    def _status_server(self) -> StatusServer | None:
        """None where there is no place for the socket: status then comes from the state folder."""
        try:
            return StatusServer(Path(self._inforce.settings.run_dir), self._standing.status)
        except OSError as error:
            log.warning("cannot answer status in %s: %s", self._inforce.settings.run_dir, error)
            return None

    def _disk_refused(self, error: OSError) -> None:
        """Nothing new begins until the back-off is over; what was begun is begun again then."""
        self._standing.disk_trouble = f"cannot use the disk: {error.strerror or error}"
        wait = self._disk_backoff.next()
        log.warning("%s; trying again in %.0f s", self._standing.disk_trouble, wait)
        self._quiet_until = self._clock.monotonic() + wait

    def _speak_if_new(self) -> None:
        """End the held heartbeat when what it said is not true any more."""
        if self._asked is not None and _still(self._asked.heartbeat) != _still(self._heartbeat()):
            self._connection.link.end_heartbeat()

    def _show(self) -> None:
        self._standing.enrollment = self._connection.enrollment
        self._standing.certificate = self._connection.certificate
        self._standing.renewal_trouble = self._renewal.trouble
        self._standing.waiting_on = self._works.waiting_on or self._inhibited

    def _end(self, over: Over) -> int:
        """This identity is over: its keys go first, then what was applying is finished, and nothing more is asked."""
        final = Final(over.kind, over.detail, self._clock.now(), over.stop_workloads)
        if over.wipe:
            self._identity.wipe(final)
        else:
            self._identity.note_final(final)
        log.error("stopping for good: %s", over.detail)
        self._works.finish(FINISH_SECONDS)
        return EXIT_FINAL

    def _child(self, verb: str) -> Child:
        return Child(
            (*self._arguments, verb),
            lambda child, said: self._events.put(ChildSaid(child, said)),
            lambda child, status: self._events.put(ChildEnded(child, status)),
        )


def _still(heartbeat: Heartbeat) -> Heartbeat:
    """Without how far downloads have come: that alone is not worth another request."""
    still = (
        msgspec.structs.replace(one, detail="") if one.state == "downloading" else one for one in heartbeat.in_progress
    )
    return msgspec.structs.replace(heartbeat, in_progress=tuple(still))
