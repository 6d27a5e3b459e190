"""Moving channels and reading their history (SPEC section 5)."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection

from tidegate.control.domain import channels as domain
from tidegate.control.domain.access import Scope
from tidegate.control.domain.channels import Channel, Move
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.services import audit
from tidegate.control.services.node import Node
from tidegate.control.store import artifacts as artifact_store
from tidegate.control.store import channels as store
from tidegate.control.store import engine
from tidegate.control.store import trust as trust_store
from tidegate.errors import NotFound
from tidegate.ids import ARTIFACT_NAME, FleetId, checked


@dataclass(frozen=True, slots=True)
class ChannelPage:
    items: list[Channel]
    total: int
    next_cursor: str | None


@dataclass(frozen=True, slots=True)
class MovePage:
    items: list[Move]
    total: int
    next_cursor: str | None


def move(
    scope: Scope, node: Node, artifact: str, name: str, version: str, reason: str, *, seen: str | None = None
) -> Channel:
    """Make the channel point at a version; a channel that does not exist yet is made. Where it points there already,
    nothing is done and nothing recorded.

    Args:
        seen: the version that it was last seen at (``""``: no channel); None: wherever it is.

    Raises:
        Invalid: a name or the reason breaks its rule.
        NotFound: there is no such version.
        Conflict: the version is withdrawn, the channel was moved meanwhile, or there are too many.
    """
    scope.require("artifacts.publish")
    checked(ARTIFACT_NAME, artifact, "/artifact")
    domain.check_name(name)
    reason = domain.check_reason("move", reason)
    with node.db.write() as tx:
        # The lock of publishing: a version cannot be withdrawn between the look at it and the move.
        trust_store.find(tx, scope.fleet_id, lock=True)
        target = artifact_store.find(tx, scope.fleet_id, artifact, version)
        if target is None:
            raise NotFound(f"cannot find the artifact {artifact} {version[:128]}")
        before = store.find(tx, scope.fleet_id, artifact, name)
        domain.check_move(before, name, version, withdrawn=target.withdrawn_at is not None, seen=seen)
        if before is not None and before.artifact_id == target.id:
            return before
        if before is None:
            domain.check_room(name, store.count(tx, scope.fleet_id, artifact))
        at, by = engine.now(tx), str(scope.actor)
        came = before.version if before is not None else None
        store.put(tx, scope.fleet_id, artifact, name, target.id, at, by)
        store.add_move(tx, scope.fleet_id, artifact, name, came, version, at, by, reason)
        moved = require(tx, scope.fleet_id, artifact, name)
        data = {"from": came, "to": version, "reason": reason}
        audit.record(tx, scope, action="channel.move", subject=moved.subject, data=data)
    return moved


def delete(scope: Scope, node: Node, artifact: str, name: str, reason: str) -> None:
    """Forget a channel; its history stays, and rollouts created from it keep saying so.

    Raises:
        Invalid: the reason. NotFound: there is no such channel.
    """
    scope.require("artifacts.publish")
    reason = domain.check_reason("delete", reason)
    with node.db.write() as tx:
        trust_store.find(tx, scope.fleet_id, lock=True)
        gone = require(tx, scope.fleet_id, artifact, name)
        store.delete(tx, scope.fleet_id, artifact, name)
        at, by = engine.now(tx), str(scope.actor)
        store.add_move(tx, scope.fleet_id, artifact, name, gone.version, None, at, by, reason)
        data = {"from": gone.version, "reason": reason}
        audit.record(tx, scope, action="channel.delete", subject=gone.subject, data=data)


def get(scope: Scope, node: Node, artifact: str, name: str) -> Channel:
    """Raises `NotFound`."""
    scope.require("artifacts.read")
    with node.db.read() as tx:
        return require(tx, scope.fleet_id, artifact, name)


def listed(
    scope: Scope, node: Node, *, artifact: str = "", limit: int = 50, offset: int = 0, cursor: str = ""
) -> ChannelPage:
    """By artifact name and then the channel's."""
    scope.require("artifacts.read")
    position = decode_cursor(cursor, str, str)
    with node.db.read() as tx:
        found, total = store.listed(
            tx,
            scope.fleet_id,
            artifact=artifact,
            after=(str(position[0]), str(position[1])) if position else None,
            limit=limit + 1,
            offset=offset,
        )
    items = found[:limit]
    more = encode_cursor(items[-1].artifact, items[-1].name) if len(found) > limit else None
    return ChannelPage(items, total, more)


def history(
    scope: Scope, node: Node, artifact: str, name: str, *, limit: int = 50, offset: int = 0, cursor: str = ""
) -> MovePage:
    """Who moved it when, from where to where and why, the newest first; of a deleted channel too.

    Raises:
        NotFound: there has never been such a channel.
    """
    scope.require("artifacts.read")
    position = decode_cursor(cursor, int)
    before = int(position[0]) if position else None
    with node.db.read() as tx:
        found, total = store.moves(tx, scope.fleet_id, artifact, name, before=before, limit=limit + 1, offset=offset)
    if not total:
        raise _absent(artifact, name)
    items = found[:limit]
    return MovePage(items, total, encode_cursor(items[-1].id) if len(found) > limit else None)


def require(tx: Connection, fleet_id: FleetId, artifact: str, name: str) -> Channel:
    """Raises `NotFound`."""
    found = store.find(tx, fleet_id, artifact, name)
    if found is None:
        raise _absent(artifact, name)
    return found


def resolve(tx: Connection, fleet_id: FleetId, artifact: str, name: str) -> str:
    """The version that a rollout created now from this channel gets.

    Raises:
        NotFound: there is no such channel. Conflict: it points at a withdrawn version.
    """
    found = require(tx, fleet_id, artifact, name)
    domain.check_usable(found)
    return found.version


def _absent(artifact: str, name: str) -> NotFound:
    return NotFound(f"cannot find the channel {name[:64]} of the artifact {artifact[:128]}")
