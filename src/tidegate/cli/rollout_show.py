"""A rollout and its preview as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from tidegate.cli.output import counted
from tidegate.wire.operator.rollouts import RolloutInfo, RolloutPreview, WaveInfo

_WIDTH = 40
#: In the order of the wave picture; the sign differs besides the place, so that it reads without colour.
_PARTS = (
    ("#", ("healthy", "reverted")),
    ("~", ("assigned", "downloading", "verifying", "ready", "applying", "probing", "reverting")),
    ("!", ("rolled_back", "failed", "revert_failed")),
    (".", ("pending",)),
)


def show(found: RolloutInfo) -> list[str]:
    """One rollout: what, state, what it waits on, a bar per wave."""
    lines = [
        f"rollout {found.id}: {found.artifact} {found.version} to {found.target}, {found.state}",
        found.waiting_on,
    ]
    if found.reason and found.state in ("halted", "aborted"):
        lines.append(f"reason: {found.reason}")
    return [*lines, *bars(found)]


def bars(found: RolloutInfo) -> list[str]:
    """One line a wave: bar, finished of cohort, counts."""
    return [_bar(wave) for wave in found.waves]


def _bar(wave: WaveInfo) -> str:
    counts, size = wave.counts, wave.size
    cells = "".join(sign * _cells(sum(counts.get(name, 0) for name in names), size) for sign, names in _PARTS)
    said = ", ".join(f"{count:,} {state}" for state, count in counts.items())
    mark = "released" if wave.released else "not released"
    return f"wave {wave.wave} {wave.label:<16} [{cells[:_WIDTH]:<{_WIDTH}}] {said or 'no devices'} ({mark})"


def _cells(count: int, size: int) -> int:
    """At least one cell for what is there at all."""
    return max(1, round(_WIDTH * count / size)) if count and size else 0


def preview_lines(found: RolloutPreview) -> Iterator[str]:
    """What creating would do, a line each."""
    waves = counted(len(found.waves), "wave")
    yield f"{found.artifact} {found.version} to {counted(found.target_size)} in {waves}"
    for wave in found.waves:
        soak = f", then {wave.soak_seconds} s soak" if wave.soak_seconds else ""
        yield (
            f"  wave {wave.wave} {wave.label}: {counted(wave.size)}, {wave.approval}{soak};"
            f" halts above {counted(wave.tolerated, 'failure')}"
        )
    yield f"  at most {counted(found.max_in_flight)} at work at once"
    yield from _named("on hold", found.held, found.held_count)
    misfits = [f"{one.device} ({one.reason})" for one in found.incompatible]
    yield from _named("not compatible", misfits, found.incompatible_count)
    for older in found.supersedes:
        yield f"  supersedes rollout {older.rollout} ({older.version}, {older.state}) on devices it serves"
    for refusal in found.refusals:
        yield f"  would be refused: {refusal}"


def _named(what: str, names: Sequence[str], count: int) -> Iterator[str]:
    if count:
        more = f" and {count - len(names):,} more" if count > len(names) else ""
        yield f"  {count:,} {what}: {', '.join(names)}{more}"
