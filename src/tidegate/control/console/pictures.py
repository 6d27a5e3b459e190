"""The wave picture: what a rollout has done, drawn on the server from figures alone.

Pure functions to SVG with classes only: no style, no script, no text that a person wrote. Everything drawn here is
`aria-hidden`; the same facts stand beside it as a table. Geometry as the design's "The wave picture" gives it: columns
equally wide, the channel as wide as the root of the share it carries, so that a canary of 1 % is still seen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt
from typing import Literal

from markupsafe import Markup

AREAS = ("healthy", "open", "rolled_back", "failed")
#: Narrower columns have no room for the words of a gate beside those of its wave.
MOST_WIDE_WAVES = 4

GateState = Literal["open", "closed", "waiting", "halted"]


@dataclass(frozen=True, slots=True)
class Gate:
    """What stands before a wave: its kind and soak, and what it did or waits for."""

    state: GateState
    kind: str  # auto | manual
    setting: str  # "manual, soak 30 min"
    words: str  # "needs approval"


@dataclass(frozen=True, slots=True)
class Wave:
    """`percent` is cumulative, in 0..100; the four counts are those of AREAS, in that order."""

    percent: float
    extent: str  # "to 40 % of 1,040"
    cohort: int
    counts: tuple[int, int, int, int]
    released: bool
    gate: Gate | None = None


@dataclass(frozen=True, slots=True)
class Shape:
    """One way to draw: along `u` from `start`, `step` a wave; across `v` around `centre`; swapped: `u` runs down."""

    start: float
    step: float
    centre: float
    low: float
    high: float
    gap: float
    floors: tuple[float, float, float, float]
    post: tuple[float, float]
    swapped: bool = False

    def half(self, percent: float) -> float:
        return self.low + (self.high - self.low) * sqrt(max(0.0, min(100.0, percent)) / 100)

    def at(self, u: float, v: float) -> str:
        return f"{num(v)} {num(u)}" if self.swapped else f"{num(u)} {num(v)}"

    def rect(self, u: float, length: float, attributes: str) -> str:
        reach = self.high + 2
        x, y, width, height = u, self.centre - reach, length, 2 * reach
        if self.swapped:
            x, y, width, height = y, x, height, width
        return f'<rect x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}" {attributes}/>'


def num(value: float) -> str:
    """At most one decimal."""
    text = f"{value:.1f}"
    return text[:-2] if text.endswith(".0") else text


def widths(counts: Sequence[int], length: float, floors: Sequence[float]) -> list[float]:
    """Share `length` among the counts: each in proportion, at least its floor when above zero, together never more.

    What the floors cost is taken from healthy first, then from whoever has most to spare.
    """
    total = sum(counts)
    if total == 0 or length <= 0:
        return [0.0] * len(counts)
    least = [floor if count else 0.0 for count, floor in zip(counts, floors, strict=True)]
    if sum(least) > length:
        return [value * length / sum(least) for value in least]
    shares = [max(floor, length * count / total) for count, floor in zip(counts, least, strict=True)]
    excess = sum(shares) - length
    by_spare = sorted(range(1, len(shares)), key=lambda i: least[i] - shares[i])
    for i in (0, *by_spare):
        taken = min(excess, shares[i] - least[i])
        shares[i] -= taken
        excess -= taken
    return shares


def _basin(shape: Shape, a: float, b: float, before: float, after: float) -> tuple[str, str]:
    """The outline, and its two banks."""
    c, m, at = shape.centre, (a + b) / 2, shape.at
    top = f"M{at(a, c - before)}C{at(m, c - before)} {at(m, c - after)} {at(b, c - after)}"
    bottom = f"{at(b, c + after)}C{at(m, c + after)} {at(m, c + before)} {at(a, c + before)}"
    return f"{top}L{bottom}Z", f"{top}M{bottom}"


def _water(shape: Shape, prefix: str, wave: Wave, a: float, b: float, patterns: bool) -> list[str]:
    healthy, waiting, back, failed = widths(wave.counts, b - a, shape.floors)
    reach, at, c = shape.high + 2, shape.at, shape.centre
    parts = [shape.rect(a, b - a, 'class="d-open"')]
    front = a + healthy
    if waiting and patterns:
        parts.append(shape.rect(front, waiting, f'fill="url(#{prefix}o)"'))
    if healthy:
        bulge = 2 * min(12.0, waiting / 2)
        start = a - 1
        parts.append(
            f'<path class="d-healthy" d="M{at(start, c - reach)}L{at(front, c - reach)}'
            f'Q{at(front + bulge, c)} {at(front, c + reach)}L{at(start, c + reach)}Z"/>'
        )
        if patterns:
            parts.append(shape.rect(a, healthy, f'fill="url(#{prefix}r)"'))
    u = front + waiting
    for width, name, pattern in ((back, "back", "h"), (failed, "failed", "x")):
        if width:
            parts.append(shape.rect(u, width, f'class="d-{name}"'))
            if patterns:
                parts.append(shape.rect(u, width, f'fill="url(#{prefix}{pattern})"'))
        u += width
    return parts


def _gate(shape: Shape, gate: Gate, u: float, half: float, leaves_when_open: bool) -> list[str]:
    c, at = shape.centre, shape.at
    top, bottom = c - half, c + half
    parts = []
    if gate.state != "open":
        tone = {"waiting": " d-leaf--wait", "halted": " d-leaf--halt"}.get(gate.state, "")
        mitre = f"M{at(u, top)}L{at(u - 0.3 * half, c)}L{at(u, bottom)}"
        parts.append(f'<path class="d-leaf{tone}" d="{mitre}"/>')
    elif leaves_when_open:
        end = u + 0.55 * half
        folded = f"M{at(u, top)}L{at(end, top - 1.5)}M{at(u, bottom)}L{at(end, bottom + 1.5)}"
        parts.append(f'<path class="d-leaf" d="{folded}"/>')
    along, across = shape.post
    for v in (top - across / 2, bottom - across / 2):
        x, y, width, height = u - along / 2, v, along, across
        if shape.swapped:
            x, y, width, height = y, x, height, width
        parts.append(
            f'<rect class="d-post" x="{num(x)}" y="{num(y)}" width="{num(width)}" height="{num(height)}" rx="1"/>'
        )
    return parts


@dataclass(frozen=True, slots=True)
class Edge:
    """Where a wave begins: its coordinate and the half height of the channel there."""

    u: float
    half: float
    gate: Gate | None


def edges(shape: Shape, waves: Sequence[Wave]) -> list[Edge]:
    percents = [0.0, *(wave.percent for wave in waves)]
    return [Edge(shape.start + i * shape.step, shape.half(percents[i]), wave.gate) for i, wave in enumerate(waves)]


def channel(shape: Shape, prefix: str, waves: Sequence[Wave], *, patterns: bool) -> str:
    """Basins with their water, then the gates over them."""
    starts = edges(shape, waves)
    end = shape.start + shape.step * len(waves)
    parts: list[str] = []
    for i, wave in enumerate(waves):
        a = starts[i].u + _room(shape, starts[i].gate)
        b = starts[i + 1].u - _room(shape, starts[i + 1].gate) if i + 1 < len(waves) else end
        outline, banks = _basin(shape, a, b, starts[i].half, shape.half(wave.percent))
        if not wave.released:
            parts.append(f'<path class="d-dry" d="{outline}"/><path class="d-bank d-bank--dry" d="{banks}"/>')
            continue
        clip = f"{prefix}c{i}"
        parts.append(f'<clipPath id="{clip}"><path d="{outline}"/></clipPath><g clip-path="url(#{clip})">')
        parts += _water(shape, prefix, wave, a, b, patterns)
        parts.append(f'</g><path class="d-bank" d="{banks}"/>')
    for edge in starts:
        if edge.gate is not None:
            parts += _gate(shape, edge.gate, edge.u, edge.half, leaves_when_open=patterns)
    return "".join(parts)


def _room(shape: Shape, gate: Gate | None) -> float:
    return 0.0 if gate is None or gate.state == "open" else shape.gap


MINI_FLOORS = (2.5, 5.0, 2.5, 2.5)
FLOORS = (6.0, 12.0, 6.0, 6.0)


def tide_mini(waves: Sequence[Wave], prefix: str) -> Markup:
    """The picture without words, for a row of a list. `prefix` makes its ids unique in the page."""
    start = 4.0 if waves and waves[0].gate is not None else 1.0
    shape = Shape(start, (135.0 - start) / max(1, len(waves)), 16, 3, 14, 1.5, MINI_FLOORS, (3, 3))
    return Markup(  # noqa: S704 - built from numbers and our own constants
        f'<svg class="tide-mini" viewBox="0 0 136 32" aria-hidden="true">'
        f"{channel(shape, prefix, waves, patterns=False)}</svg>"
    )
