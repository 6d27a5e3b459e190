"""The effects: one per step. What goes wrong becomes a fact of this process life, for `next_step` to decide about."""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable

import msgspec

from tidegate.agent.observe import Asked, Checked, Life, contents, payload_of, read_descriptor, running_version
from tidegate.agent.orders import probe_of, work_of
from tidegate.agent.parts import NoRoom, Parts
from tidegate.agent.payloads.base import NotTaken, Payload
from tidegate.agent.transaction.book import Book
from tidegate.agent.transaction.model import Attempt, Fetched, Record, Release
from tidegate.agent.transaction.steps import AskLeave, Check, Clean, Fetch, Restore, RunProbe, Stage, Step, Switch, Tell
from tidegate.agent.words import plain
from tidegate.errors import Defect, Refused, TidegateError, Unavailable
from tidegate.wire.descriptor import Descriptor
from tidegate.wire.device import LeaveRequest, Report

_log = logging.getLogger(__name__)

TROUBLE_RETRY_SECONDS = 30.0
NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT})
MAX_REASON = 1024
#: Switches of one life that seemed to work and were not seen to: somebody else writes there too.
SWITCHES_MAX = 3
MAX_OUTPUT = 4096


class Stopped(Exception):
    """The process was asked to stop while it waited."""


class Performer:
    """Performs steps; `wanted(work)` says whether the node still names that work."""

    def __init__(self, parts: Parts, wanted: Callable[[str], bool]) -> None:
        self._parts = parts
        self._wanted = wanted

    def perform(self, step: Step, record: Record, life: Life, book: Book) -> None:
        """Do what `step` says; every step may be repeated after any interruption.

        Raises:
            Stopped: the process was asked to stop.
        """
        match step:
            case Tell():
                self._tell(step, record, life)
            case Fetch():
                self._fetch(record, life, book)
            case Stage():
                self._stage(record, life)
            case Check():
                self._check(step.release, record, life, book)
            case AskLeave():
                self._ask_leave(record, life)
            case Switch():
                self._switch(step, record, life, book)
            case RunProbe():
                self._probe(step, record, life, book)
            case Restore():
                self._restore(step, record, life, book)
            case Clean():
                self._clean(record, life, book)
            case _:
                raise Defect(f"cannot perform {step}: the loop itself does it")

    def report(self, work: str, state: str, version: str | None, reason: str = "", output: str = "") -> None:
        """Queue a fact; raises as `Outbox.add`, which also gives it its sequence."""
        fields = {
            "sequence": 1,
            "work": work,
            "state": state,
            "at": self._parts.clock.now(),
            "reason": reason[:MAX_REASON],
            "output": output[-MAX_OUTPUT:],
            "running_version": version,
        }
        self._parts.outbox.add(msgspec.convert(fields, Report))

    def _tell(self, step: Tell, record: Record, life: Life) -> None:
        order = record.order
        version = running_version(self._parts.payloads, order.artifact)
        goal = order.goal.version if order.goal else "nothing"
        _log.info("%s of %s, goal %s: %s", order.kind.value, order.artifact, goal, _in_a_line(step))
        try:
            self.report(order.work, step.state, version, step.reason, step.output)
        except (OSError, Unavailable) as error:
            life.untellable = f"cannot report: {words(error)}"

    def _fetch(self, record: Record, life: Life, book: Book) -> None:
        order = record.order
        life.fetched = None
        try:
            self._download(record, book)
            descriptor = self._descriptor(record)
            self._payload(descriptor.kind).check(order.artifact, descriptor)
            self._refuse_other_kind(descriptor)
            missing = [file.name for file in descriptor.files if not self._parts.store.has(file.sha256)]
            if missing:
                raise Unavailable(f"cannot stage {order.artifact}: {missing[0]} was not fetched whole")
        except Refused as error:
            life.refused = error.detail
        except (TidegateError, OSError) as error:
            self._troubled(life, error)
        else:
            requires = tuple((one.artifact, one.versions) for one in descriptor.requires)
            life.fetched = Fetched(descriptor.kind, requires)

    def _download(self, record: Record, book: Book) -> None:
        """Raises as `Fetcher.fetch`; where room is short, what is only spared makes room first."""

        def fetch() -> None:
            self._parts.fetcher.fetch(work_of(record.order), self._parts.store, lambda: self._wanted(record.order.work))

        try:
            fetch()
        except (NoRoom, OSError) as error:
            if not book.spared() or not (isinstance(error, NoRoom) or error.errno in NO_ROOM):
                raise
            self._collect(book, frozenset())
            fetch()

    def _stage(self, record: Record, life: Life) -> None:
        # Whatever comes of it, the bytes must be looked at again, not believed from before.
        life.fetched = None
        order = record.order
        if order.goal is None:
            raise Defect("cannot stage a removal: there is nothing to lay out")
        try:
            descriptor = self._descriptor(record)
            self._payload(descriptor.kind).stage(order.artifact, order.goal, descriptor)
        except Refused as error:
            life.refused = error.detail
        except (TidegateError, OSError) as error:
            self._troubled(life, error)
        else:
            life.checked[order.goal] = Checked("", self._parts.clock.monotonic())

    def _check(self, release: Release, record: Record, life: Life, book: Book) -> None:
        name, store = record.order.artifact, self._parts.store
        try:
            descriptor = read_descriptor(store, release)
            if descriptor is None:
                damage = "its signed descriptor is not on the device any more"
            else:
                payload = self._laid_out(record, book)
                changed = payload.changed(name, release, descriptor)
                damage = f"{', '.join(changed)} changed on the device" if changed else ""
                held = [store.recheck(file.sha256, file.length) for file in descriptor.files] if changed else []
                if held and all(held):
                    # Laid out as copies, of which the store still has the signed bytes: put right without the network.
                    payload.stage(name, release, descriptor)
                    damage = ""
        except (TidegateError, OSError) as error:
            damage = f"it cannot be read: {words(error)}"
        life.checked[release] = Checked(damage, self._parts.clock.monotonic())

    def _ask_leave(self, record: Record, life: Life) -> None:
        clock, order = self._parts.clock, record.order
        running = running_version(self._parts.payloads, order.artifact)
        life.asked = None
        sent, wall = clock.monotonic(), clock.now()
        try:
            answer = self._parts.leave.leave(LeaveRequest(order.work, running))
        except (TidegateError, OSError) as error:
            self._troubled(life, error)
        else:
            life.asked = Asked(answer, sent, wall)

    def _switch(self, step: Switch, record: Record, life: Life, book: Book) -> None:
        life.switches += 1
        if life.switches > SWITCHES_MAX:
            life.switch_failed = "cannot switch: something on the device changes it back each time"
            return
        try:
            self._laid_out(record, book).switch(record.order.artifact, step.to)
        except (TidegateError, OSError) as error:
            life.switch_failed = f"cannot switch: {words(error)}"
            life.switch_output = error.output if isinstance(error, NotTaken) else ""

    def _probe(self, step: RunProbe, record: Record, life: Life, book: Book) -> None:
        if self._parts.pause(step.delay_seconds):
            raise Stopped
        plan = record.order.probes[step.probe]
        try:
            artifact = self._laid_out(record, book).artifact(record.order.artifact)
            result = self._parts.prober.attempt(probe_of(plan), artifact)
            attempt = Attempt(step.probe, step.number, result.passed, result.output[-MAX_OUTPUT:])
        except (TidegateError, OSError, msgspec.MsgspecError) as error:
            attempt = Attempt(step.probe, step.number, False, words(error))
        life.attempts.append(attempt)

    def _restore(self, step: Restore, record: Record, life: Life, book: Book) -> None:
        try:
            self._laid_out(record, book).restore(record.order.artifact, step.to)
        except (TidegateError, OSError) as error:
            life.restore_failures += 1
            life.restore_trouble = words(error)

    def _clean(self, record: Record, life: Life, book: Book) -> None:
        # What cannot be removed now is removed after a later transaction; it must not hold this one up.
        life.cleaned = True
        name = record.order.artifact
        try:
            for payload in self._parts.payloads.values():
                # All of them: after a removal neither journal nor link says any more whose leavings these are.
                payload.forget(name, book.kept(name))
            self._collect(book, book.spared())
        except OSError as error:
            _log.warning("cannot clean up after %s: %s", record.order.work, words(error))

    def _collect(self, book: Book, spared: frozenset[Release]) -> None:
        """Remove contents that belong to no version kept or spared; raises `OSError`."""
        store = self._parts.store
        needed = spared.union(*(book.kept(name) for name in book.names()))
        store.collect(frozenset[str]().union(*(contents(store, release) for release in needed)))

    def _troubled(self, life: Life, error: Exception) -> None:
        life.trouble = words(error)
        life.trouble_until = self._parts.clock.monotonic() + TROUBLE_RETRY_SECONDS

    def _descriptor(self, record: Record) -> Descriptor:
        """The signed descriptor of the goal, checked against what was ordered.

        Raises:
            Refused: it is of another artifact or version.
            Unavailable: it is not in the content store.
        """
        order, goal = record.order, record.order.goal
        descriptor = None if goal is None else read_descriptor(self._parts.store, goal)
        if goal is None or descriptor is None:
            raise Unavailable(f"cannot read the descriptor of {order.artifact}: it was not fetched whole")
        if (descriptor.name, descriptor.version) != (order.artifact, goal.version):
            raise Refused(
                f"cannot apply {order.artifact} {goal.version}:"
                f" its descriptor is of {descriptor.name} {descriptor.version}"
            )
        return descriptor

    def _payload(self, kind: str) -> Payload:
        payload = self._parts.payloads.get(kind)
        if payload is None:
            raise Refused(f"cannot apply an artifact of kind {kind}: this agent does not know it")
        return payload

    def _refuse_other_kind(self, descriptor: Descriptor) -> None:
        """Two would run under one name, and the way back would be looked for among the wrong versions."""
        name, kind = descriptor.name, descriptor.kind
        for other, payload in self._parts.payloads.items():
            if other != kind and payload.facts(name).running is not None:
                raise Refused(
                    f"cannot apply {name} {descriptor.version} as a {kind}:"
                    f" {name} is a {other} on this device; remove that first"
                )

    def _laid_out(self, record: Record, book: Book) -> Payload:
        payload = payload_of(self._parts.payloads, record, book)
        if payload is None:
            raise Unavailable(f"cannot tell what kind of artifact {record.order.artifact} is")
        return payload


def _in_a_line(step: Tell) -> str:
    return plain(f"{step.state}: {step.reason}" if step.reason else step.state)


def words(error: Exception) -> str:
    """What went wrong, for people: our own sentence, or the operating system's with the file's name."""
    if isinstance(error, OSError):
        return f"{error.strerror or error}{f': {error.filename}' if error.filename else ''}"
    return error.detail if isinstance(error, TidegateError) else str(error)
