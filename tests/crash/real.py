"""The same executor over real files, and what must be true of the folders it leaves behind."""

from __future__ import annotations

import hashlib
import shutil
import stat
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
from tidegate.agent.payloads.base import NotTaken
from tidegate.agent.payloads.owner import Owner
from tidegate.agent.settings import Allow
from tidegate.agent.transaction.book import Book, Slot
from tidegate.agent.view import View
from tidegate.testing.clock import FakeClock
from tidegate.testing.machine import Published, Violation, publish
from tidegate.wire.config import ConfigOptions, Reload, UnitReload
from tidegate.wire.device import DesiredState, LeaveAnswer, LeaveRequest, Probe, Work


@dataclass(frozen=True)
class Case:
    """`before` was installed first; then `work` is done, and `ends` says what may be reported and run."""

    name: str
    before: tuple[Published, ...]
    work: Work
    ends: dict[str, Published | None]
    bad: str = ""
    reload_fails: str = ""

    @property
    def desired(self) -> DesiredState:
        return wants(self.work)


#: Configs with a destination, where something else was before: their way is longer than one rename.
DESTINATION = "/etc/vad.conf"
BEFORE = b"from before"
_OPTIONS = ConfigOptions(DESTINATION, "0640", UnitReload("vad.service"))
C4, C5, C6 = (publish("vad", version, b"model " + version.encode(), config=_OPTIONS) for version in ("4", "5", "6"))
EVERY = PUBLISHED | {one.release.descriptor_sha256: one for one in (C4, C5, C6)}

CASES = (
    Case("first install", (), install(V6), {"healthy": V6, "rolled_back": None}),
    Case("update", (V4, V5), install(V6), {"healthy": V6, "rolled_back": V5}),
    Case("bad version", (V4, V5), install(V6), {"rolled_back": V5}, bad="6"),
    Case("bad first version", (), install(V6), {"rolled_back": None}, bad="6"),
    Case("revert from own bytes", (V4, V5), install(V4, "v1", "revert"), {"reverted": V4, "revert_failed": V5}),
    Case("bad revert", (V4, V5), install(V4, "v1", "revert"), {"revert_failed": V5}, bad="4"),
    Case("remove", (V4, V5), REMOVE, {"reverted": None, "revert_failed": V5}),
    Case("restore", (), install(V5, "s1", "restore"), {"healthy": V5, "rolled_back": None}),
    Case("config update", (C4, C5), install(C6), {"healthy": C6, "rolled_back": C5}),
    Case("bad config", (C4, C5), install(C6), {"rolled_back": C5}, bad="6"),
    Case("bad first config", (), install(C6), {"rolled_back": None}, bad="6"),
    Case("config that is not taken", (C5,), install(C6), {"rolled_back": C5}, reload_fails="6"),
    Case("config removed", (C4, C5), REMOVE, {"reverted": None, "revert_failed": C5}),
)

CONFIG_CASES = tuple(case.name for case in CASES if "config" in case.name)
#: Enough where every step of a case is taken: the others differ in how they end.
LONG_CASES = tuple(case for case in CASES if case.name not in CONFIG_CASES[1:3])


class Workload:
    """What reads the config at its destination, and dislikes one version of it."""

    def __init__(self, root: Path, dislikes: str) -> None:
        self._root = root
        self._dislikes = dislikes

    def refusal(self, reload: Reload) -> str:
        return ""

    def before(self, reload: Reload) -> str:
        return "active"

    def ended(self, reload: Reload, before: str) -> str:
        return ""

    def reload(self, reload: Reload, before: str) -> None:
        if at_destination(self._root) == f"model {self._dislikes}".encode():
            raise NotTaken("the reload of vad.service ended with exit status 1")


def at_destination(root: Path) -> bytes | None:
    path = root / DESTINATION[1:]
    return path.read_bytes() if path.is_file() else None


class Outside:
    """A node that serves everything, and probes that dislike one version."""

    def __init__(self, bad: str = "", online: bool = True, root: Path = Path("/")) -> None:
        self._bad = bad
        self._root = root
        self._online = online

    def fetch(self, work: Work, store: Contents, wanted: Callable[[], bool]) -> None:
        published = EVERY[work.descriptor_sha256 or ""]
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
        if artifact == Path(DESTINATION):
            data = at_destination(self._root)
        else:
            data = b"" if artifact is None else (artifact / "model.onnx").read_bytes()
        return ProbeResult(data != f"model {self._bad}".encode(), f"saw {data!r}")


def executor(
    root: Path, entry: str, bad: str = "", files: Files | None = None, clock: FakeClock | None = None,
    reload_fails: str = "",
) -> Executor:  # fmt: skip
    files, outside = files or RealFiles(), Outside(bad, root=root)
    allow = Allow(destination_prefixes=("/etc",), units=("vad.service",))
    owner = Owner(lambda: allow, tuple, Workload(root, reload_fails), root)
    return Executor(
        Parts(
            journal=state.journal(root, files),
            outbox=state.outbox(root, files),
            store=state.store(root, files),
            payloads=state.payloads(root, files, owner),
            fetcher=outside,
            prober=outside,
            leave=outside,
            inhibitor=outside,
            clock=clock or FakeClock(),
            entry=entry,
            pause=lambda _seconds: False,
        )
    )


def prepare(root: Path, case: Case, files: Files | None = None) -> None:
    """The state folder as the installs of `case.before` leave it."""
    root.mkdir(mode=0o700)
    if is_config(case):
        (root / "etc").mkdir()
        (root / DESTINATION[1:]).write_bytes(BEFORE)
    for number, published in enumerate(case.before):
        executor(root, f"before {number}", files=files).run(wants(install(published, f"before-{number}")))


def live(root: Path, case: Case, entry: str, files: Files | None = None) -> None:
    """One process life: what is in flight first, without the node, then what the node wants, to rest."""
    clock = FakeClock()
    one = executor(root, entry, case.bad, files, clock, case.reload_fails)
    one.run(None)
    for _ in range(20):
        waiting: Waiting = one.run(case.desired)
        if waiting.retry_seconds is None:
            break
        clock.advance(waiting.retry_seconds)
    if waiting.waiting_on:
        raise Violation(waiting.waiting_on)


def is_config(case: Case) -> bool:
    return case.name in CONFIG_CASES


def runs(root: Path) -> str | None:
    """The version that a workload sees now; None when there is nothing.

    Raises:
        Violation: it sees anything but a whole version.
    """
    if (root / "etc").is_dir():
        data = at_destination(root)
        if data == BEFORE:
            return None
        found = [one.release.version for one in (C4, C5, C6) if data in one.files.values()]
        if not found or stat.S_IMODE((root / DESTINATION[1:]).stat().st_mode) != 0o640:
            raise Violation(f"a workload sees {data!r}")
        return found[0]
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
    versions = root / ("configs" if is_config(case) else "models") / "vad" / "versions"
    if is_config(case):
        left = sorted(path.name for path in (root / "etc").iterdir())
        own = sorted(path.name for path in (versions.parent / "own").glob("*"))
        if tidy and (left != ["vad.conf"] or {"moving.json", "tried.json"} & {*own} or (slot.current is None and own)):
            raise Violation(f"left behind: {left} {own}")
    hidden = sorted(path.name for path in versions.parent.glob(".*"))
    if tidy and hidden:
        raise Violation(f"left behind: {hidden}")
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
