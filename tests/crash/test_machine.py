"""Every scenario, crashed after every durable effect, by death and by loss of power, once, twice and at random."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from tests.crash.scenarios import SCENARIOS, Crasher, Scenario, play

from tidegate.agent.transaction.model import TRIAL_CEILING
from tidegate.testing.machine import Crash, Violation

KINDS: tuple[Crash, ...] = ("death", "power")


def at(points: dict[int, Crash]) -> Crasher:
    return lambda effect, _name: points.get(effect)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_ends_as_told_without_a_crash(scenario: Scenario) -> None:
    machine = play(scenario)
    for work, allowed in scenario.ends.items():
        told = [item.state for item in machine.box().items if item.work == work]
        assert told[-1:] == list(allowed[:1]) or not allowed


def crash_once(scenario: Scenario) -> int:
    """Every single crash point of both kinds; gives back how many."""
    points, number = 0, 1
    while True:
        reached = 0
        for kind in KINDS:
            try:
                machine = play(scenario, at({number: kind}))
            except Violation as broken:
                raise Violation(f"{scenario.name}, {kind} after effect {number}: {broken}") from broken
            reached = machine.effects
            points += 1
        if reached <= number:
            return points
        number += 1


def crash_twice(scenario: Scenario, sample: int) -> int:
    """A fixed sample of the pairs of crash points, each in both orders of the kinds; gives back how many."""
    last = play(scenario).effects
    pairs = [(first, gap) for first in range(1, last + 1) for gap in range(1, last + 1)]
    pairs = random.Random(sample).sample(pairs, min(sample, len(pairs)))
    points = 0
    for first, gap in pairs:
        for one, other in (("death", "power"), ("power", "death")):
            try:
                play(scenario, at({first: one, first + gap: other}))
            except Violation as broken:
                raise Violation(f"{scenario.name}, {one} after {first}, {other} {gap} later: {broken}") from broken
            points += 1
    return points


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_survives_a_crash_after_any_effect(scenario: Scenario, covered: Callable[[str, int], None]) -> None:
    points = crash_once(scenario)
    assert points >= 2 * play(scenario).effects
    covered("simulated machine, one crash, every effect", points)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_survives_two_crashes(scenario: Scenario, covered: Callable[[str, int], None]) -> None:
    covered("simulated machine, two crashes, sampled", crash_twice(scenario, sample=20))


@pytest.mark.slow
@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_survives_many_more_pairs_of_crashes(scenario: Scenario, covered: Callable[[str, int], None]) -> None:
    """All pairs would be some hundred thousand; a fixed sample of 80 of each scenario, in both orders."""
    covered("simulated machine, two crashes, larger sample", crash_twice(scenario, sample=80))


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda one: one.name)
def test_survives_crashes_at_random(scenario: Scenario) -> None:
    """Up to six crashes each, anywhere: the ceiling may force a way back, and nothing else changes."""
    for seed in range(8):
        draw = random.Random(seed)
        points: dict[int, Crash] = {draw.randint(1, 120): draw.choice(KINDS) for _ in range(draw.randint(1, 6))}
        try:
            play(scenario, at(points))
        except Violation as broken:
            raise Violation(f"{scenario.name}, {points}: {broken}") from broken


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("where", ["probe", "current vad seen", "current vad flushed"])
def test_a_version_that_takes_the_device_down_is_tried_at_most_three_times(where: str, kind: Crash) -> None:
    """The machine dies whenever the new version is on trial; what matters is how often it was let run."""
    scenario = next(one for one in SCENARIOS if one.name == "update")
    machine_of: list[int] = []

    def crash(effect: int, name: str) -> Crash | None:
        if name == where and len(machine_of) < 10:
            machine_of.append(effect)
            return kind
        return None

    # Where the way back dies at the same place, it too must come through in the end.
    machine = play(replace(scenario, ends={"r1": ("rolled_back", "healthy")}, check=lambda _: None), crash)
    trials = len(machine.seen.exposed["r1"])
    assert trials <= TRIAL_CEILING
    if where == "probe":
        assert (trials, machine.box().items[-1].state) == (TRIAL_CEILING, "rolled_back")
        assert machine.box().items[-1].reason == "the device did not come through 3 trials"
