"""Administering operators (SPEC section 12).

Operators belong to the node, so whoever creates, disables or resets one holds ``users.manage`` for all fleets; an admin
of one fleet gives and takes roles in that fleet only. Nobody gives, takes or overrules more than they hold themselves:
a role, and whatever would let them act as somebody who holds more. The node always keeps one admin of all fleets.
Operators are disabled, never deleted: the audit log names them, and a name must not become somebody else's.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Connection

from tidegate.control.domain.access import EVERY_FLEET, ROLES, Grant, Identity, Scope
from tidegate.control.domain.attempts import OWN_PASSWORD
from tidegate.control.domain.paging import decode_cursor, encode_cursor
from tidegate.control.domain.people import Operator, check_password
from tidegate.control.services import attempts, audit, secrets
from tidegate.control.services.node import Node
from tidegate.control.store import api_keys, engine, fleets, paging, sessions
from tidegate.control.store import people as store
from tidegate.control.store import roles as role_store
from tidegate.errors import Conflict, FieldError, Forbidden, Invalid, NotFound
from tidegate.ids import DEVICE_NAME, FleetId, OperatorId, checked

ANY = "*"


@dataclass(frozen=True, slots=True)
class NamedGrant:
    """A role and the fleet's name; `*` for every fleet."""

    role: str
    fleet: str


@dataclass(frozen=True, slots=True)
class OperatorDetail:
    operator: Operator
    roles: tuple[NamedGrant, ...]


@dataclass(frozen=True, slots=True)
class Operators:
    items: tuple[OperatorDetail, ...]
    total: int
    next_cursor: str | None


def create_operator(
    scope: Scope, node: Node, *, name: str, roles: Sequence[NamedGrant], password: str | None
) -> tuple[OperatorDetail, str | None]:
    """Create an operator; the generated password comes with it when none was given.

    Raises:
        Conflict: the name is taken.
        Invalid: name, password, a role or a fleet's name.
        Forbidden: a role holds more than the scope does.
    """
    scope.require_everywhere("users.manage")
    checked(DEVICE_NAME, name, "/name")
    generated = None if password is not None else secrets.new_password()
    chosen = password if password is not None else generated
    assert chosen is not None
    check_password(name, chosen)
    hashed = secrets.hash_password(chosen)
    with node.db.write() as tx:
        if store.operator_by_name(tx, name) is not None:
            raise Conflict(f"cannot create the operator {name}: the name is taken")
        grants = _grants(tx, roles)
        scope.require_held(grants, f"create the operator {name}")
        operator_id = store.insert_operator(tx, name, hashed, engine.now(tx))
        store.replace_grants(tx, operator_id, grants)
        detail = _detail(tx, _existing(tx, name))
        _record(tx, scope, "operator.create", name, {"roles": _told(detail.roles)})
    return detail, generated


def list_operators(
    scope: Scope, node: Node, *, text: str = "", limit: int = 50, offset: int = 0, cursor: str = ""
) -> Operators:
    """By name; `text` is a part of it.

    Who administers one fleet sees its operators and those of all fleets, and no role in another fleet.
    """
    scope.require("users.manage")
    position = decode_cursor(cursor, str)
    after = str(position[0]) if position else ""
    fleet_id = None if _everywhere(scope) else scope.fleet_id
    with node.db.read() as tx:
        found = store.list_operators(tx, fleet_id, text=text[:64], after=after, offset=offset, limit=limit + 1)
        names = _fleet_names(tx)
        items = tuple(_seen_by(scope, OperatorDetail(one, _named(names, one.grants))) for one in found[:limit])
        total = paging.total(tx, store.operators_of(fleet_id, text[:64]))
    return Operators(items, total, encode_cursor(items[-1].operator.name) if len(found) > limit else None)


def get_operator(scope: Scope, node: Node, name: str) -> OperatorDetail:
    """One operator, as far as the scope may see them.

    Raises:
        NotFound: no such operator, or one without a role in the scope's fleet.
    """
    scope.require("users.manage")
    with node.db.read() as tx:
        operator = store.operator_by_name(tx, name[:64])
        reached = operator is not None and any(one.fleet_id in (scope.fleet_id, EVERY_FLEET) for one in operator.grants)
        if operator is None or not (reached or _everywhere(scope)):
            raise NotFound(f"cannot find the operator {name[:64]}")
        return _seen_by(scope, _detail(tx, operator))


