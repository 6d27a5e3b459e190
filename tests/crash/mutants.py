"""Wrong versions of `decide.py`, each one change of its text, and the checks that must notice each."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import cache, partial
from types import ModuleType

from tests.crash.scenarios import ORDER, SCENARIOS, Scenario, play

from tidegate.agent import execute
from tidegate.agent.transaction import decide
from tidegate.agent.transaction.model import Facts, Kind, Order, Phase, Record, Release
from tidegate.testing.machine import Crash

SOURCE = inspect.getsource(decide)

#: What the mutant does wrong: the text as it stands (once in the file), and as the mutant has it.
MUTANTS: dict[str, tuple[str, str]] = {
    "fetch goes on for work taken back": (
        "def _fetch(record: Record, facts: Facts) -> Decision:\n    if not facts.wanted:",
        "def _fetch(record: Record, facts: Facts) -> Decision:\n    if False:",
    ),
    "ready goes on for work taken back": (
        "def _ready(record: Record, facts: Facts) -> Decision:\n    if not facts.wanted:",
        "def _ready(record: Record, facts: Facts) -> Decision:\n    if False:",
    ),
    "own bytes are not used": ("if facts.kept and facts.goal_whole and record.order.kind is Kind.REVERT:", "if False:"),
    "own bytes are installed unasked": ("facts.goal_whole and record.order.kind is Kind.REVERT:", "facts.goal_whole:"),
    "own bytes are not hashed again": (
        "        if facts.goal_damage is None:\n            return record, Check(goal)\n        if not",
        "        if not",
    ),
    "own bytes are used though they have changed": ("        if not facts.goal_damage:", "        if True:"),
    "a version laid out before passes for whole": (
        'if facts.goal_whole and facts.goal_damage == "":',
        "if facts.goal_whole:",
    ),
    "switches to bytes not hashed again": (
        "if goal is not None and facts.goal_whole and facts.goal_damage is None:",
        "if False:",
    ),
    "switches to bytes that have changed": (
        "if goal is not None and (facts.goal_damage or not facts.goal_whole):",
        "if goal is not None and not facts.goal_whole:",
    ),
    "goes back to bytes not hashed again": ("if facts.way_back_whole and facts.way_back_damage is None:", "if False:"),
    "goes back to bytes that have changed": ("if facts.way_back_damage or not facts.way_back_whole:", "if False:"),
    "a probe that the owner forbids is no reason": ("    if facts.not_allowed:", "    if False:"),
    "bytes at hand pass for verified": (
        "if facts.fetched is not None and facts.content_whole:",
        "if facts.content_whole:",
    ),
    "verification is not recorded": ("verified=True, payload", "verified=False, payload"),
    "verification is skipped": (
        "    return record, Fetch()",
        "    return _move(replace(record, verified=True), Phase.STAGE)",
    ),
    "a refusal is tried for ever": (
        '    if facts.refused:\n        return _failed(record, facts.refused)\n    if "downloading"',
        '    if False:\n        return _failed(record, facts.refused)\n    if "downloading"',
    ),
    "download trouble is not waited out": (
        "        return record, Wait(facts.trouble.reason, facts.trouble.retry_seconds)\n    return record, Fetch()",
        "        return record, Fetch()\n    return record, Fetch()",
    ),
    "never staged": ("    return record, Stage()", "    return _move(record, Phase.READY)"),
    "applies what is not ours": ("    if facts.foreign:\n        return _failed(record, facts.foreign)\n", ""),
    "ready is not told": ('if "ready" not in facts.told:', "if False:"),
    "the inhibitor is not heard": ("    if facts.inhibited:", "    if False:"),
    "requirements are not heard": ("    if facts.unmet:", "    if False:"),
    "leave is not asked": ("    if leave is None:", "    if False:"),
    "a denial is leave": ("    if not leave.granted:", "    if False:"),
    "leave never grows old": ("if not 0 <= leave.age_seconds <= min(leave.valid_seconds, LEAVE_SECONDS):", "if False:"),
    "leave is as old as the node says": ("min(leave.valid_seconds, LEAVE_SECONDS)", "leave.valid_seconds"),
    "no way back is recorded": ("way_back=facts.running, ", ""),
    "the way back is the goal": ("way_back=facts.running", "way_back=record.order.goal"),
    "the first trial is not spent": ("trials=1, entry", "trials=0, entry"),
    "later trials are not spent": ("trials=record.trials + 1, entry", "entry"),
    "a new life spends nothing in probing": (
        '    if record.entry != facts.entry:\n        return _enter(record, facts)\n    if "probing"',
        '    if False:\n        return _enter(record, facts)\n    if "probing"',
    ),
    "a new life spends nothing in applying": (
        '    if record.entry != facts.entry:\n        return _enter(record, facts)\n    if "applying"',
        '    if False:\n        return _enter(record, facts)\n    if "applying"',
    ),
    "one trial too many": ("if record.trials >= TRIAL_CEILING:", "if record.trials > TRIAL_CEILING:"),
    "one trial too few": ("if record.trials >= TRIAL_CEILING:", "if record.trials + 1 >= TRIAL_CEILING:"),
    "no ceiling": ("if record.trials >= TRIAL_CEILING:", "if False:"),
    "applying is not told": ('    if "applying" not in facts.told:', "    if False:"),
    "probing before the switch": ("    if facts.running == record.order.goal and not facts.unsettled:", "    if True:"),
    "switches for ever": ("    if facts.running == record.order.goal and not facts.unsettled:", "    if False:"),
    "a failed switch is tried for ever": ("    if facts.switch_failed:", "    if False:"),
    "probing is not told": ('if "probing" not in facts.told and not facts.untellable:', "if False:"),
    "commits without a probe": (
        "    for index, probe in enumerate(record.order.probes):",
        "    for index, probe in ():",
    ),
    "one probe stands for all": ("if attempt.probe == index]", "]"),
    "a failed attempt passes": ("if any(attempt.passed for attempt in made):", "if made:"),
    "a passed attempt fails": ("if any(attempt.passed for attempt in made):", "if False:"),
    "rolls back at the first failure": ("if len(made) < probe.attempts:", "if not made:"),
    "one attempt too many": ("if len(made) < probe.attempts:", "if len(made) <= probe.attempts:"),
    "pauses in the wrong order": (
        "probe.interval_seconds if made else probe.initial_delay_seconds",
        "probe.initial_delay_seconds if made else probe.interval_seconds",
    ),
    "goes forward after the last failure": (
        '        return _back(record, reason, made[-1].output if made else "")',
        "        break",
    ),
    "a revert is reported as an update": (
        "return _done(record, Outcome.REVERTED if reverting else Outcome.HEALTHY)",
        "return _done(record, Outcome.HEALTHY)",
    ),
    "a failed revert is reported as rolled back": (
        "return _done(record, Outcome.REVERT_FAILED if reverting else Outcome.ROLLED_BACK)",
        "return _done(record, Outcome.ROLLED_BACK)",
    ),
    "rolls back in words only": (
        "if not facts.foreign and facts.running == record.way_back and not facts.unsettled:",
        "if True:",
    ),
    "rolls back for ever": ("if facts.restore_failures >= RESTORE_ATTEMPTS:", "if False:"),
    "gives the way back up too early": ("facts.restore_failures >= RESTORE_ATTEMPTS", "facts.restore_failures >= 1"),
    "rolls back to the goal": ("return record, Restore(way_back)", "return record, Restore(record.order.goal)"),
    "a switch that has not ended is probed": ("== record.order.goal and not facts.unsettled:", "== record.order.goal:"),
    "a destination that changes on trial is no matter": (
        "running != record.order.goal or facts.unsettled:",
        "running != record.order.goal:",
    ),
    "a way back that has not ended is enough": (
        "facts.running == record.way_back and not facts.unsettled:\n        reverting",
        "facts.running == record.way_back:\n        reverting",
    ),
    "a switch half done passes for none": ("record.way_back and not facts.unsettled\n", "record.way_back\n"),
    "the outcome is not told": ("if outcome is not Outcome.DROPPED and outcome.value not in facts.told:", "if False:"),
    "taking back is an outcome": ("if outcome is not Outcome.DROPPED and outcome.value", "if outcome.value"),
    "nothing is cleaned up": ("    if not facts.cleaned:", "    if False:"),
    "the way back waits for the journal": ("return record.phase is Phase.ROLLBACK", "return False"),
    "the way forward does not wait for the journal": ("return record.phase is Phase.ROLLBACK", "return True"),
}


def mutated(name: str) -> str:
    """The source of a mutant; its place in the file must be there, and be the only one."""
    before, after = MUTANTS[name]
    assert SOURCE.count(before) == 1, f"{name}: found {SOURCE.count(before)} times"
    return SOURCE.replace(before, after)


Check = tuple[str, Callable[[], None]]


def killed_by(source: str) -> Check | None:
    """The first check that a `decide.py` of this source does not pass; None when it passes all."""
    return next((check for check in checks() if said(source, check)), None)


def said(source: str, check: Check) -> str:
    """What one check says about a `decide.py` of this source; empty when it is content."""
    before = execute.next_step, execute.goes_on_unwritten
    wrong = loaded(source)
    execute.next_step, execute.goes_on_unwritten = wrong.next_step, wrong.goes_on_unwritten
    try:
        check[1]()
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        execute.next_step, execute.goes_on_unwritten = before
    return ""


@cache
def loaded(source: str) -> ModuleType:
    module = ModuleType("mutant")
    exec(compile(source, "mutant of decide.py", "exec"), module.__dict__)
    return module


def checks() -> Iterator[Check]:
    """What kills mutants; the cheap checks come first."""
    yield from cheap_checks()
    # Those with a destination first: what is wrong with half a switch shows itself nowhere else.
    for scenario in reversed(SCENARIOS):
        for number in range(1, play(scenario).effects + 1):
            for kind in ("death", "power"):
                yield f"{scenario.name}, {kind} after effect {number}", partial(crashed, scenario, number, kind)


def cheap_checks() -> Iterator[Check]:
    """Every scenario without a crash, and what needs many lives."""
    for scenario in SCENARIOS:
        yield scenario.name, partial(ended_as_told, scenario)
    yield "half done", half_done_is_taken_back
    for kind in ("death", "power"):
        yield f"boot loop by {kind}", partial(boot_loop, kind)


def crashed(scenario: Scenario, number: int, kind: Crash) -> None:
    play(scenario, lambda effect, _name: kind if effect == number else None)


def ended_as_told(scenario: Scenario) -> None:
    """Without a crash: the first of the outcomes that a scenario allows, and every state on the way told."""
    machine = play(scenario)
    for work, allowed in scenario.ends.items():
        told = [item.state for item in machine.box().items if item.work == work]
        if allowed:
            assert told[-1] == allowed[0], (scenario.name, told)
        if machine.seen.switches and not machine.world.switch_fails(1):
            way = ORDER if "downloading" in told else ORDER[2:]
            if scenario.never_in_force:
                # Not even told that it is probed; what went wrong is what the node hears.
                way = way[:-1]
                assert scenario.never_in_force in machine.box().items[-1].reason, scenario.name
            assert told[:-1] == way, (scenario.name, told)


def half_done_is_taken_back() -> None:
    """A goal that is damaged when its switch is half done: something moved, so the way back is gone, not just told."""
    old, new = Release("5", "5" * 64), Release("6", "6" * 64)
    record = Record(Order("r1", Kind.INSTALL, "a", new), Phase.APPLYING, True, way_back=old, trials=1, entry="life")
    facts = Facts("life", running=old, goal_whole=True, goal_damage="it rotted", told=frozenset({"applying"}))
    for unsettled, phase in (("half done", Phase.ROLLBACK), ("", Phase.DONE)):
        after, _ = execute.next_step(record, replace(facts, unsettled=unsettled))
        assert after.phase is phase, (unsettled, after.phase)


def boot_loop(kind: Crash, where: str = "probe") -> None:
    """The machine dies whenever the new version is probed: three trials, and back."""
    scenario = next(one for one in SCENARIOS if one.name == "update")
    always = replace(scenario, ends={"r1": ("rolled_back",)}, check=lambda _: None)
    machine = play(always, lambda _effect, name: kind if name == where else None)
    last = machine.box().items[-1]
    assert len(machine.seen.exposed["r1"]) == 3
    assert last.reason == "the device did not come through 3 trials"
