"""A disk that is full, broken or read-only, at every durable step, for once or for good; and one without hard links."""

from __future__ import annotations

import errno
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.crash.real import (
    CASES,
    LONG_CASES,
    Case,
    Outside,
    executor,
    fresh,
    is_config,
    judge,
    live,
    prepare,
    runs,
    scratch,
    sees_old_or_new,
)
from tests.crash.scenarios import V4, V5, V6, install, wants

from tidegate.agent import state
from tidegate.agent.execute import Executor, Waiting
from tidegate.agent.files import RealFiles
from tidegate.agent.outbox import TERMINAL
from tidegate.agent.parts import Contents, NoRoom, ProbeResult
from tidegate.agent.view import View
from tidegate.testing.clock import FakeClock
from tidegate.testing.machine import Violation
from tidegate.wire.device import Probe, Work

#: What the disk says, and whether only once (EIO of one sector) or from then on, in this life.
FAULTS = ((errno.ENOSPC, True), (errno.EROFS, True), (errno.EIO, False), (errno.ENOSPC, False))
ROUNDS = 8


class FaultyFiles:
    """Step `at`, and with `lasting` every later one, fails with `error`; a full disk takes half of what is written."""

    def __init__(self, at: int, error: int, lasting: bool) -> None:
        self._at, self._error, self._lasting = at, error, lasting
        self._real = RealFiles()
        self.steps = 0

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._real, name)

        def step(*arguments: Any) -> None:
            self.steps += 1
            # A full disk can still rename, remove and flush.
            grows = name in ("write", "append", "create", "copy", "make_folder", "symlink", "link")
            due = self.steps >= self._at if self._lasting else self.steps == self._at
            if due and (grows or self._error != errno.ENOSPC):
                if self._error == errno.ENOSPC and name in ("write", "append", "create"):
                    path, data, *more = arguments
                    method(path, data[: len(data) // 2], *more)
                raise OSError(self._error, os.strerror(self._error), str(arguments[0]))
            method(*arguments)

        return step


def faulty_life(root: Path, case: Case, files: FaultyFiles) -> Waiting:
    """It may stop anywhere, with a reason; it may not raise, and may not show anything half-applied."""
    clock = FakeClock()
    one = executor(root, "faulty", case.bad, files, clock, case.reload_fails)  # type: ignore[arg-type]
    waiting = one.run(None)
    for _ in range(ROUNDS):
        waiting = one.run(case.desired)
        sees_old_or_new(root, case)
        if waiting.retry_seconds is None:
            break
        clock.advance(waiting.retry_seconds)
    return waiting


def judge_failed(root: Path, case: Case) -> None:
    """Where the device could neither go on nor back it says so, and what it says that runs is what runs."""
    pending = View(root).outbox.pending(500)
    items = [item for item in (pending.items if pending else ()) if item.work == case.work.id]
    if items[-1].state not in ("failed", "rolled_back", "revert_failed") or not items[-1].reason:
        judge(root, case, tidy=False)
        return
    if [item.state for item in items if item.state in TERMINAL] != [items[-1].state]:
        raise Violation(f"told {[item.state for item in items]}")
    if items[-1].running_version != runs(root):
        raise Violation(f"told that {items[-1].running_version} runs, and {runs(root)} does")
    if (waiting := executor(root, "last", case.bad).run(case.desired).waiting_on) != "":
        raise Violation(f"not at rest: {waiting}")


def break_at(base: Path, folder: str, case: Case, at: int, error: int, lasting: bool) -> bool:
    """Whether there was such a step."""
    root = fresh(base, Path(folder) / "state")
    files = FaultyFiles(at, error, lasting)
    words = f"{case.name}, {os.strerror(error)}{' from' if lasting else ' at'} step {at}"
    try:
        waiting = faulty_life(root, case, files)
        reached = files.steps >= at
        pending = View(root).outbox.pending(500)
        over = pending is not None and pending.items[-1].state in TERMINAL and pending.items[-1].work == case.work.id
        if not over and lasting and reached and not waiting.waiting_on:
            raise Violation("it does not say why it does not go on")
        live(root, case, "mended")
        judge_failed(root, case)
    except (AssertionError, OSError) as broken:
        raise AssertionError(f"{words}: {broken!r}") from broken
    return reached


def sweep(case: Case, stride: int) -> int:
    points = 0
    with scratch() as folder:
        base = Path(folder) / "base"
        prepare(base, case)
        for error, lasting in FAULTS:
            at = 1
            while break_at(base, folder, case, at, error, lasting):
                at, points = at + stride, points + 1
    return points


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_disk_trouble_at_some_steps(case: Case, covered: Callable[[str, int], None]) -> None:
    covered("disk full, broken or read-only, sampled", sweep(case, stride=40 if is_config(case) else 13))


@pytest.mark.slow
@pytest.mark.parametrize("case", LONG_CASES, ids=lambda one: one.name)
def test_disk_trouble_at_many_more_steps(case: Case, covered: Callable[[str, int], None]) -> None:
    covered("disk full, broken or read-only, every third step", sweep(case, stride=3))


class FillingFiles(FaultyFiles):
    """Every disk of the device is full from `full` on: nothing can be made or written, only renamed and removed."""

    def __init__(self) -> None:
        super().__init__(0, errno.ENOSPC, lasting=True)

    def fill(self, full: bool) -> None:
        self._at = 0 if full else sys.maxsize


def fails_on_a_full_disk(one: Executor, files: FillingFiles) -> None:
    """The first probe fills the disks."""
    attempt = one._parts.prober.attempt

    def filling(probe: Probe, artifact: Path | None) -> ProbeResult:
        files.fill(True)
        return attempt(probe, artifact)

    one._parts.prober.attempt = filling  # type: ignore[method-assign]


#: Whose way back is a rename of what lies ready.
TAKEN_BACK = tuple(case for case in CASES if case.name in ("bad version", "bad first version", "bad revert",
                                                           "bad config", "bad first config"))  # fmt: skip


@pytest.mark.parametrize("case", TAKEN_BACK, ids=lambda one: one.name)
def test_going_back_needs_no_room_on_any_disk(case: Case) -> None:
    """While nothing can be written what runs is taken back; that is told when there is room again."""
    with scratch() as folder:
        root, clock, files = Path(folder) / "state", FakeClock(), FillingFiles()
        prepare(root, case)
        files.fill(False)
        one = executor(root, "full", case.bad, files, clock)  # type: ignore[arg-type]
        fails_on_a_full_disk(one, files)
        expected = case.before[-1].release.version if case.before else None
        waiting = one.run(case.desired)
        assert "No space left on device" in waiting.waiting_on
        assert runs(root) == expected
        # Another life, on disks that are still full, leaves it so.
        files.fill(True)
        again = executor(root, "still full", case.bad, files, clock)  # type: ignore[arg-type]
        again.run(None)
        assert runs(root) == expected
        live(root, case, "room again")
        judge(root, case)


class Unlinkable(RealFiles):
    def link(self, source: Path, target: Path) -> None:
        raise OSError(errno.EPERM, "Operation not permitted")


@pytest.mark.parametrize("case", CASES, ids=lambda one: one.name)
def test_without_hard_links_versions_are_copies(tmp_path: Path, case: Case) -> None:
    root = tmp_path / "state"
    prepare(root, case, Unlinkable())
    live(root, case, "only", Unlinkable())
    judge(root, case)
    laid_out = list((root / "models").glob("vad/versions/*/model.onnx"))
    assert all(path.stat().st_nlink == 1 and path.stat().st_mode & 0o777 == 0o444 for path in laid_out)


def test_a_copy_that_has_changed_is_put_right_from_the_store(tmp_path: Path) -> None:
    """The way back needs no network, not even to be mended, where the signed bytes lie twice."""
    case = next(one for one in CASES if one.name == "bad version")
    root = tmp_path / "state"
    root.mkdir(mode=0o700)
    executor(root, "before", files=Unlinkable()).run(wants(install(V5, "before")))
    laid_out = root / "models" / "vad" / "versions" / f"5@{V5.release.descriptor_sha256}" / "model.onnx"
    laid_out.chmod(0o600)
    laid_out.write_bytes(b"model ?")
    live(root, case, "only", Unlinkable())
    assert laid_out.read_bytes() == b"model 5"
    assert runs(root) == "5"


def test_what_is_spared_makes_room_when_room_is_short(tmp_path: Path) -> None:
    """Two versions were fetched for work that was taken back; the next download finds no room, then finds it."""
    root = tmp_path / "state"
    root.mkdir(mode=0o700)
    executor(root, "before").run(wants(install(V5, "before")))
    deny = executor(root, "waits")
    deny._parts.leave.leave = lambda _: (_ for _ in ()).throw(NoRoom("no leave"))  # type: ignore[method-assign]
    deny.run(wants(install(V6)))
    deny.run(wants())
    store = state.store(root)
    spared = next(iter(V6.files))
    assert store.has(spared)
    assert not (root / "models" / "vad" / "versions" / f"6@{V6.release.descriptor_sha256}").exists()

    short = executor(root, "short")
    fetch, asked = short._parts.fetcher.fetch, []

    def no_room_at_first(work: Work, contents: Contents, wanted: Callable[[], bool]) -> None:
        asked.append(store.has(spared))
        if asked == [True]:
            raise NoRoom("cannot fetch: too little room")
        fetch(work, contents, wanted)

    short._parts.fetcher.fetch = no_room_at_first  # type: ignore[method-assign]
    assert short.run(wants(install(V4, "r3"))).waiting_on == ""
    assert asked == [True, False]
    assert runs(root) == "4"
    assert isinstance(short._parts.fetcher, Outside)
