"""Groups and freezes in the operator API."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.device import DeviceName
from tidegate.wire.operator.common import ListQuery, OperatorRequest, SelectorText, Time
from tidegate.wire.operator.devices import HoldInfo

# A name that nobody could bear is reported as unknown, like any other that nobody bears.
Names = Annotated[tuple[Annotated[str, Meta(max_length=128)], ...], Meta(max_length=10_000)]


class GroupQuery(ListQuery, frozen=True, kw_only=True):
    search: Annotated[str, Meta(max_length=128)] = ""


class NewGroup(OperatorRequest, frozen=True, kw_only=True):
    """Static with `devices`, or computed by `selector`."""

    name: DeviceName
    devices: Names = ()
    selector: SelectorText | None = None


class ChangeGroup(OperatorRequest, frozen=True, kw_only=True):
    """What is left out stays as it is."""

    name: DeviceName | None = None
    selector: SelectorText | None = None


class ChangeMembers(OperatorRequest, frozen=True, kw_only=True):
    devices: Annotated[Names, Meta(min_length=1)]


class GroupInfo(Struct, frozen=True, kw_only=True):
    """`selector` null: a static group. `size` counts living devices."""

    id: int
    name: str
    selector: str | None
    size: int
    created_at: Time
    hold: HoldInfo | None


class Membership(Struct, frozen=True, kw_only=True):
    """`changed` devices went in or out; `unknown` are the names that nobody bears."""

    id: int
    group: GroupInfo
    changed: int
    unknown: tuple[str, ...]


class Freeze(Struct, frozen=True):
    """The fleet's own hold; null: it is not frozen."""

    hold: HoldInfo | None