def set_roles(scope: Scope, node: Node, name: str, roles: Sequence[NamedGrant]) -> OperatorDetail:
    """Replace an operator's roles; who administers one fleet replaces those in it, the others stay as they are.

    Raises:
        NotFound: no such operator.
        Forbidden: a role given or taken is in a fleet where the scope lacks `users.manage`, or holds more than it does.
        Conflict: it would leave nobody who administers all fleets.
    """
    scope.require("users.manage")
    if any(role.fleet not in (scope.fleet, ANY) for role in roles):
        scope.require_everywhere("users.manage")  # before anybody or any fleet is looked for: they are not to be seen
    with node.db.write() as tx:
        administrators = store.lock_administrators(tx)
        operator = _existing(tx, name)
        _refuse_sign_on(operator, "set the roles", "the provider and the setting oidc.roles say which they have")
        grants = _grants(tx, roles)
        if not _everywhere(scope):
            unseen = [one for one in operator.grants if one.fleet_id not in (scope.fleet_id, EVERY_FLEET)]
            grants = (*grants, *unseen)
        changed = set(grants) ^ set(operator.grants)
        if any(grant.fleet_id != scope.fleet_id for grant in changed):
            scope.require_everywhere("users.manage")
        scope.require_held(_in_order(changed), f"change the roles of {name}")
        if not _administers(grants):
            _check_one_is_left(administrators, operator, "take this role")
        before = _detail(tx, operator).roles
        store.replace_grants(tx, operator.id, grants)
        detail = _detail(tx, _existing(tx, name))
        _record(tx, scope, "operator.set-roles", name, {"before": _told(before), "after": _told(detail.roles)})
    node.hub.nudge("people", EVERY_FLEET)
    return _seen_by(scope, detail)


def disable_operator(scope: Scope, node: Node, name: str) -> None:
    """Refuse every sign-in, end all sessions and suspend the API keys of an operator; again changes nothing."""
    scope.require_everywhere("users.manage")
    with node.db.write() as tx:
        administrators = store.lock_administrators(tx)
        operator = _existing(tx, name)
        if operator.disabled_at is not None:
            return
        scope.require_held(operator.grants, f"disable {name}")
        _check_one_is_left(administrators, operator, "disable this operator")
        now = engine.now(tx)
        store.set_disabled(tx, operator.id, now)
        ended = sessions.delete_sessions_of(tx, operator.id)
        sessions.forget_browsers_of(tx, operator.id)
        keys = api_keys.count_of_maker(tx, operator.name, now)
        _record(tx, scope, "operator.disable", name, {"sessions_ended": ended, "api_keys_suspended": keys})
    node.hub.nudge("people", EVERY_FLEET)


def enable_operator(scope: Scope, node: Node, name: str) -> None:
    """Undo `disable_operator`: they may sign in, and the API keys they made work again. Again changes nothing."""
    scope.require_everywhere("users.manage")
    with node.db.write() as tx:
        operator = _existing(tx, name)
        if operator.disabled_at is None:
            return
        scope.require_held(operator.grants, f"enable {name}")
        store.set_disabled(tx, operator.id, None)
        keys = api_keys.count_of_maker(tx, operator.name, engine.now(tx))
        _record(tx, scope, "operator.enable", name, {"api_keys_resumed": keys})


def reset_password(scope: Scope, node: Node, name: str) -> str:
    """Give another operator a new generated password and end all their sessions; it is shown this once.

    Raises:
        Conflict: it is one's own, which is changed by who knows the present one.
        Forbidden: they hold more than the scope does, and whoever knows their password could act as them.
    """
    scope.require_everywhere("users.manage")
    if name == scope.person:
        raise Conflict("cannot reset one's own password: change it, giving the present one")
    password = secrets.new_password()
    hashed = secrets.hash_password(password)
    with node.db.write() as tx:
        operator = _existing(tx, name)
        _refuse_sign_on(operator, "reset the password", "they have none here")
        scope.require_held(operator.grants, f"reset the password of {name}")
        store.set_password(tx, operator.id, hashed)
        ended = sessions.delete_sessions_of(tx, operator.id)
        sessions.forget_browsers_of(tx, operator.id)
        _record(tx, scope, "operator.reset-password", name, {"sessions_ended": ended})
    node.hub.nudge("people", EVERY_FLEET)
    return password


