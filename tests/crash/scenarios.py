"""Scenarios of the update transaction on a simulated machine, and what must be true at rest after any crash."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from tidegate.agent.execute import Waiting
from tidegate.agent.outbox import TERMINAL
from tidegate.testing.machine import Crash, Machine, Published, Violation, World, publish
from tidegate.wire.device import DesiredState, ExecProbe, LeaveAnswer, Requirement, Work

V4, V5, V6 = (publish("vad", version, b"model " + version.encode()) for version in ("4", "5", "6"))
NEEDY = publish("vad", "7", b"model 7", (Requirement("asr", ">=2"),))
PUBLISHED = {one.release.descriptor_sha256: one for one in (V4, V5, V6, NEEDY)}
ORDER = ["downloading", "verifying", "ready", "applying", "probing"]
PROBES = (
    ExecProbe("loads", attempts=2, initial_delay_seconds=7, interval_seconds=3),
    ExecProbe("answers", attempts=3, initial_delay_seconds=11, interval_seconds=2),
)

Crasher = Callable[[int, str], Crash | None]


def install(version: Published, work: str = "r1", kind: str = "install") -> Work:
    release = version.release
    path = f"default/vad/{release.version}/descriptor.json"
    return Work(work, kind, "vad", release.version, path, release.descriptor_sha256, PROBES)  # type: ignore[arg-type]


REMOVE = Work("v1", "remove", "vad")


@dataclass(frozen=True)
class Scenario:
    """`script` is what the node wants, one after the other. `ends` maps work ids to the outcomes that may be reported
    (the first is the one without a crash), `runs` to what may then run. `never_in_force`: what the device says of a
    version that comes to be current and never whole in its place."""

    name: str
    script: tuple[DesiredState, ...]
    ends: dict[str, tuple[str, ...]]
    runs: dict[str, Published | None]
    before: tuple[Published | None, Published | None] = (V5, None)
    world: World = World(PUBLISHED)  # noqa: RUF009 - immutable
    prepare: Callable[[Machine], None] = lambda _: None
    check: Callable[[Machine], None] = lambda _: None
    waits: str = ""
    never_in_force: str = ""


def wants(*work: Work) -> DesiredState:
    return DesiredState(work)


def bad(version: str) -> Callable[[str, str, int], bool]:
    return lambda _probe, running, _count: running != version


def play(scenario: Scenario, crash: Crasher = lambda _n, _name: None) -> Machine:
    """Run a scenario to its end and judge it."""
    machine = Machine(scenario.world, crash)
    current, previous = scenario.before
    if current is not None:
        machine.installed("vad", current, previous)
    scenario.prepare(machine)
    waiting = Waiting()
    for desired in scenario.script:
        waiting = machine.run(desired)
    judge(scenario, machine, waiting)
    rest = (len(machine.seen.probes), machine.seen.switches, machine.seen.restores, machine.visible["journal"])
    machine.run(scenario.script[-1])
    if rest != (len(machine.seen.probes), machine.seen.switches, machine.seen.restores, machine.visible["journal"]):
        raise Violation("work that is over was taken up again")
    scenario.check(machine)
    return machine


def judge(scenario: Scenario, machine: Machine, waiting: Waiting) -> None:
    book, box = machine.book(), machine.box()
    if scenario.waits not in waiting.waiting_on or bool(scenario.waits) != bool(waiting.waiting_on):
        raise Violation(f"waits on {waiting.waiting_on!r}, not on {scenario.waits!r}")
    if not scenario.waits and book.records:
        raise Violation("a record is open at rest")
    sequences = [item.sequence for item in box.items]
    if sequences != sorted(set(sequences)):
        raise Violation("sequences do not grow")
    outcome = ""
    for work, allowed in scenario.ends.items():
        told = [item for item in box.items if item.work == work]
        terminal = [item for item in told if item.state in TERMINAL]
        if len(terminal) != (1 if allowed else 0) or (terminal and terminal[0] is not told[-1]):
            raise Violation(f"{work}: outcomes {[item.state for item in terminal]}")
        states = [item.state for item in told if item.state not in TERMINAL]
        if states != [state for state in ORDER if state in states]:
            raise Violation(f"{work}: told in the order {states}")
        if not terminal:
            continue
        outcome = terminal[0].state
        if outcome not in allowed:
            raise Violation(f"{work}: {outcome}, not one of {allowed}: {terminal[0].reason}")
        if book.ended[work].outcome != outcome:
            raise Violation(f"{work}: the journal says {book.ended[work].outcome}, the node was told {outcome}")
        running = None if machine.foreign else machine.running("vad")
        if work == list(scenario.ends)[-1] and terminal[0].running_version != (running.version if running else None):
            raise Violation(f"{work}: the report says that {terminal[0].running_version} runs")
    expected = scenario.runs[outcome]
    running = machine.running("vad")
    if running != (expected.release if expected else None):
        raise Violation(f"after {outcome or 'nothing'} runs {running}")
    if machine.world.destination and not {machine.reads.get("vad"), machine.visible.get("at vad")} <= {running}:
        raise Violation(f"{running} runs, a workload reads {machine.reads}, at its destination is another")
    slot = book.slots.get("vad")
    if outcome != "failed" and (slot.current if slot else None) != running:
        raise Violation(f"the journal says {slot}, and {running} runs")
    if outcome in ("healthy", "reverted") and slot is not None and slot.previous != way_back(scenario, slot.current):
        raise Violation(f"the previous version is {slot.previous}")
    if book.records:
        return
    kept = {release for release in ((slot.current, slot.previous) if slot else ()) if release} | (
        {running} if running else set()
    )
    if machine.visible.get("whole vad", frozenset()) - kept:
        raise Violation("versions that nobody needs are left")
    if not kept - {running} <= machine.visible.get("whole vad", frozenset()):
        raise Violation("the previous version is gone")


def way_back(scenario: Scenario, current: object) -> object:
    before = scenario.before[0]
    if before is None:
        return None
    if before.release == current:
        return scenario.before[1].release if scenario.before[1] else None
    return before.release


def needs_every_attempt(machine: Machine) -> None:
    """Two attempts of the first probe were not needed, all three of the second were."""
    made = [label for label, _, life in machine.seen.probes if life == machine.seen.probes[-1][2]]
    if made != ["loads"] * 2 + ["answers"] * 3 and machine.lives == 2:
        raise Violation(f"rolled back after {made}")


def never_probed(machine: Machine) -> None:
    """What never came to an end is not looked at, however often it was begun, in whatever life."""
    if found := [one for one in machine.seen.probes if one[1] == "6"]:
        raise Violation(f"a switch that has not ended was probed: {found}")


def never_probed_alone(machine: Machine) -> None:
    """A death between the switch and the other's hand lets the goal be in force for once; else as above."""
    if machine.lives <= 2:
        never_probed(machine)


