"""From text to tree: never evaluated, every mistake told with its place, its column and what may stand there."""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from tidegate.errors import FieldError, Invalid
from tidegate.wire.selector.columns import DEVICE, HARDWARE, OPERATORS, OTHER_NAMES, UNITS, Kind, kind_of, listed
from tidegate.wire.selector.tree import All, Compare, Contains, Expression, Not, OneOf, Some, Value

TEXT_MAX = 4096
DEPTH_MAX = 32
TOKENS_MAX = 512
VALUES_MAX = 200
NUMBER_MAX = 2**63 - 1
_TOKEN = re.compile(
    # No control characters, which no fact has, and nothing that is no character.
    r"\s*(?:(?P<string>\"[^\"\\\x00-\x1f\x7f\ud800-\udfff]{0,256}\")|(?P<number>\d{1,18})(?P<unit>[A-Za-z]*)"
    r"|(?P<name>[A-Za-z_][A-Za-z0-9_]*(?:\.[a-z0-9][a-z0-9._-]{0,62})?)|(?P<sign>==|!=|<=|>=|<|>|\(|\)|,))",
    re.ASCII,
)
_WORDS = ("and", "or", "not", "in", "startswith")


class BadSelector(Invalid):
    """`position` counts characters from 1."""

    def __init__(self, position: int, rule: str, pointer: str) -> None:
        told = f"at character {position}, {rule}"
        super().__init__(f"cannot read the selector: {told}", (FieldError(pointer, told),))
        self.position = position


def parse(text: str, pointer: str = "/selector", columns: Mapping[str, Kind] = DEVICE) -> Expression:
    """The tree of a selector over `columns`.

    Raises:
        BadSelector: it is not one; the error names `pointer`, the place, and what is allowed there.
    """
    return _parsed(text, pointer, hardware=columns is HARDWARE)


@lru_cache(maxsize=1024)
def _parsed(text: str, pointer: str, *, hardware: bool) -> Expression:
    return _Parser(text, pointer, HARDWARE if hardware else DEVICE).whole()


@dataclass(frozen=True, slots=True)
class _Token:
    kind: Literal["string", "number", "name", "sign", "end"]
    text: str
    position: int
    value: Value = ""


