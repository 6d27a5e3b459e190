"""The parts of a simulated device (machine.py), behind the interfaces that the executor knows."""

from __future__ import annotations

import errno
import hashlib
from collections.abc import Callable, Collection
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate.agent import journal as journals
from tidegate.agent.journal import Damaged
from tidegate.agent.outbox import with_report
from tidegate.agent.parts import Contents, ProbeResult
from tidegate.agent.payloads.base import PayloadFacts
from tidegate.agent.transaction.book import Book
from tidegate.agent.transaction.model import Outcome, Phase, Release
from tidegate.errors import Refused, Unavailable, Untrusted
from tidegate.wire.descriptor import Descriptor
from tidegate.wire.device import LeaveAnswer, LeaveRequest, Probe, Report, Work

if TYPE_CHECKING:
    from tidegate.testing.machine import Machine


class Notes:
    """The journal."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def read(self) -> Book | Damaged | None:
        data = self._machine.visible.get("journal")
        return None if data is None else journals.decode(data)

    def settle(self) -> None:
        self._machine.flush("journal")

    def write(self, book: Book) -> None:
        machine = self._machine
        machine.journal_failing = machine.world.journal_fails(machine)
        if machine.journal_failing:
            raise OSError(errno.ENOSPC, "No space left on device")
        before = machine.book()
        for record in book.records:
            old = before.record(record.order.work)
            if record.phase is Phase.APPLYING and (old is None or old.phase is not Phase.APPLYING):
                machine.begins_applying(record)
        for record in before.records:
            outcome = record.outcome
            over = book.record(record.order.work) is None and outcome not in (None, Outcome.DROPPED)
            if over and outcome not in machine.box().told.get(record.order.work, ()):
                raise machine.violation(f"{record.order.work} is closed before its outcome is told")
        machine.show("journal", journals.encode(book))
        machine.flush("journal")


class Reports:
    """The outbox."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def settle(self) -> None:
        self._machine.flush("outbox")

    def told(self, work: str) -> frozenset[str]:
        self._machine.look()
        return frozenset(self._machine.box().told.get(work, ()))

    def add(self, report: Report) -> None:
        machine = self._machine
        if machine.world.outbox_fails(machine):
            raise OSError(errno.ENOSPC, "No space left on device")
        box = machine.box()
        if report.state not in box.told.get(report.work, ()):
            machine.show("outbox", with_report(box, report))
            machine.flush("outbox")


class Content:
    """The content store; only whole contents are modelled."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def _all(self) -> dict[str, bytes]:
        return dict(self._machine.visible.get("content", {}))

    def has(self, sha256: str) -> bool:
        return sha256 in self._all()

    def read(self, sha256: str, max_bytes: int) -> bytes:
        content = self._all()
        if sha256 not in content:
            raise FileNotFoundError(sha256)
        return content[sha256][: max_bytes + 1]

    def partial_length(self, sha256: str) -> int:
        return 0

    def append(self, sha256: str, chunk: bytes, length: int) -> None:
        raise Unavailable("cannot download in parts on a simulated device")

    def restart(self, sha256: str) -> None:
        raise Unavailable("cannot download in parts on a simulated device")

    def finish(self, sha256: str, length: int) -> None:
        raise Unavailable("cannot download in parts on a simulated device")

    def put(self, sha256: str, data: bytes) -> None:
        if hashlib.sha256(data).hexdigest() != sha256:
            raise Untrusted("cannot use content: another hash")
        if self.has(sha256):
            return
        self._machine.show("content", self._all() | {sha256: data})
        self._machine.flush("content")

    def recheck(self, sha256: str, length: int) -> bool:
        content = self._all()
        if self.has(sha256) and hashlib.sha256(content[sha256]).hexdigest() != sha256:
            self._machine.show("content", {one: data for one, data in content.items() if one != sha256})
        return self.has(sha256)

    def is_also(self, sha256: str, other: str, length: int) -> bool:
        raise Unavailable("cannot check a second hash on a simulated device")

    def collect(self, keep: Collection[str]) -> None:
        content = self._all()
        if not content.keys() <= set(keep):
            self._machine.show("content", {one: data for one, data in content.items() if one in keep})


class Model:
    """The payload: versions and `current`."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def names(self) -> tuple[str, ...]:
        parts = self._machine.visible
        return tuple(part.split(" ")[1] for part in parts if part.startswith("whole ") and parts[part])

    def facts(self, name: str) -> PayloadFacts:
        machine = self._machine
        machine.look()
        running = None if machine.foreign else machine.running(name)
        return PayloadFacts(running, machine.foreign, machine.visible.get(f"whole {name}", frozenset()))

    def settle(self, name: str) -> None:
        self._machine.flush(f"whole {name}")
        self._machine.flush(f"current {name}")

    def check(self, name: str, descriptor: Descriptor) -> None:
        if descriptor.kind != "model":
            raise Refused("cannot install it as a model")

    def laid_out(self, name: str) -> tuple[Release, ...]:
        return tuple(sorted(self.facts(name).whole, key=lambda one: one.version))

    def changed(self, name: str, release: Release, descriptor: Descriptor) -> tuple[str, ...]:
        rotten = release in self._machine.rotten()
        return tuple(file.name for file in descriptor.files if rotten)

    def refusal(self, name: str, release: Release) -> str:
        return ""

    def stage(self, name: str, release: Release, descriptor: Descriptor) -> None:
        machine = self._machine
        machine.must_be_verified(release)
        store = Content(machine)
        if not all(store.recheck(file.sha256, file.length) for file in descriptor.files):
            raise Untrusted("cannot stage: its bytes are not there")
        if release in machine.rotten():
            machine.show("rotten", machine.rotten() - {release})
            machine.flush("rotten")
        machine.show(f"whole {name}", machine.visible.get(f"whole {name}", frozenset()) | {release})
        machine.flush(f"whole {name}")

    def switch(self, name: str, to: Release | None) -> None:
        machine = self._machine
        machine.must_not_be_foreign()
        record = machine.in_trial(name)
        if record is None or record.order.goal != to:
            raise machine.violation(f"{name}: a switch that the journal does not stand for")
        machine.exposes(record)
        machine.seen.switches += 1
        if machine.world.switch_fails(machine.seen.switches):
            raise OSError(errno.EIO, "Input/output error")
        if to is not None:
            machine.must_be_verified(to)
        self._point(name, to)

    def restore(self, name: str, to: Release | None) -> None:
        machine = self._machine
        machine.must_not_be_foreign()
        machine.seen.restores += 1
        machine.seen.restores_unwritten += machine.journal_failing
        if machine.world.restore_fails(machine.seen.restores):
            raise OSError(errno.EIO, "Input/output error")
        self._point(name, to)

    def _point(self, name: str, to: Release | None) -> None:
        if to is not None:
            self._machine.must_be_as_signed(to)
        self._machine.show(f"current {name}", to)
        self._machine.flush(f"current {name}")

    def forget(self, name: str, keep: Collection[Release]) -> None:
        machine = self._machine
        whole = machine.visible.get(f"whole {name}", frozenset())
        kept = frozenset(one for one in whole if one in keep or one == machine.running(name))
        if kept != whole:
            machine.show(f"whole {name}", kept)
            machine.flush(f"whole {name}")

    def damaged(self, name: str) -> tuple[str, ...]:
        return ()

    def repair(self, name: str) -> tuple[str, ...]:
        return ()

    def artifact(self, name: str) -> Path | None:
        running = self._machine.running(name)
        return None if running is None else Path("/versions") / running.version


