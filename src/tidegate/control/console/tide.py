"""The wave picture with its words: wide over a whole page, tall in a narrow box or above four waves."""

from __future__ import annotations

from collections.abc import Sequence

from markupsafe import Markup, escape

from tidegate.control.console.pictures import (
    AREAS,
    FLOORS,
    MOST_WIDE_WAVES,
    Edge,
    Gate,
    Shape,
    Wave,
    channel,
    edges,
    num,
)

_MARKS = (("healthy", "tg"), ("open", "to"), ("rolled_back", "tb"), ("failed", "tf"))
_WORD_TONE = {"waiting": "tw", "halted": "tf"}
_WAVE_HEIGHT = 138


def tide(waves: Sequence[Wave], prefix: str, *, labels: Sequence[str] = AREAS) -> Markup:
    """Both drawings; the style sheet shows the one that fits. Above four waves there is only the tall one."""
    tall = _tall(waves, prefix + "t", labels)
    if len(waves) > MOST_WIDE_WAVES:
        return Markup(f'<figure class="tide tide--one">{tall}</figure>')  # noqa: S704
    return Markup(f'<figure class="tide">{_wide(waves, prefix, labels)}{tall}</figure>')  # noqa: S704


def tide_tall(waves: Sequence[Wave], prefix: str) -> Markup:
    """For a column beside a form."""
    return Markup(f'<figure class="tide tide--one">{_tall(waves, prefix, AREAS)}</figure>')  # noqa: S704


def _patterns(prefix: str, *, turned: bool) -> str:
    turn = ' patternTransform="rotate(90)"' if turned else ""
    return (
        f'<defs><pattern id="{prefix}r" width="30" height="13" patternUnits="userSpaceOnUse"{turn}>'
        f'<path class="d-ripple" d="M0 6.5q7.5-5 15 0t15 0"/></pattern>'
        f'<pattern id="{prefix}o" width="16" height="11" patternUnits="userSpaceOnUse"{turn}>'
        f'<path class="d-dash" d="M2 3h5M10 8.5h5"/></pattern>'
        f'<pattern id="{prefix}h" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path class="d-hatch" d="M-1 7 7-1M-1 1 1-1M5 7 7 5"/></pattern>'
        f'<pattern id="{prefix}x" width="6" height="6" patternUnits="userSpaceOnUse">'
        f'<path class="d-cross" d="M0 0l6 6M6 0 0 6"/></pattern></defs>'
    )


def _text(x: float, y: float, words: str, attributes: str = "") -> str:
    return f'<text x="{num(x)}" y="{num(y)}"{attributes}>{words}</text>'


def _use(icon: str, x: float, y: float, tone: str) -> str:
    return f'<use href="#i-{icon}" x="{num(x)}" y="{num(y)}" width="14" height="14" class="{tone}"/>'


def _heading(number: int, wave: Wave) -> str:
    devices = f"{wave.cohort:,} {'device' if wave.cohort == 1 else 'devices'}"
    return f'<tspan class="tt">Wave {number}</tspan><tspan dx="7">{devices}</tspan>'


