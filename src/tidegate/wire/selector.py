"""The selector language (SPEC section 6): which devices, said by their facts and tags.

    arch == "arm64" and ram_bytes >= 8GiB and tags.site in ("plant-7", "plant-8") and "nvidia-gpu" in accelerators

Parsed into a tree and judged by a pure function; the same language for targets and for `target_hardware`. A fact that a
device does not have compares with nothing: every comparison with it is false, also `!=`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tidegate.errors import FieldError, Invalid
from tidegate.wire.device import HardwareProfile

TEXT_MAX = 4096
DEPTH_MAX = 32
TOKENS_MAX = 512

WORDS = ("arch", "os", "os_version", "kernel", "board")
NUMBERS = ("cpu_count", "ram_bytes", "disk_bytes")
LISTS = ("accelerators", "runtimes")
_UNITS = {"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
          "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}  # fmt: skip
_TOKEN = re.compile(
    r"\s*(?:(?P<string>\"[^\"\\\n]{0,256}\")|(?P<number>\d{1,18})(?P<unit>[A-Za-z]*)"
    r"|(?P<name>[a-z_]+(?:\.[a-z0-9][a-z0-9._-]{0,62})?)|(?P<sign>==|!=|<=|>=|<|>|\(|\)|,))"
)

Operator = Literal["==", "!=", "<", "<=", ">", ">="]
Value = str | int
_EQUALITY: tuple[Operator, ...] = ("==", "!=")
_ORDERS: tuple[Operator, ...] = (*_EQUALITY, "<", "<=", ">", ">=")


@dataclass(frozen=True, slots=True)
class Compare:
    name: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    name: str
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True)
class Contains:
    """`value in name`, for facts that are lists."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class Not:
    of: Expression


@dataclass(frozen=True, slots=True)
class All:
    of: tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class Some:
    of: tuple[Expression, ...]


Expression = Compare | OneOf | Contains | Not | All | Some


@dataclass(frozen=True, slots=True)
class Subject:
    """What a selector judges."""

    hardware: HardwareProfile
    tags: Mapping[str, str] = field(default_factory=dict)


def parse(text: str, pointer: str = "/target_hardware") -> Expression:
    """The tree of a selector.

    Raises:
        Invalid: it is not one; the error names `pointer`, the column (from 1) and what was expected there.
    """
    return _Parser(text, pointer).whole()


def matches(expression: Expression, subject: Subject) -> bool:
    match expression:
        case All(of=parts):
            return all(matches(part, subject) for part in parts)
        case Some(of=parts):
            return any(matches(part, subject) for part in parts)
        case Not(of=part):
            return not matches(part, subject)
        case Contains(name=name, value=value):
            return value in getattr(subject.hardware, name)
        case OneOf(name=name, values=values):
            known = _fact(name, subject)
            return known is not None and known in values
        case Compare():
            return _holds(_fact(expression.name, subject), expression)


def unmet(text: str, hardware: HardwareProfile) -> str:
    """Why a device with this hardware does not meet `text`; empty when it does. An empty `text` asks for nothing.

    Raises:
        Invalid: `text` is no selector.
    """
    if not text:
        return ""
    expression = parse(text)
    subject = Subject(hardware)
    if matches(expression, subject):
        return ""
    has = ", ".join(f"{name} {_shown(name, subject)}" for name in sorted(set(_names(expression))))
    return f"it needs {text}; the device has {has}"


def _names(expression: Expression) -> Iterator[str]:
    match expression:
        case All(of=parts) | Some(of=parts):
            for part in parts:
                yield from _names(part)
        case Not(of=part):
            yield from _names(part)
        case Compare(name=name) | OneOf(name=name) | Contains(name=name):
            yield name


def _fact(name: str, subject: Subject) -> Value | None:
    if name.startswith("tags."):
        return subject.tags.get(name.removeprefix("tags."))
    value: Value = getattr(subject.hardware, name)
    return value or None


def _shown(name: str, subject: Subject) -> str:
    if name in LISTS:
        return ", ".join(getattr(subject.hardware, name)) or "none"
    known = _fact(name, subject)
    return "unknown" if known is None else str(known)


def _holds(known: Value | None, asked: Compare) -> bool:
    if known is None:
        return False
    if asked.operator == "==":
        return known == asked.value
    if asked.operator == "!=":
        return known != asked.value
    assert isinstance(known, int)
    assert isinstance(asked.value, int)
    return {
        "<": known < asked.value,
        "<=": known <= asked.value,
        ">": known > asked.value,
        ">=": known >= asked.value,
    }[asked.operator]


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["string", "number", "name", "sign", "end"]
    text: str
    column: int
    value: Value = ""


