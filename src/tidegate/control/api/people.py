"""Sessions, operators and API keys over HTTP."""

from __future__ import annotations

from datetime import datetime

from tidegate.control.api.operations import Call, Operation
from tidegate.control.domain.access import EVERY_FLEET, Actor, Identity
from tidegate.control.domain.people import ApiKey
from tidegate.control.services import api_keys, operator_sessions, people, sessions
from tidegate.control.services.people import ANY, NamedGrant, OperatorDetail
from tidegate.errors import Defect
from tidegate.ids import ApiKeyId
from tidegate.wire.operator import people as wire
from tidegate.wire.operator.common import ListQuery, Page


def _identity(call: Call) -> Identity:
    if call.identity is None:
        raise Defect("an operation that is not public was called by nobody")
    return call.identity


def _begin_session(call: Call) -> wire.SessionStarted:
    body: wire.NewSession = call.body
    started = sessions.sign_in(
        call.node, body.name, body.password, code=body.code, user_agent=call.user_agent, address=call.client
    )  # fmt: skip
    found = sessions.session(call.node, started.session_secret)
    if found is None:
        raise Defect("a session ended as it began")
    return wire.SessionStarted(found.record.id, started.session_secret, started.expires_at, started.operator.name)


def _list_sessions(call: Call) -> wire.Sessions:
    identity = _identity(call)
    items = tuple(
        wire.SessionInfo(
            id=record.id,
            created_at=record.created_at,
            expires_at=record.expires_at,
            last_used_at=record.last_used_at,
            user_agent=record.user_agent,
            address=record.address,
            current=record.id == identity.session,
        )
        for record in sessions.list_sessions(call.node, identity)
    )
    return wire.Sessions(items, len(items))


def _end_session(call: Call) -> None:
    identity = _identity(call)
    wanted = call.path["session"]
    sessions.end_session(call.node, identity, (identity.session or "") if wanted == "current" else wanted)


def _end_others(call: Call) -> wire.SessionsEnded:
    return wire.SessionsEnded(sessions.end_other_sessions(call.node, _identity(call)))