class Placed(Model):
    """A payload with a destination: two places and a workload to tell, so that a switch is several effects."""

    def facts(self, name: str) -> PayloadFacts:
        machine = self._machine
        found = super().facts(name)
        if machine.visible.get(f"moving {name}"):
            return replace(found, unsettled="the switch has not ended")
        there = machine.visible.get(f"at {name}")
        return replace(found, unsettled="" if there == machine.running(name) else "it was changed on the device")

    def settle(self, name: str) -> None:
        super().settle(name)
        self._machine.flush(f"moving {name}")
        self._machine.flush(f"at {name}")

    def _point(self, name: str, to: Release | None) -> None:
        machine = self._machine
        machine.show(f"moving {name}", True)
        machine.flush(f"moving {name}")
        machine.show(f"at {name}", to)
        machine.flush(f"at {name}")
        super()._point(name, to)
        machine.reads[name] = to
        machine.effect(f"{name} reloaded")
        if to is not None and machine.world.reload_fails(to.version):
            raise OSError(errno.EIO, "the reload failed")
        machine.show(f"moving {name}", False)
        machine.flush(f"moving {name}")
        if to is not None and machine.world.meddles(to.version):
            machine.show(f"at {name}", None)
            machine.flush(f"at {name}")


class Outside:
    """Node, network, probes and the device's owner, as the scenario's `World` wants them."""

    def __init__(self, machine: Machine) -> None:
        self._machine = machine

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        machine, asked = self._machine, self._machine.seen.fetches
        machine.seen.fetches += 1
        how = machine.world.fetch(asked)
        if how == "unreachable":
            raise Unavailable("cannot reach the node")
        if how == "untrusted":
            raise Untrusted("cannot verify: the signature does not match")
        if how == "refused":
            raise Refused("cannot apply: the hardware does not fit")
        published = machine.world.published[work.descriptor_sha256 or ""]
        store.put(published.release.descriptor_sha256, published.descriptor)
        for digest, data in published.files.items():
            store.put(digest, data)
        machine.seen.verified.add(published.release)

    def leave(self, request: LeaveRequest) -> LeaveAnswer:
        machine, asked = self._machine, self._machine.seen.leaves
        machine.seen.leaves += 1
        sent = machine.clock.monotonic()
        machine.clock.advance(machine.world.leave_takes_seconds(asked))
        answer = machine.world.leave(asked)
        if answer.granted:
            machine.seen.leave_at[request.work] = sent
        machine.effect("leave answered")
        return answer

    def reason(self) -> str:
        machine = self._machine
        machine.last_inhibition = machine.world.inhibited(machine.seen.inhibitions)
        machine.seen.inhibitions += 1
        return machine.last_inhibition

    def pause(self, seconds: float) -> bool:
        self._machine.seen.pauses.append(seconds)
        self._machine.clock.advance(seconds)
        return False

    def refusal(self, probe: Probe) -> str:
        return self._machine.world.refusal

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        machine = self._machine
        version = "" if artifact is None else artifact.name
        label = getattr(probe, "name", probe.__class__.__name__)
        machine.probing(version)
        machine.effect("probe")
        made = sum(1 for one in machine.seen.probes if one[:2] == (label, version))
        machine.seen.probes.append((label, version, machine.lives))
        passed = machine.world.probe(label, version, made)
        return ProbeResult(passed, f"{label} says {passed} of {version}")