class _Parser:
    """Recursive descent: or, and, not, comparison."""

    def __init__(self, text: str, pointer: str, columns: Mapping[str, Kind]) -> None:
        self._pointer = pointer
        self._columns = columns
        if len(text) > TEXT_MAX:
            raise self._wrong(TEXT_MAX, f"a selector ends: it has at most {TEXT_MAX:,} characters")
        self._tokens = list(self._split(text))
        self._at = 0

    def whole(self) -> Expression:
        found = self._any(DEPTH_MAX)
        if self._now.kind != "end":
            raise self._expected("'and', 'or' or the end")
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
            raise self._wrong(self._now.position, f"it is nested deeper than {DEPTH_MAX} levels")
        if self._take("not"):
            return Not(self._one(depth - 1))
        if self._take("("):
            inner = self._any(depth - 1)
            self._expect(")")
            return inner
        return self._comparison()

    def _comparison(self) -> Expression:
        first = self._now
        if first.kind == "string":
            return self._membership(str(first.value))
        if first.kind != "name" or first.text in _WORDS:
            raise self._expected(f'a column ({listed(self._columns)}) or a text in "quotes"')
        kind = self._kind(first)
        self._at += 1
        if kind == "set":
            raise self._wrong(first.position, f'{first.text} is a set: ask for "…" in {first.text}')
        negated = self._take("not")
        if negated or self._now.text == "in":
            self._expect("in")
            return OneOf(first.text, self._values(first.text, kind), negated)
        for operator in OPERATORS[kind]:
            if self._take(operator):
                return Compare(first.text, operator, self._value(first.text, kind))
        raise self._expected(f"after {first.text} one of {' '.join(OPERATORS[kind])} in 'not in'")

    def _membership(self, value: str) -> Expression:
        """`"nvidia-gpu" in accelerators`."""
        self._at += 1
        negated = self._take("not")
        self._expect("in")
        token = self._now
        sets = {name: kind for name, kind in self._columns.items() if kind == "set"}
        if token.kind != "name" or token.text not in sets:
            raise self._expected(f"one of the sets {listed(sets)}")
        self._at += 1
        found = Contains(token.text, value)
        return Not(found) if negated else found

    def _kind(self, token: _Token) -> Kind:
        kind = kind_of(token.text, self._columns)
        if kind is not None:
            return kind
        if token.text.split(".")[0] in ("group", "groups"):
            rule = "groups are not asked for in a selector; give the group itself as the target"
        elif kind_of(token.text, DEVICE) is not None:
            rule = f"{token.text} cannot be asked for here: a device judges this alone, by {listed(self._columns)}"
        else:
            rule = f"there is no column {token.text}; {self._meant(token.text)}allowed are {listed(self._columns)}"
        raise self._wrong(token.position, rule)

    def _meant(self, text: str) -> str:
        other = OTHER_NAMES.get(text.lower().split(".")[0])
        if other is not None and (other in self._columns or other == "tags.KEY"):
            key = text.partition(".")[2]
            return f"did you mean {other.replace('KEY', key) if key else other}? "
        names = [name for name in self._columns if not name.endswith(".")]
        prefix, dot, key = text.partition(".")
        if dot:
            near = difflib.get_close_matches(f"{prefix}.", ["tags.", "declared."], 1)
            return f"did you mean {near[0]}{key}? " if near and near[0] in self._columns else ""
        near = difflib.get_close_matches(text.lower(), names, 1, 0.6)
        return f"did you mean {near[0]}? " if near else ""

    def _values(self, name: str, kind: Kind) -> tuple[Value, ...]:
        self._expect("(")
        found = [self._value(name, kind)]
        while self._take(","):
            if len(found) == VALUES_MAX:
                raise self._wrong(self._now.position, f"a list has at most {VALUES_MAX} values; use several, with or")
            found.append(self._value(name, kind))
        self._expect(")")
        return tuple(found)

    def _value(self, name: str, kind: Kind) -> Value:
        token = self._now
        if token.kind != ("number" if kind == "number" else "string"):
            wanted = "a number such as 8 or 8GiB" if kind == "number" else 'a text in "quotes"'
            raise self._expected(f"for {name} {wanted}")
        self._at += 1
        return token.value

    def _expect(self, text: str) -> None:
        if not self._take(text):
            raise self._expected(f"'{text}'")

    def _split(self, text: str) -> Iterator[_Token]:
        at, end = 0, len(text.rstrip())
        for _ in range(TOKENS_MAX):
            if at >= end:
                yield _Token("end", "", end + 1)
                return
            found = _TOKEN.match(text, at)
            if found is None:
                position = at + 1 + len(text[at:]) - len(text[at:].lstrip())
                raise self._wrong(position, _unreadable(text[position - 1 :]))
            at = found.end()
            yield self._token(found)
        raise self._wrong(at + 1, f"it has more than {TOKENS_MAX} words")

    def _token(self, found: re.Match[str]) -> _Token:
        if (string := found["string"]) is not None:
            return _Token("string", string, found.start("string") + 1, string[1:-1])
        if (number := found["number"]) is not None:
            if found["unit"] not in UNITS:
                units = ", ".join(filter(None, UNITS))
                raise self._wrong(found.start("unit") + 1, f"there is no unit {found['unit']}; allowed are {units}")
            value = int(number) * UNITS[found["unit"]]
            if value > NUMBER_MAX:
                raise self._wrong(found.start("number") + 1, "the number is too large: at most 8388607TiB")
            return _Token("number", number, found.start("number") + 1, value)
        kind: Literal["name", "sign"] = "name" if found["name"] is not None else "sign"
        return _Token(kind, found[kind], found.start(kind) + 1)

    def _expected(self, what: str) -> BadSelector:
        token = self._now
        here = "it ends" if token.kind == "end" else f"there is {token.text[:40]}"
        return self._wrong(token.position, f"{here}, expected {what}")

    def _wrong(self, position: int, rule: str) -> BadSelector:
        return BadSelector(position, rule, self._pointer)


def _unreadable(rest: str) -> str:
    if rest.startswith('"'):
        return 'a text begins that does not end: texts stand in "quotes", with no quote, backslash or line end in them'
    if rest.startswith("'"):
        return 'texts stand in double "quotes"'
    if rest.startswith("="):
        return "a single = is no sign: write =="
    return f'{rest[0]!r} cannot stand here: expected a column, a number, a text in "quotes" or a sign'