class _Parser:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, text: str, pointer: str) -> None:
        self._pointer = pointer
        if len(text) > TEXT_MAX:
            raise self._wrong(TEXT_MAX, f"a selector of at most {TEXT_MAX} characters")
        self._tokens = list(self._split(text))
        self._at = 0

    def whole(self) -> Expression:
        found = self._any(DEPTH_MAX)
        if self._now.kind != "end":
            raise self._wrong(self._now.column, "'and', 'or' or the end")
        return found

    @property
    def _now(self) -> _Token:
        return self._tokens[self._at]

    def _take(self, text: str) -> bool:
        """Step over a keyword or sign if it is next."""
        if self._now.kind in ("name", "sign") and self._now.text == text:
            self._at += 1
            return True
        return False

    def _any(self, depth: int) -> Expression:
        parts = [self._every(depth)]
        while self._take("or"):
            parts.append(self._every(depth))
        return parts[0] if len(parts) == 1 else Some(tuple(parts))

    def _every(self, depth: int) -> Expression:
        parts = [self._one(depth)]
        while self._take("and"):
            parts.append(self._one(depth))
        return parts[0] if len(parts) == 1 else All(tuple(parts))

    def _one(self, depth: int) -> Expression:
        if depth == 0:
            raise self._wrong(self._now.column, f"at most {DEPTH_MAX} levels")
        if self._take("not"):
            return Not(self._one(depth - 1))
        if self._take("("):
            inner = self._any(depth - 1)
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Expression:
        first = self._now
        self._at += first.kind != "end"
        if first.kind == "string":
            self._expect("in")
            return Contains(self._name(LISTS), str(first.value))
        if first.kind != "name" or not self._known(first.text):
            raise self._wrong(first.column, f"a text, or one of {', '.join((*WORDS, *NUMBERS))}, tags.KEY")
        if self._take("in"):
            return OneOf(first.text, self._values(first.text))
        sign = self._now
        allowed = _ORDERS if first.text in NUMBERS else _EQUALITY
        for operator in allowed:
            if self._take(operator):
                return Compare(first.text, operator, self._value(first.text))
        raise self._wrong(sign.column, f"'in' or one of {' '.join(allowed)}")

    def _values(self, name: str) -> tuple[Value, ...]:
        self._expect("(")
        found = [self._value(name)]
        while self._take(","):
            found.append(self._value(name))
        self._expect(")")
        return tuple(found)

    def _value(self, name: str) -> Value:
        token = self._now
        wanted = "number" if name in NUMBERS else "string"
        if token.kind != wanted:
            raise self._wrong(token.column, "a number" if wanted == "number" else 'a text in "quotes"')
        self._at += 1
        return token.value

    def _name(self, among: tuple[str, ...]) -> str:
        token = self._now
        if token.kind != "name" or token.text not in among:
            raise self._wrong(token.column, f"one of {', '.join(among)}")
        self._at += 1
        return token.text

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._wrong(self._now.column, f"'{text}'")

    def _known(self, name: str) -> bool:
        return name in WORDS or name in NUMBERS or name.startswith("tags.")

    def _split(self, text: str) -> Iterator[_Token]:
        at, end = 0, len(text.rstrip())
        for _ in range(TOKENS_MAX):
            if at >= end:
                yield _Token("end", "", end + 1)
                return
            found = _TOKEN.match(text, at)
            if found is None:
                column = at + 1 + len(text[at:]) - len(text[at:].lstrip())
                raise self._wrong(column, 'a name, a number, a text in "quotes" or a sign')
            at = found.end()
            yield self._token(found)
        raise self._wrong(at + 1, f"at most {TOKENS_MAX} words")

    def _token(self, found: re.Match[str]) -> _Token:
        if (string := found["string"]) is not None:
            return _Token("string", string, found.start("string") + 1, string[1:-1])
        if (number := found["number"]) is not None:
            if found["unit"] not in _UNITS:
                raise self._wrong(found.start("unit") + 1, f"one of the units {', '.join(filter(None, _UNITS))}")
            return _Token("number", number, found.start("number") + 1, int(number) * _UNITS[found["unit"]])
        kind: Literal["name", "sign"] = "name" if found["name"] is not None else "sign"
        return _Token(kind, found[kind], found.start(kind) + 1)

    def _wrong(self, column: int, expected: str) -> Invalid:
        rule = f"column {column}: expected {expected}"
        return Invalid(f"cannot read the selector: {rule}", (FieldError(self._pointer, rule),))
