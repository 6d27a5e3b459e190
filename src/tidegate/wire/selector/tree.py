"""The tree of a selector, and its one canonical spelling."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from tidegate.wire.selector.columns import Operator

Value = str | int


@dataclass(frozen=True, slots=True)
class Compare:
    name: str
    operator: Operator
    value: Value


@dataclass(frozen=True, slots=True)
class OneOf:
    """`name in (…)`; `negated`: `name not in (…)`, which an unknown fact does not meet either."""

    name: str
    values: tuple[Value, ...]
    negated: bool = False


@dataclass(frozen=True, slots=True)
class Contains:
    """`value in name`, for columns that are sets."""

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


Leaf = Compare | OneOf | Contains
Expression = Leaf | Not | All | Some


def leaves(expression: Expression) -> Iterator[Leaf]:
    """The comparisons, in the order of the text."""
    match expression:
        case All(of=parts) | Some(of=parts):
            for part in parts:
                yield from leaves(part)
        case Not(of=part):
            yield from leaves(part)
        case _:
            yield expression


def columns_of(expression: Expression) -> tuple[str, ...]:
    """The columns that are asked for, each once."""
    return tuple(dict.fromkeys(leaf.name for leaf in leaves(expression)))


def written(expression: Expression) -> str:
    """The text that parses to just this tree."""
    match expression:
        case All(of=parts):
            return " and ".join(_part(part) for part in parts)
        case Some(of=parts):
            return " or ".join(_part(part) for part in parts)
        case Not(of=part):
            return f"not {_part(part)}"
        case Contains(name=name, value=value):
            return f"{_value(value)} in {name}"
        case OneOf(name=name, values=values, negated=negated):
            return f"{name} {'not in' if negated else 'in'} ({', '.join(map(_value, values))})"
        case Compare(name=name, operator=operator, value=value):
            return f"{name} {operator} {_value(value)}"


def _part(expression: Expression) -> str:
    text = written(expression)
    return f"({text})" if isinstance(expression, All | Some) else text


def _value(value: Value) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)
