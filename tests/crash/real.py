"""The same executor over real files, and what must be true of the folders it leaves behind."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.crash.scenarios import PUBLISHED, REMOVE, V4, V5, V6, install, wants

from tidegate.agent import state
from tidegate.agent.execute import Executor, Waiting
from tidegate.agent.files import Files, RealFiles
from tidegate.agent.outbox import TERMINAL
from tidegate.agent.parts import Contents, Parts, ProbeResult
from tidegate.agent.transaction.book import Book, Slot
from tidegate.agent.view import View
from tidegate.testing.clock import FakeClock
from tidegate.testing.machine import Published, Violation
from tidegate.wire.device import DesiredState, LeaveAnswer, LeaveRequest, Probe, Work


@dataclass(frozen=True)
class Case:
    """`before` was installed first; then `work` is done, and `ends` says what may be reported and run."""

    name: str
    before: tuple[Published, ...]
    work: Work
    ends: dict[str, Published | None]
    bad: str = ""

    @property
    def desired(self) -> DesiredState:
        return wants(self.work)


CASES = (
    Case("first install", (), install(V6), {"healthy": V6, "rolled_back": None}),
    Case("update", (V4, V5), install(V6), {"healthy": V6, "rolled_back": V5}),
    Case("bad version", (V4, V5), install(V6), {"rolled_back": V5}, bad="6"),
    Case("bad first version", (), install(V6), {"rolled_back": None}, bad="6"),
    Case("revert from own bytes", (V4, V5), install(V4, "v1", "revert"), {"reverted": V4, "revert_failed": V5}),
    Case("bad revert", (V4, V5), install(V4, "v1", "revert"), {"revert_failed": V5}, bad="4"),
    Case("remove", (V4, V5), REMOVE, {"reverted": None, "revert_failed": V5}),
    Case("restore", (), install(V5, "s1", "restore"), {"healthy": V5, "rolled_back": None}),
)


class Outside:
    """A node that serves everything, and probes that dislike one version."""

    def __init__(self, bad: str = "", online: bool = True) -> None:
        self._bad = bad
        self._online = online

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        published = PUBLISHED[work.descriptor_sha256 or ""]
        store.put(published.release.descriptor_sha256, published.descriptor)
        for digest, data in published.files.items():
            if not store.has(digest):
                # In two parts, the second of them perhaps in another life.
                for chunk in (data[:3], data[3:]):
                    start = store.partial_length(digest)
                    if data[start:].startswith(chunk):
                        store.append(digest, chunk, len(data))
                store.finish(digest, len(data))

    def leave(self, request: LeaveRequest) -> LeaveAnswer:
        return LeaveAnswer(True)

    def reason(self) -> str:
        return ""

    def refusal(self, probe: Probe) -> str:
        return ""

    def attempt(self, probe: Probe, artifact: Path | None) -> ProbeResult:
        data = b"" if artifact is None else (artifact / "model.onnx").read_bytes()
        return ProbeResult(data != f"model {self._bad}".encode(), f"saw {data!r}")


def executor(
    root: Path, entry: str, bad: str = "", files: Files | None = None, clock: FakeClock | None = None
) -> Executor:
    files, outside = files or RealFiles(), Outside(bad)
    return Executor(
        Parts(
            journal=state.journal(root, files),
            outbox=state.outbox(root, files),
            store=state.store(root, files),
            payloads=state.payloads(root, files),
            fetcher=outside,
            prober=outside,
            leave=outside,
            inhibitor=outside,
            clock=clock or FakeClock(),
            entry=entry,
            pause=lambda _seconds: False,
        )
    )


def prepare(root: Path, case: Case) -> None:
    """The state folder as the installs of `case.before` leave it."""
    root.mkdir(mode=0o700)
    for number, published in enumerate(case.before):
        executor(root, f"before {number}").run(wants(install(published, f"before-{number}")))


def live(root: Path, case: Case, entry: str, files: Files | None = None) -> None:
    """One process life: what is in flight first, without the node, then what the node wants, to rest."""
    clock = FakeClock()
    one = executor(root, entry, case.bad, files, clock)
    one.run(None)
    for _ in range(20):
        waiting: Waiting = one.run(case.desired)
        if waiting.retry_seconds is None:
            break
        clock.advance(waiting.retry_seconds)
    if waiting.waiting_on:
        raise Violation(waiting.waiting_on)


def runs(root: Path) -> str | None:
    """The version that a workload sees now; None when there is nothing.

    Raises:
        Violation: it sees anything but a whole version.
    """
    current = root / "models" / "vad" / "current"
    if not current.is_symlink():
        return None
    data = (current / "model.onnx").read_bytes() if (current / "model.onnx").is_file() else b"nothing"
    for published in PUBLISHED.values():
        if data in published.files.values() and published.release.version == current.readlink().name.partition("@")[0]:
            return published.release.version
    raise Violation(f"a workload sees {data!r} at {current.readlink()}")


def sees_old_or_new(root: Path, case: Case) -> None:
    """At any instant."""
    before = case.before[-1].release.version if case.before else None
    if runs(root) not in (before, case.work.version):
        raise Violation(f"a workload sees {runs(root)}")


def judge(root: Path, case: Case, tidy: bool = True) -> None:
    """At rest; a disk that failed while it was cleaned may leave versions for a later transaction to remove."""
    book = state.journal(root).read()
    if not isinstance(book, Book) or book.records:
        raise Violation(f"the journal says {book}")
    reports = View(root).outbox.pending(500)
    items = [item for item in (reports.items if reports else ()) if item.work == case.work.id]
    terminal = [item for item in items if item.state in TERMINAL]
    if len(terminal) != 1 or terminal[0] is not items[-1] or len({item.state for item in items}) != len(items):
        raise Violation(f"told {[item.state for item in items]}")
    outcome = terminal[0].state
    if outcome not in case.ends or book.ended[case.work.id].outcome != outcome:
        raise Violation(f"{outcome}: {terminal[0].reason}")
    expected, slot = case.ends[outcome], book.slots.get("vad", Slot())
    if runs(root) != (expected.release.version if expected else None):
        raise Violation(f"after {outcome} runs {runs(root)}")
    if slot.current != (expected.release if expected else None):
        raise Violation(f"after {outcome} the journal says {slot}")
    kept = {f"{one.version}@{one.descriptor_sha256}" for one in (slot.current, slot.previous) if one}
    versions = root / "models" / "vad" / "versions"
    found = {path.name for path in versions.iterdir()} if versions.is_dir() else set()
    if not kept <= found or (tidy and found != kept):
        raise Violation(f"versions on the device: {sorted(found)}, not {sorted(kept)}")
    for path in (root / "content" / "whole").iterdir():
        if hashlib.sha256(path.read_bytes()).hexdigest() != path.name:
            raise Violation(f"content {path.name} is not whole")


def scratch() -> tempfile.TemporaryDirectory[str]:
    """In memory where there is such a place: flushing is what is counted here, not what is measured."""
    memory = Path("/dev/shm")
    return tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None)


def fresh(base: Path, target: Path) -> Path:
    shutil.rmtree(target, ignore_errors=True)
    shutil.copytree(base, target, symlinks=True)
    return target