def change_own_password(
    scope: Scope, node: Node, operator_id: OperatorId | None, *, current: str, password: str, keep_session: str = ""
) -> None:
    """Change the password of whoever asks, and end their sessions but the one they ask with (its id).

    Raises:
        Forbidden: an API key has no password.
        Invalid: the current password is wrong, or the new one cannot be chosen.
        Conflict: it was reset or the operator disabled meanwhile.
    """
    if operator_id is None:
        raise Forbidden("cannot change the password of an API key; sign in as an operator")
    with node.db.read() as tx:
        operator = store.operator_by_id(tx, operator_id)
    if operator is None:
        raise NotFound("cannot find the operator who asks")
    _refuse_sign_on(operator, "change the password", "they have none here; the provider does")
    with attempts.attempt(node, (OWN_PASSWORD, operator.name)) as attempt:
        if not secrets.password_matches(current, operator.password_hash):
            attempt.failed()
            raise Invalid("cannot change the password: the current one is wrong", (FieldError("/current", "is wrong"),))
        attempt.succeeded()
    check_password(operator.name, password)
    hashed = secrets.hash_password(password)
    with node.db.write() as tx:
        locked = store.operator_by_name(tx, operator.name, lock=True)
        if locked is None or locked.disabled_at is not None or locked.password_hash != operator.password_hash:
            raise Conflict("cannot change the password: somebody else changed it at this moment")
        store.set_password(tx, operator.id, hashed)
        kept = [session for session in sessions.sessions_of(tx, operator.id) if session.id == keep_session]
        ended = sessions.delete_sessions_of(tx, operator.id, but=kept[0].secret_sha256 if kept else "")
        _record(tx, scope, "operator.change-password", operator.name, {"sessions_ended": ended})
    node.hub.nudge("people", EVERY_FLEET)


def roles_of(node: Node, identity: Identity) -> tuple[NamedGrant, ...]:
    """What was granted to whoever asks."""
    with node.db.read() as tx:
        return _named(_fleet_names(tx), identity.grants)


def _everywhere(scope: Scope) -> bool:
    return "users.manage" in scope.everywhere


def _seen_by(scope: Scope, detail: OperatorDetail) -> OperatorDetail:
    if _everywhere(scope):
        return detail
    return replace(detail, roles=tuple(role for role in detail.roles if role.fleet in (scope.fleet, ANY)))


def _fleet_names(tx: Connection) -> dict[FleetId, str]:
    return {fleet.id: fleet.name for fleet in fleets.every(tx)} | {EVERY_FLEET: ANY}


def _in_order(grants: Iterable[Grant]) -> list[Grant]:
    return sorted(grants, key=lambda grant: (grant.fleet_id, grant.role))


def _named(names: Mapping[FleetId, str], grants: Sequence[Grant]) -> tuple[NamedGrant, ...]:
    return tuple(NamedGrant(grant.role, names[grant.fleet_id]) for grant in grants if grant.fleet_id in names)


def _existing(tx: Connection, name: str) -> Operator:
    operator = store.operator_by_name(tx, name[:64], lock=True)
    if operator is None:
        raise NotFound(f"cannot find the operator {name[:64]}")
    return operator


def _detail(tx: Connection, operator: Operator) -> OperatorDetail:
    return OperatorDetail(operator, _named(_fleet_names(tx), operator.grants))


def _grants(tx: Connection, roles: Sequence[NamedGrant]) -> tuple[Grant, ...]:
    found: dict[Grant, None] = {}
    for number, role in enumerate(roles):
        fleet = None if role.fleet == ANY else fleets.by_name(tx, role.fleet)
        if role.fleet != ANY and fleet is None:
            rule = f"there is no fleet {role.fleet}"
            raise Invalid(f"cannot give this role: {rule}", (FieldError(f"/roles/{number}/fleet", rule),))
        found[granted(tx, role.role, fleet.id if fleet else EVERY_FLEET, f"/roles/{number}/role")] = None
    return tuple(found)


def granted(tx: Connection, role: str, fleet_id: FleetId, pointer: str) -> Grant:
    """The role in that fleet; an own role's row is locked: what is given now can neither change nor go meanwhile.

    Raises:
        Invalid: there is no such role.
    """
    if role in ROLES:
        return Grant(role, fleet_id)
    found = role_store.by_name(tx, role[:64], lock=True)
    if found is None:
        rule = f"there is no role {role[:64]}"
        raise Invalid(f"cannot give this role: {rule}", (FieldError(pointer, rule),))
    return Grant(role, fleet_id, found.permissions)


def _refuse_sign_on(operator: Operator, what: str, why: str) -> None:
    if operator.sign_on is not None:
        raise Conflict(f"cannot {what} of {operator.name}, who signs on through a provider: {why}", type="signs-on")


def _administers(grants: Sequence[Grant]) -> bool:
    return any(grant.role == "admin" and grant.fleet_id == EVERY_FLEET for grant in grants)


def _check_one_is_left(administrators: Sequence[OperatorId], operator: Operator, what: str) -> None:
    if list(administrators) == [operator.id]:
        raise Conflict(f"cannot {what}: {operator.name} is the last admin of all fleets", type="last-admin")


def _told(roles: Sequence[NamedGrant]) -> list[dict[str, str]]:
    return [{"role": role.role, "fleet": role.fleet} for role in roles]


def _record(tx: Connection, scope: Scope, action: str, name: str, data: dict[str, object]) -> None:
    audit.record_node(tx, scope.actor, action=action, subject=f"user:{name}", data=data)