def _counts(wave: Wave, x: float, second: float, y: float, labels: Sequence[str]) -> list[str]:
    """Two rows of two: icon, number, word; zero is faint."""
    parts = []
    for i, ((icon, tone), count, label) in enumerate(zip(_MARKS, wave.counts, labels, strict=True)):
        left, line = (x if i % 2 == 0 else second), y + 22 * (i // 2)
        parts.append(_use(icon, left, line - 11.5, tone if count else "tz"))
        word = f'<tspan class="{"tn" if count else "tz"}">{count:,}</tspan> {escape(label)}'
        parts.append(_text(left + 19, line, word, "" if count else ' class="tz"'))
    return parts


def _gate_tone(gate: Gate) -> str:
    return _WORD_TONE.get(gate.state, "tz")


def _gate_icon(gate: Gate) -> str:
    if gate.state in ("waiting", "halted"):
        return "waiting_for_approval" if gate.state == "waiting" else "halted"
    return "completed" if gate.state == "open" else gate.kind


def _wide(waves: Sequence[Wave], prefix: str, labels: Sequence[str]) -> str:
    first = 20.0 if waves and waves[0].gate is not None else 2.0
    shape = Shape(first, (1118.0 - first) / max(1, len(waves)), 126, 13, 68, 3, FLOORS, (8, 9))
    parts = [
        f'<svg class="tide--wide" viewBox="0 0 1120 252" aria-hidden="true">{_patterns(prefix, turned=False)}',
        channel(shape, prefix, waves, patterns=True),
    ]
    starts = edges(shape, waves)
    for i, wave in enumerate(waves):
        x = starts[i].u + (12 if i else 2)
        if starts[i].gate is not None:
            parts += _wide_gate(starts[i], shape, in_words=i > 0)
        parts.append(_text(x, 16, _heading(i + 1, wave)))
        parts.append(_text(x, 34, str(escape(wave.extent)), ' class="tz"'))
        if wave.released:
            parts += _counts(wave, x, x + 0.47 * shape.step, 222, labels)
        else:
            parts.append(_use("pending", x, 210.5, "tz"))
            parts.append(_text(x + 19, 222, f'<tspan class="tn">{wave.cohort:,}</tspan> pending'))
            parts.append(_text(x + 19, 244, "not released", ' class="tz"'))
    return "".join([*parts, "</svg>"])


def _wide_gate(edge: Edge, shape: Shape, *, in_words: bool) -> list[str]:
    gate = edge.gate
    assert gate is not None
    tone, top = _gate_tone(gate), shape.centre - edge.half
    parts = []
    if in_words:
        right = edge.u - 12
        parts.append(_text(right, 16, str(escape(gate.setting)), ' class="tz" text-anchor="end"'))
        parts.append(_text(right, 34, str(escape(gate.words)), f' class="{tone}" text-anchor="end"'))
        parts.append(f'<path class="d-line" d="M{num(edge.u)} 6V{num(top - 10)}"/>')
    if gate.state in ("waiting", "halted"):
        parts.append(f'<circle class="d-box" cx="{num(edge.u)}" cy="{num(top - 22)}" r="12"/>')
        parts.append(_use(_gate_icon(gate), edge.u - 7, top - 29, tone))
    return parts


def _tall(waves: Sequence[Wave], prefix: str, labels: Sequence[str]) -> str:
    first = 12.0 if waves and waves[0].gate is not None else 4.0
    shape = Shape(first, _WAVE_HEIGHT, 58, 8, 54, 3, FLOORS, (8, 9), swapped=True)
    height = first + _WAVE_HEIGHT * len(waves) + 4
    parts = [
        f'<svg class="tide--tall" viewBox="0 0 350 {num(height)}" aria-hidden="true">{_patterns(prefix, turned=True)}',
        channel(shape, prefix, waves, patterns=True),
    ]
    for i, (edge, wave) in enumerate(zip(edges(shape, waves), waves, strict=True)):
        y = edge.u + (36 if i else 20)
        if edge.gate is not None and i:
            parts += _tall_gate(edge, shape)
        parts.append(_text(132, y, _heading(i + 1, wave)))
        parts.append(_text(132, y + 18, str(escape(wave.extent)), ' class="tz"'))
        if wave.released:
            parts += _counts(wave, 132, 248, y + 42, labels)
        else:
            parts.append(_use("pending", 132, y + 30.5, "tz"))
            words = f'<tspan class="tn">{wave.cohort:,}</tspan> pending, not released'
            parts.append(_text(151, y + 42, words, ' class="tz"'))
    return "".join([*parts, "</svg>"])


def _tall_gate(edge: Edge, shape: Shape) -> list[str]:
    gate = edge.gate
    assert gate is not None
    tone, y = _gate_tone(gate), edge.u
    return [
        f'<path class="d-line" d="M{num(shape.centre + edge.half + 8)} {num(y)}H126"/>',
        _use(_gate_icon(gate), 132, y - 8, tone),
        _text(151, y - 3, str(escape(gate.setting)), ' class="tz"'),
        _text(151, y + 13, str(escape(gate.words)), f' class="{tone}"'),
    ]