def once(machine: Machine) -> None:
    if machine.lives <= 2 and machine.seen.pauses != [7, 11]:
        raise Violation(f"paused {machine.seen.pauses}")
    if machine.lives <= 2 and (machine.seen.leaves, machine.seen.fetches) != (1, 1):
        raise Violation(f"asked leave {machine.seen.leaves} times, fetched {machine.seen.fetches} times")


def never_fetched(machine: Machine) -> None:
    if machine.seen.fetches:
        raise Violation("fetched what the device has")


def never_begun(machine: Machine) -> None:
    if machine.seen.switches or machine.seen.leaves or machine.seen.probes:
        raise Violation("something was begun")


def restored_unwritten(machine: Machine) -> None:
    """While the journal could not be written, the way back was gone nevertheless."""
    if machine.lives <= 2 and not machine.seen.restores_unwritten:
        raise Violation("the way back waited for the journal")


def rotten(*versions: Published) -> Callable[[Machine], None]:
    def rot(machine: Machine) -> None:
        for version in versions:
            machine.rot(version)

    return rot


def fetched_again(machine: Machine) -> None:
    if not machine.seen.fetches:
        raise Violation("bytes that have changed were used")


def fetched_once(machine: Machine) -> None:
    """What was downloaded before the node took the work back is still there when it comes again."""
    changes = machine.seen.events.count("content seen")
    if machine.lives <= 3 and changes != 2:
        raise Violation(f"the store was changed {changes} times, not by one descriptor and one file")


def make_foreign(machine: Machine) -> None:
    machine.foreign = "current leads elsewhere"


def failing_while_rolling_back(machine: Machine) -> bool:
    """The disk is full from the failed probe on, until the device has gone back and was asked a few times more."""
    bad_probes = sum(1 for _, version, _ in machine.seen.probes if version == "6")
    return bad_probes >= 2 and machine.clock.monotonic() < 300


def failing_first_minutes(machine: Machine) -> bool:
    return machine.effects >= 8 and machine.clock.monotonic() < 100


UPDATE = wants(install(V6))
INSTALL_ENDS = {"healthy": V6, "rolled_back": V5, "failed": V5}
DENIED = LeaveAnswer(False, reason="the rollout is halted", retry_after_seconds=30)