def _list_everybodys(call: Call) -> Page[wire.OperatorSessionInfo]:
    query: wire.ListSessions = call.query
    found = operator_sessions.list_all(
        call.scope, call.node, operator=query.operator, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    items = tuple(
        wire.OperatorSessionInfo(
            id=one.record.id,
            operator=one.operator,
            created_at=one.record.created_at,
            expires_at=one.record.expires_at,
            last_used_at=one.record.last_used_at,
            user_agent=one.record.user_agent,
            address=one.record.address,
        )
        for one in found.items
    )
    return Page(items, found.total, found.next_cursor)


def _end_anybodys(call: Call) -> None:
    operator_sessions.end(call.scope, call.node, call.path["session"])


def _end_all_of(call: Call) -> wire.SessionsEnded:
    return wire.SessionsEnded(operator_sessions.end_all_of(call.scope, call.node, call.path["operator"]))


def _whoami(call: Call) -> wire.WhoAmI:
    identity = _identity(call)
    roles = people.roles_of(call.node, identity)
    return wire.WhoAmI(
        actor=str(call.scope.actor),
        fleet=call.scope.fleet,
        roles=_roles(roles),
        permissions=tuple(sorted(call.scope.permissions)),
    )


def _change_password(call: Call) -> None:
    identity, body = _identity(call), call.body
    people.change_own_password(
        call.scope, call.node, identity.operator_id, current=body.current, password=body.password,
        keep_session=identity.session or "",
    )  # fmt: skip


def _create_operator(call: Call) -> wire.OperatorCreated:
    body: wire.NewOperator = call.body
    detail, password = people.create_operator(
        call.scope, call.node, name=body.name, roles=_named(body.roles), password=body.password
    )
    return wire.OperatorCreated(detail.operator.id, detail.operator.name, _roles(detail.roles), password)


def _list_operators(call: Call) -> Page[wire.OperatorInfo]:
    query: wire.ListOperators = call.query
    found = people.list_operators(
        call.scope, call.node, text=query.q, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return Page(tuple(_operator(detail) for detail in found.items), found.total, found.next_cursor)


def _get_operator(call: Call) -> wire.OperatorInfo:
    return _operator(people.get_operator(call.scope, call.node, call.path["operator"]))


def _set_roles(call: Call) -> wire.OperatorInfo:
    return _operator(people.set_roles(call.scope, call.node, call.path["operator"], _named(call.body.roles)))


def _disable(call: Call) -> None:
    people.disable_operator(call.scope, call.node, call.path["operator"])


def _enable(call: Call) -> None:
    people.enable_operator(call.scope, call.node, call.path["operator"])


def _reset_password(call: Call) -> wire.PasswordReset:
    return wire.PasswordReset(people.reset_password(call.scope, call.node, call.path["operator"]))


def _create_key(call: Call) -> wire.ApiKeyCreated:
    body: wire.NewApiKey = call.body
    key, secret = api_keys.create_api_key(
        call.scope, call.node, name=body.name, role=body.role, every_fleet=body.every_fleet,
        expires_days=body.expires_days,
    )  # fmt: skip
    return wire.ApiKeyCreated(key.id, key.name, secret, key.expires_at)


def _list_keys(call: Call) -> Page[wire.ApiKeyInfo]:
    query: ListQuery = call.query
    found = api_keys.list_api_keys(
        call.scope, call.node, limit=query.limit, offset=query.offset, cursor=query.cursor
    )  # fmt: skip
    now = call.node.clock.now()
    return Page(tuple(_key(call, key, now) for key in found.items), found.total, found.next_cursor)


def _revoke_key(call: Call) -> None:
    api_keys.revoke_api_key(call.scope, call.node, ApiKeyId(call.integer("key")))


def _named(roles: tuple[wire.RoleGrant, ...]) -> list[NamedGrant]:
    return [NamedGrant(role.role, role.fleet) for role in roles]


def _roles(roles: tuple[NamedGrant, ...]) -> tuple[wire.RoleGrant, ...]:
    return tuple(wire.RoleGrant(role=role.role, fleet=role.fleet) for role in roles)


def _operator(detail: OperatorDetail) -> wire.OperatorInfo:
    operator = detail.operator
    return wire.OperatorInfo(
        id=operator.id,
        name=operator.name,
        roles=_roles(detail.roles),
        created_at=operator.created_at,
        disabled=operator.disabled_at is not None,
        signs_on=operator.sign_on is not None,
        grants_until=operator.grants_until,
    )


def _key(call: Call, key: ApiKey, now: datetime) -> wire.ApiKeyInfo:
    return wire.ApiKeyInfo(
        id=key.id,
        name=key.name,
        role=key.grant.role,
        fleet=ANY if key.grant.fleet_id == EVERY_FLEET else call.scope.fleet,
        created_at=key.created_at,
        created_by=str(Actor("user", key.created_by)),
        expires_at=key.expires_at,
        revoked_at=key.revoked_at,
        last_used_at=key.last_used_at,
        state=key.state(now),
        lapses_at=None if key.maker is None else key.maker.grants_until,
    )


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="POST", path="/v1/sessions", permission="", public=True, tag="people", handler=_begin_session,
        summary="Sign in", body=wire.NewSession, answer=wire.SessionStarted, status=201, secret_answer=True,
    ),
    Operation(
        method="GET", path="/v1/sessions", permission="", tag="people", handler=_list_sessions,
        summary="One's own sessions", answer=wire.Sessions,
    ),
    Operation(
        name="sessions.end",
        method="DELETE", path="/v1/sessions/{session}", permission="", tag="people", handler=_end_session,
        summary="End one of one's own sessions (`current`: this one)",
    ),
    Operation(
        method="DELETE", path="/v1/sessions", permission="", tag="people", handler=_end_others,
        summary="End one's own other sessions", answer=wire.SessionsEnded, name="sessions.end_others",
    ),
    Operation(
        method="GET", path="/v1/operator-sessions", permission="users.manage", tag="people",
        handler=_list_everybodys, summary="Everybody's sessions (users.manage for all fleets)",
        query=wire.ListSessions, answer=Page[wire.OperatorSessionInfo],
    ),
    Operation(
        method="DELETE", path="/v1/operator-sessions/{session}", permission="users.manage", tag="people",
        handler=_end_anybodys, summary="End anybody's session",
    ),
    Operation(
        method="GET", path="/v1/me", permission="", tag="people", handler=_whoami,
        summary="Who asks, and what they may", answer=wire.WhoAmI,
    ),
    Operation(
        name="me.change_password",
        method="POST", path="/v1/me/password", permission="", tag="people", handler=_change_password,
        summary="Change one's own password; ends the other sessions", body=wire.ChangePassword,
    ),
    Operation(
        method="GET", path="/v1/operators", permission="users.manage", tag="people", handler=_list_operators,
        summary="Operators", query=wire.ListOperators, answer=Page[wire.OperatorInfo],
    ),
    Operation(
        method="POST", path="/v1/operators", permission="users.manage", tag="people", handler=_create_operator,
        summary="Create an operator", body=wire.NewOperator, answer=wire.OperatorCreated, status=201,
        secret_answer=True,
    ),
    Operation(
        method="GET", path="/v1/operators/{operator}", permission="users.manage", tag="people",
        handler=_get_operator, summary="One operator", answer=wire.OperatorInfo,
    ),
    Operation(
        method="DELETE", path="/v1/operators/{operator}/sessions", permission="users.manage", tag="people",
        handler=_end_all_of, summary="End every session of an operator", answer=wire.SessionsEnded,
        name="operators.end_sessions",
    ),
    Operation(
        method="PUT", path="/v1/operators/{operator}/roles", permission="users.manage", tag="people",
        handler=_set_roles, summary="Replace an operator's roles", body=wire.SetRoles, answer=wire.OperatorInfo,
    ),
    Operation(
        method="POST", path="/v1/operators/{operator}/disable", permission="users.manage", tag="people",
        handler=_disable, summary="Disable an operator; ends every session, suspends their API keys",
    ),
    Operation(
        method="POST", path="/v1/operators/{operator}/enable", permission="users.manage", tag="people",
        handler=_enable, summary="Enable an operator",
    ),
    Operation(
        name="operators.reset_password",
        method="POST", path="/v1/operators/{operator}/password", permission="users.manage", tag="people",
        handler=_reset_password, summary="Give an operator a new password, shown once", answer=wire.PasswordReset,
        secret_answer=True,
    ),
    Operation(
        method="GET", path="/v1/api-keys", permission="keys.manage", tag="people", handler=_list_keys,
        summary="API keys", query=ListQuery, answer=Page[wire.ApiKeyInfo],
    ),
    Operation(
        method="POST", path="/v1/api-keys", permission="keys.manage", tag="people", handler=_create_key,
        summary="Create an API key, shown once", body=wire.NewApiKey, answer=wire.ApiKeyCreated, status=201,
        secret_answer=True,
    ),
    Operation(
        name="api_keys.revoke",
        method="DELETE", path="/v1/api-keys/{key}", permission="keys.manage", tag="people", handler=_revoke_key,
        summary="Revoke an API key",
    ),
)  # fmt: skip
