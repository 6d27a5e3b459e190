"""Taking everything out of force, as a decommissioned device does that is told to: cut off anywhere, it gets there."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from tests.crash import real
from tests.crash.real import BEFORE, at_destination, fresh, scratch
from tests.crash.scenarios import DENIED, PUBLISHED, UPDATE, V4, V5, bad
from tests.crash.unsynced import Loss, UnsyncedFiles

from tidegate.agent import state
from tidegate.agent.decommission import take_out
from tidegate.testing.machine import Crash, Crashed, Machine, Violation, World
from tidegate.testing.machine_parts import Model, Notes, Placed
from tidegate.wire.device import LeaveAnswer

PLAIN = World(PUBLISHED)
KINDS: tuple[Crash, ...] = ("death", "power")
CONFIG = next(case for case in real.CASES if case.name == "config removed")
LOSSES: tuple[Loss, ...] = ("all", "contents", "some names")
STRIDE = 5
#: What the world is like, and at which effect of an update the device is told; None: nothing is under way.
CASES = {
    "at rest": (PLAIN, None),
    "with a destination": (replace(PLAIN, destination=True), None),
    "while the new version is probed": (PLAIN, "probe"),
    "while a bad version is probed": (replace(PLAIN, probe=bad("6")), "probe"),
    "in the middle of a switch": (replace(PLAIN, destination=True), "at vad seen"),
    "while a first version cannot be fetched": (replace(PLAIN, fetch=lambda _: "unreachable"), "rest"),
    "while an update waits for leave": (replace(PLAIN, leave=lambda n: DENIED if n < 1 else LeaveAnswer(True)), "rest"),
}
Crasher = Callable[[int, str], Crash | None]


def told(world: World, when: str | None, crash: Crasher) -> tuple[Machine, tuple[str, ...]]:
    """Install, begin an update until `when`, and from there take everything out, in as many lives as it needs.

    Where nothing can be fetched nothing was installed before.
    """
    begun = [when is None]
    counted = [0]

    def crashes(_effect: int, name: str) -> Crash | None:
        if not begun[0]:
            begun[0] = name == when
            return "death" if begun[0] else None
        counted[0] += 1
        return crash(counted[0], name)

    machine = Machine(world, crashes)
    if world.fetch(0) == "good":
        machine.installed("vad", V5, V4)
    if when is not None:
        try:
            machine.life().run(UPDATE)
        except Crashed:
            assert begun[0]
    begun[0] = True
    payloads = {"model": Placed(machine) if world.destination else Model(machine)}

    def pause(seconds: float) -> bool:
        machine.clock.advance(seconds)
        return False

    while True:
        try:
            executor = machine.life()
            return machine, take_out(executor, Notes(machine), payloads, f"life {machine.lives}", pause)
        except Crashed:
            continue


class PowerGone(BaseException):
    pass


def power_goes_at(point: int) -> Callable[[int], None]:
    def before(step: int) -> None:
        if step == point:
            raise PowerGone

    return before


def taken_out(root: Path, life: str, files: UnsyncedFiles | None = None) -> tuple[str, ...]:
    one = real.executor(root, life, files=files)
    return take_out(one, state.journal(root), state.payloads(root), life, lambda _seconds: True)


def gone(machine: Machine) -> None:
    book = machine.book()
    left = (machine.running("vad"), machine.visible.get("at vad"), machine.reads.get("vad"))
    if left != (None, None, None) or machine.durable.get("current vad") is not None:
        raise Violation(f"still in force: {left}")
    if machine.visible.get("whole vad") or book.slots or book.records:
        raise Violation(f"left behind: {book}")


@pytest.mark.parametrize("case", CASES)
def test_nothing_stays_in_force(case: str) -> None:
    machine, troubles = told(*CASES[case], lambda _n, _name: None)
    assert troubles == ()
    gone(machine)


@pytest.mark.parametrize("case", CASES)
def test_cut_off_after_every_effect(case: str, covered: Callable[[str, int], None]) -> None:
    world, when = CASES[case]
    points, number, reached = 0, 1, True
    while reached:
        reached = False
        for kind in KINDS:
            hits: list[int] = []

            def crash(
                effect: int, _name: str, at: int = number, kind: Crash = kind, hits: list[int] = hits
            ) -> Crash | None:
                if effect == at:
                    hits.append(at)
                return kind if effect == at else None

            machine, troubles = told(world, when, crash)
            try:
                assert troubles == ()
                gone(machine)
            except AssertionError as broken:
                raise Violation(f"{case}, {kind} after effect {number}: {broken}") from broken
            reached |= bool(hits)
            points += 1
        number += 1
    covered("simulated machine, decommissioned", points)


def test_a_removal_that_uses_up_its_trials_is_begun_anew() -> None:
    """The power goes at each of the first five switches to nothing: the ceiling against loops is not the end of it."""
    died: list[int] = []

    def crash(effect: int, name: str) -> Crash | None:
        if name == "current vad seen" and len(died) < 5:
            died.append(effect)
            return "power"
        return None

    machine, troubles = told(PLAIN, None, crash)
    assert troubles == ()
    assert len(died) == 5
    gone(machine)


def test_what_cannot_be_removed_is_said_and_goes_on_running() -> None:
    machine, troubles = told(replace(PLAIN, switch_fails=lambda _: True), None, lambda _n, _name: None)
    assert len(troubles) == 1
    assert troubles[0].startswith("cannot take vad out of force: cannot switch")
    assert machine.running("vad") == V5.release


def test_the_inhibitor_is_waited_for() -> None:
    world = replace(PLAIN, inhibited=lambda count: "the belt runs" if count < 20 else "")
    machine, troubles = told(world, None, lambda _n, _name: None)
    assert troubles == ()
    assert machine.clock.monotonic() >= 5
    gone(machine)


@pytest.mark.parametrize("loss", LOSSES)
def test_the_owners_file_is_back_wherever_the_power_goes(loss: Loss, covered: Callable[[str, int], None]) -> None:
    """A config's removal over real files; the power goes before a change, and a later start goes on."""
    with scratch() as folder:
        base, step = Path(folder) / "base", 1
        real.prepare(base, CONFIG)
        while True:
            root = fresh(base, Path(folder) / "first")
            files = UnsyncedFiles(root, power_goes_at(step))
            try:
                taken_out(root, "one", files)
            except PowerGone:
                shutil.rmtree(Path(folder) / "second", ignore_errors=True)
                root = files.survivors(Path(folder) / "second", loss)
                assert at_destination(root) in (BEFORE, b"model 5"), f"{loss}, step {step}"
                assert taken_out(root, "two") == (), f"{loss}, step {step}"
            else:
                break
            left = sorted(path.name for path in (root / "etc").iterdir())
            assert (at_destination(root), left) == (BEFORE, ["vad.conf"]), f"{loss}, step {step}"
            assert not any(state.payloads(root)["config"].facts("vad").whole), f"{loss}, step {step}"
            step += STRIDE
    assert step > 20
    covered("real files, decommissioned", step // STRIDE)
