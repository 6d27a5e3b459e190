"""Meter, bar and the other small drawings: pure functions to SVG with classes only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from decimal import Decimal

from markupsafe import Markup, escape

from tidegate.control.console import words
from tidegate.control.console.pictures import num

_LEFT, _RIGHT = 4.0, 316.0


@dataclass(frozen=True, slots=True)
class Failures:
    """The failure rule of one wave: `count` unacknowledged failures of `released` devices, and the most that may.

    `acknowledged` failures happened, too, and no longer count towards a halt.
    """

    count: int
    released: int
    tolerance: Decimal
    wave: int = 0
    acknowledged: int = 0

    @property
    def rate(self) -> Decimal:
        return Decimal(self.count) / self.released if self.released else Decimal(0)

    @property
    def tolerated(self) -> int:
        """Whole failures that do not halt yet: floor(tolerance x wave size at release)."""
        return int(self.tolerance * self.released)

    @property
    def more_to_halt(self) -> int:
        """How many more failures halt the rollout; 0 when it is past that."""
        return max(0, self.tolerated + 1 - self.count)


def meter(failures: Failures) -> Markup:
    """A tide staff: ticks, rate, tolerance; green, amber above three quarters of the tolerance, red above it."""
    rate, tolerance = failures.rate, failures.tolerance
    scale = min(Decimal(1), max(2 * tolerance, Decimal("1.12") * rate)) or Decimal("0.01")
    span = Decimal(_RIGHT - _LEFT)
    fill, limit = float(span * rate / scale), _LEFT + float(span * tolerance / scale)
    look = ""
    if failures.count > failures.tolerated:
        look = " m-fill--over"
    elif failures.count and rate > tolerance * Decimal("0.75"):
        look = " m-fill--near"
    ticks = "".join(f'<path class="d-line" d="M{num(_LEFT + 39 * i)} 20v{6 if i % 2 == 0 else 4}"/>' for i in range(9))
    flag = _flag(limit, words.percent(tolerance), words.percent(scale))
    label = f"Failure rate {words.percent(rate)}, tolerance {words.percent(tolerance)}"
    return Markup(  # noqa: S704 - numbers and our own constants
        f'<svg viewBox="0 0 320 40" role="img" aria-label="{label}">'
        f'<rect class="m-track" x="4" y="8" width="312" height="10" rx="2"/>'
        f'<rect class="m-over" x="{num(limit)}" y="8" width="{num(_RIGHT - limit)}" height="10" rx="2"/>'
        f'<rect class="m-fill{look}" x="4" y="8" width="{num(fill)}" height="10" rx="2"/>{ticks}'
        f'<path class="m-limit" d="M{num(limit)} 2v28"/>{flag}</svg>'
    )


def _flag(limit: float, tolerance: str, scale: str) -> str:
    """The three numbers under the staff; what would lie over another is left out."""
    if limit < _LEFT + 60:
        start = f'<text class="m-flag" x="4" y="39">tolerance {tolerance}</text>'
    else:
        start = (
            f'<text x="4" y="38">0 %</text><text class="m-flag" x="{num(limit)}" y="39" '
            f'text-anchor="middle">tolerance {tolerance}</text>'
        )
    return f'{start}<text x="316" y="38" text-anchor="end">{scale}</text>'


def bar(parts: Sequence[tuple[int, str]], label: str) -> Markup:
    """Shares of a whole, each seen when above zero; `label` says the numbers."""
    shown = [(count, name) for count, name in parts if count > 0]
    total = sum(count for count, _ in shown)
    rects, x = [], 0.0
    if total:
        room = 100 - 0.3 * (len(shown) - 1)
        floor = min(0.8, room / len(shown))
        sizes = [max(floor, room * count / total) for count, _ in shown]
        largest = max(range(len(sizes)), key=sizes.__getitem__)
        sizes[largest] -= sum(sizes) - room
        for size, (_, name) in zip(sizes, shown, strict=True):
            rects.append(f'<rect class="{name}" x="{num(x)}" width="{num(size)}" height="10"/>')
            x += size + 0.3
    else:
        rects.append('<rect class="d-dry" x="0" width="100" height="10"/>')
    return Markup(  # noqa: S704 - numbers, our own constants, and one escaped label
        f'<svg class="bar" viewBox="0 0 100 10" preserveAspectRatio="none" role="img" aria-label="{escape(label)}">'
        f"{''.join(rects)}</svg>"
    )