_SCENARIOS = (
    Scenario("first install", (wants(install(V6)),), {"r1": ("healthy", "rolled_back")},
             {"healthy": V6, "rolled_back": None}, before=(None, None), check=once),
    Scenario("update", (UPDATE,), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS, before=(V5, V4), check=once),
    Scenario("same version again", (wants(install(V5)),), {"r1": ("healthy", "rolled_back")},
             {"healthy": V5, "rolled_back": V5}, before=(V5, V4)),
    Scenario("bad version", (UPDATE,), {"r1": ("rolled_back",)}, INSTALL_ENDS, check=needs_every_attempt,
             world=World(PUBLISHED, probe=lambda probe, _version, count: probe == "loads" and count > 0)),
    Scenario("bad first version", (UPDATE,), {"r1": ("rolled_back",)}, {"rolled_back": None}, before=(None, None),
             world=World(PUBLISHED, probe=bad("6"))),
    Scenario("flaky probe", (UPDATE,), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS,
             world=World(PUBLISHED, probe=lambda _probe, _version, count: count > 0)),
    Scenario("revert from own bytes", (wants(install(V4, "v1", "revert")),), {"v1": ("reverted", "revert_failed")},
             {"reverted": V4, "revert_failed": V5}, before=(V5, V4), check=never_fetched,
             world=World(PUBLISHED, fetch=lambda _: "unreachable")),
    Scenario("revert fetched", (wants(install(V4, "v1", "revert")),), {"v1": ("reverted", "revert_failed")},
             {"reverted": V4, "revert_failed": V5}),
    Scenario("bad revert", (wants(install(V4, "v1", "revert")),), {"v1": ("revert_failed",)},
             {"revert_failed": V5}, before=(V5, V4), world=World(PUBLISHED, probe=bad("4"))),
    Scenario("remove", (wants(REMOVE),), {"v1": ("reverted", "revert_failed")},
             {"reverted": None, "revert_failed": V5}, before=(V5, V4)),
    Scenario("restore", (wants(install(V5, "s1", "restore")),), {"s1": ("healthy", "rolled_back")},
             {"healthy": V5, "rolled_back": None}, before=(None, None)),
    Scenario("two in a row", (UPDATE, wants(install(V4, "r2"))),
             {"r1": ("healthy", "rolled_back"), "r2": ("rolled_back",)},
             {"rolled_back": V6, "healthy": V4}, before=(V6, V5), world=World(PUBLISHED, probe=bad("4"))),
    Scenario("superseded before leave", (UPDATE, wants(), UPDATE), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS,
             check=fetched_once,
             world=World(PUBLISHED, leave=lambda count: DENIED if count < 20 else LeaveAnswer(True))),
    Scenario("taken back while it waits", (UPDATE, wants()), {"r1": ()}, {"": V5},
             world=World(PUBLISHED, leave=lambda _: DENIED)),
    Scenario("taken back while it cannot be fetched", (UPDATE, wants()), {"r1": ()}, {"": V5}, check=never_begun,
             world=World(PUBLISHED, fetch=lambda _: "unreachable")),
    Scenario("halted", (UPDATE,), {"r1": ()}, {"": V5}, world=World(PUBLISHED, leave=lambda _: DENIED),
             waits="the rollout is halted"),
    Scenario("leave late and slow", (UPDATE,), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS,
             world=World(PUBLISHED, leave=lambda count: DENIED if count < 2 else LeaveAnswer(True, valid_seconds=3600),
                         leave_takes_seconds=lambda count: 61.0 if count < 4 else 0.0)),
    Scenario("inhibited", (UPDATE,), {"r1": ()}, {"": V5}, world=World(PUBLISHED, inhibited=lambda _: "not now"),
             waits="not now", check=never_begun),
    Scenario("inhibited after leave", (UPDATE,), {"r1": ()}, {"": V5}, waits="not now",
             world=World(PUBLISHED, inhibited=lambda count: "not now" * (count > 7))),
    Scenario("requirement unmet", (wants(install(NEEDY)),), {"r1": ()}, {"": V5}, waits="requires asr >=2",
             check=never_begun),
    Scenario("cannot be verified, bytes at hand", (UPDATE,), {"r1": ()}, {"": V5}, check=never_begun,
             world=World(PUBLISHED, fetch=lambda _: "untrusted"), prepare=lambda machine: machine.holds(V6),
             waits="the signature does not match"),
    Scenario("refused", (UPDATE,), {"r1": ("failed",)}, INSTALL_ENDS, check=never_begun,
             world=World(PUBLISHED, fetch=lambda _: "refused")),
    Scenario("reached at last", (UPDATE,), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS,
             world=World(PUBLISHED, fetch=lambda count: "unreachable" if count < 3 else "good")),
    Scenario("probe not allowed", (UPDATE,), {"r1": ("failed",)}, INSTALL_ENDS, check=never_begun,
             world=World(PUBLISHED, refusal="cannot run probe exec loads: it is not allowlisted")),
    Scenario("probe not allowed, going back", (wants(install(V4, "v1", "revert")),),
             {"v1": ("reverted", "revert_failed")}, {"reverted": V4, "revert_failed": V5}, before=(V5, V4),
             world=World(PUBLISHED, refusal="cannot run probe exec loads: it is not allowlisted")),
    Scenario("not ours", (UPDATE,), {"r1": ("failed",)}, INSTALL_ENDS, check=never_begun, prepare=make_foreign),
    Scenario("switch fails", (UPDATE,), {"r1": ("rolled_back",)}, INSTALL_ENDS,
             world=World(PUBLISHED, switch_fails=lambda _: True)),
    Scenario("cannot go back", (UPDATE,), {"r1": ("failed",)}, {"failed": V6},
             world=World(PUBLISHED, probe=bad("6"), restore_fails=lambda _: True)),
    Scenario("goes back at the third try", (UPDATE,), {"r1": ("rolled_back",)}, INSTALL_ENDS,
             world=World(PUBLISHED, probe=bad("6"), restore_fails=lambda count: count < 3)),
    Scenario("own bytes have changed", (wants(install(V4, "v1", "revert")),), {"v1": ("reverted", "revert_failed")},
             {"reverted": V4, "revert_failed": V5}, before=(V5, V4), prepare=rotten(V4), check=fetched_again),
    Scenario("own bytes have changed, offline", (wants(install(V4, "v1", "revert")),), {"v1": ()}, {"": V5},
             before=(V5, V4), prepare=rotten(V4), world=World(PUBLISHED, fetch=lambda _: "unreachable"),
             waits="cannot reach the node", check=never_begun),
    Scenario("withdrawn meanwhile, and still on the device", (wants(install(V4)),), {"r1": ()}, {"": V5},
             before=(V5, V4), world=World(PUBLISHED, fetch=lambda _: "untrusted"), check=never_begun,
             waits="the signature does not match"),
    Scenario("what runs has changed", (wants(install(V5, "s1", "restore")),), {"s1": ("healthy", "rolled_back")},
             {"healthy": V5, "rolled_back": V5}, before=(V5, V4), prepare=rotten(V5), check=fetched_again),
    Scenario("the way back has changed", (UPDATE,), {"r1": ("failed",)}, {"failed": V6}, prepare=rotten(V5),
             world=World(PUBLISHED, probe=bad("6"))),
    Scenario("changed while it waited", (UPDATE,), {"r1": ("failed",)}, INSTALL_ENDS,
             world=World(PUBLISHED, rots={"leave answered": V6},
                         leave=lambda count: DENIED if count < 12 else LeaveAnswer(True))),
    Scenario("journal fails while it goes back", (UPDATE,), {"r1": ("rolled_back",)}, INSTALL_ENDS,
             world=World(PUBLISHED, probe=bad("6"), journal_fails=failing_while_rolling_back),
             check=restored_unwritten),
    Scenario("journal fails for a while", (UPDATE,), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS,
             world=World(PUBLISHED, journal_fails=failing_first_minutes)),
    Scenario("outbox fails for a while", (UPDATE,), {"r1": ("healthy", "rolled_back")}, INSTALL_ENDS,
             world=World(PUBLISHED, outbox_fails=failing_first_minutes)),
)  # fmt: skip

