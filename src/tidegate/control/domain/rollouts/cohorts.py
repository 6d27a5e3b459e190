"""Who is in which wave: decided once, at creation, the same for the same target."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping, Sequence
from decimal import ROUND_CEILING, Decimal

from tidegate.control.domain.rollouts.model import Strategy, WaveSpec
from tidegate.ids import DeviceId


def rank(fleet: str, device: DeviceId) -> bytes:
    """Where a device stands in every rollout of its fleet: the same group gets the same canary."""
    return hashlib.sha256(f"{fleet}/{device}".encode()).digest()


def cohorts(
    fleet: str, devices: Collection[DeviceId], strategy: Strategy, groups: Mapping[str, Collection[DeviceId]]
) -> tuple[tuple[DeviceId, ...], ...]:
    """The devices of each wave, in order.

    Percentages and counts are cumulative over the whole target and rounded up; a group's wave takes the members that no
    earlier wave took. Every device is in exactly one wave, because the last one goes to 100 %.
    """
    order = sorted(devices, key=lambda device: rank(fleet, device))
    taken: set[DeviceId] = set()
    waves: list[tuple[DeviceId, ...]] = []
    cursor = 0
    for spec in strategy.waves:
        if spec.group is not None:
            members = set(groups[spec.group])
            wave = [device for device in order if device in members and device not in taken]
        else:
            room = _goes_to(spec, len(order)) - len(taken)
            wave = []
            while len(wave) < room and cursor < len(order):
                device = order[cursor]
                cursor += 1
                if device not in taken:
                    wave.append(device)
        taken.update(wave)
        waves.append(tuple(wave))
    return tuple(waves)


def _goes_to(spec: WaveSpec, total: int) -> int:
    if spec.count is not None:
        return min(spec.count, total)
    percent = spec.percent or Decimal(0)
    return int((percent * total / 100).to_integral_value(ROUND_CEILING))


def cumulative(sizes: Sequence[int]) -> tuple[int, ...]:
    """Devices released after each wave."""
    reached = 0
    result = []
    for size in sizes:
        reached += size
        result.append(reached)
    return tuple(result)
