"""Importing and exporting devices as a sheet: all or nothing, one transaction, one audit record."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass

from sqlalchemy import Connection

from tidegate.control.domain import device_import
from tidegate.control.domain.access import Scope
from tidegate.control.domain.device_import import Plan, Unknown
from tidegate.control.domain.sheet import Reader, Sheet, rows
from tidegate.control.services import audit, devices, tokens
from tidegate.control.services.devices import Search
from tidegate.control.services.node import Node
from tidegate.control.services.tokens import Bound, TokenTerms
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store import groups as group_store
from tidegate.control.store import sheets as store
from tidegate.errors import Conflict, FieldError, Invalid
from tidegate.ids import GroupId

#: Examples that a preview gives.
SHOWN = 20
TOKEN_SECONDS = 7 * 86_400
#: Devices that are looked at again one by one; beyond, the whole fleet is.
_NUDGED = 1_000
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Figures:
    """What an import does, or did; `shown` are the first changes in words, `unknown` the first names nobody bears."""

    sha256: str
    rows: int
    changed: int
    unchanged: int
    tags_put: int
    tags_removed: int
    groups_joined: int
    groups_left: int
    unknown: tuple[str, ...]
    unknown_count: int
    shown: tuple[tuple[str, str], ...]
    errors: tuple[FieldError, ...]
    wrong: int
    tokens: tuple[Bound, ...] = ()


@dataclass(frozen=True, slots=True)
class Document:
    """A sheet as it was read, and its hash."""

    sheet: Sheet
    sha256: str


class Intake:
    """A sheet as it arrives. Raises `Invalid` or `TooLarge` as `Reader`."""

    def __init__(self) -> None:
        self._reader = Reader()
        self._digest = hashlib.sha256()

    def feed(self, piece: bytes) -> None:
        self._reader.feed(piece)
        self._digest.update(piece)

    def end(self) -> Document:
        return Document(self._reader.end(), self._digest.hexdigest())


def read(raw: bytes) -> Document:
    """The same of a file that is at hand."""
    intake = Intake()
    intake.feed(raw)
    return intake.end()


def preview(scope: Scope, node: Node, document: Document, unknown: Unknown = "refuse") -> Figures:
    """What importing would change, and every mistake; nothing is changed."""
    scope.require("devices.write")
    with node.db.read() as tx:
        planned, _ = _plan(tx, scope, document.sheet, unknown)
    return _figures(document, planned)


def carry_out(
    scope: Scope,
    node: Node,
    document: Document,
    unknown: Unknown = "refuse",
    expires_in_seconds: int | None = None,
) -> Figures:
    """Import: every line or none.

    Args:
        unknown: what becomes of names that no active device bears: the whole is refused, they are left out, or each
            gets an enrollment token bound to its name that brings tags and groups of its line.

    Raises:
        Invalid: naming the lines with mistakes.
        Forbidden: groups change and groups.write is missing, or tokens are asked for and tokens.write is.
    """
    scope.require("devices.write")
    if unknown == "enroll":
        scope.require("tokens.write")
    with node.db.write() as tx:
        planned, group_ids = _plan(tx, scope, document.sheet, unknown)
        if planned.wrong:
            more = planned.wrong - len(planned.errors)
            told = (FieldError("/lines", f"{more:,} more mistakes"),) if more else ()
            raise Invalid("cannot import: nothing was changed", (*planned.errors, *told))
        if any(one.join or one.leave for one in planned.changes):
            scope.require("groups.write")
        store.apply(tx, planned.changes, group_ids)
        minted = _mint(tx, scope, planned, expires_in_seconds or TOKEN_SECONDS) if unknown == "enroll" else ()
        if planned.changes and store.held_groups(tx, scope.fleet_id):
            device_store.bump(tx, scope.fleet_id)
        store.forget(tx, scope.fleet_id, str(scope.actor))
        figures = _figures(document, planned, minted)
        audit.record(tx, scope, action="device.import", subject=f"fleet:{scope.fleet}", data=_audited(figures))
    touched = {one.device for one in planned.changes}
    if touched:
        node.hub.nudge("devices", scope.fleet_id, touched if len(touched) <= _NUDGED else None)
    return figures


def keep(scope: Scope, node: Node, document: Document, raw: bytes) -> None:
    """Remember what was previewed, for `kept`: the last of each person, for a day."""
    scope.require("devices.write")
    with node.db.write() as tx:
        store.keep(tx, scope.fleet_id, str(scope.actor), document.sha256, raw, engine.now(tx))


def kept(scope: Scope, node: Node, sha256: str) -> Document:
    """The sheet that this person previewed. Raises `Conflict` when it is another one by now."""
    scope.require("devices.write")
    with node.db.read() as tx:
        raw = store.kept(tx, scope.fleet_id, str(scope.actor), sha256)
    if raw is None:
        raise Conflict("cannot import what was previewed: it is no longer kept; choose the file again")
    return read(raw)


def export(scope: Scope, node: Node, search: Search) -> Iterator[bytes]:
    """The devices that `search` finds, by name, as a sheet that imports to the same."""
    scope.require("devices.read")
    with node.db.read() as tx:
        keys = store.tag_keys(tx, scope.fleet_id)
    first = devices.listed(scope, node, search, limit=_PAGE)  # what cannot be found is refused before anything is sent

    def pieces() -> Iterator[bytes]:
        yield rows([["name", "groups", *(f"tag:{key}" for key in keys)]]).encode()
        page = first
        while True:
            found = (view.device for view in page.items)
            yield rows(
                [one.name, " ".join(one.static_groups), *(one.tags.get(key, "") for key in keys)] for one in found
            ).encode()
            if page.next_after is None:
                return
            page = devices.listed(scope, node, search, after=page.next_after, limit=_PAGE)

    return pieces()


def _plan(tx: Connection, scope: Scope, sheet: Sheet, unknown: Unknown) -> tuple[Plan, dict[str, GroupId]]:
    known = store.known(tx, scope.fleet_id, [line.name for line in sheet.lines])
    named = {name for line in sheet.lines for name in line.groups or ()}
    named |= {name for one in known.values() for name in one.groups}
    group_ids = group_store.by_names(tx, scope.fleet_id, named)
    return device_import.plan(sheet, known, group_ids, unknown), group_ids


def _mint(tx: Connection, scope: Scope, planned: Plan, seconds: int) -> tuple[Bound, ...]:
    terms = [
        TokenTerms(
            device_name=line.name,
            expires_in_seconds=seconds,
            tags={key: value for key, value in line.tags.items() if value},
            groups=line.groups or (),
        )
        for line in planned.unknown
    ]
    return tokens.insert_many(tx, scope, terms, engine.now(tx))


def _figures(document: Document, planned: Plan, minted: tuple[Bound, ...] = ()) -> Figures:
    changes = planned.changes
    return Figures(
        sha256=document.sha256,
        rows=planned.rows,
        changed=len(changes),
        unchanged=planned.rows - len(planned.unknown) - len(changes),
        tags_put=sum(len(one.put) for one in changes),
        tags_removed=sum(len(one.remove) for one in changes),
        groups_joined=sum(len(one.join) for one in changes),
        groups_left=sum(len(one.leave) for one in changes),
        unknown=tuple(line.name for line in planned.unknown[:SHOWN]),
        unknown_count=len(planned.unknown),
        shown=tuple((one.name, one.words()) for one in changes[:SHOWN]),
        errors=planned.errors,
        wrong=planned.wrong,
        tokens=minted,
    )


def _audited(figures: Figures) -> dict[str, object]:
    return {
        "sha256": figures.sha256,
        "rows": figures.rows,
        "changed": figures.changed,
        "tags_put": figures.tags_put,
        "tags_removed": figures.tags_removed,
        "groups_joined": figures.groups_joined,
        "groups_left": figures.groups_left,
        "unknown": figures.unknown_count,
        "tokens": [one.name for one in figures.tokens],
    }