#: The same, where a version goes to a destination and its workload is told: a switch is several effects there.
_AT_A_DESTINATION = (
    "first install", "update", "same version again", "bad version", "bad first version", "revert from own bytes",
    "remove", "two in a row", "switch fails", "cannot go back", "goes back at the third try",
    "journal fails while it goes back",
)  # fmt: skip


def edited(machine: Machine) -> None:
    machine._begin("at vad", None)


_PLACED = (
    Scenario("edited by hand, put right by the same version", (wants(install(V5)),), {"r1": ("healthy", "rolled_back")},
             {"healthy": V5, "rolled_back": V5}, before=(V5, V4), prepare=edited, world=World(PUBLISHED)),
    Scenario("somebody else writes there", (UPDATE,), {"r1": ("rolled_back", "healthy")}, INSTALL_ENDS,
             world=World(PUBLISHED, meddles=lambda version: version == "6"), check=never_probed_alone,
             never_in_force="something on the device changes it back each time"),
    Scenario("reload fails", (UPDATE,), {"r1": ("rolled_back",)}, INSTALL_ENDS,
             world=World(PUBLISHED, reload_fails=lambda version: version == "6"), check=never_probed,
             never_in_force="the reload failed"),
)  # fmt: skip


def placed(scenario: Scenario) -> Scenario:
    return replace(scenario, name=f"{scenario.name}, at a destination", world=replace(scenario.world, destination=True))


SCENARIOS = (
    *_SCENARIOS,
    *(placed(one) for one in _SCENARIOS if one.name in _AT_A_DESTINATION),
    *(placed(one) for one in _PLACED),
)
