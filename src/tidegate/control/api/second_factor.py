"""One's own second factor over HTTP, and its removal by an admin."""

from __future__ import annotations

from tidegate.control.api.operations import Call, Operation
from tidegate.control.domain.access import Identity
from tidegate.control.services import second_factor
from tidegate.errors import Defect
from tidegate.wire.operator import second_factor as wire


def _identity(call: Call) -> Identity:
    if call.identity is None:
        raise Defect("an operation that is not public was called by nobody")
    return call.identity


def _show(call: Call) -> wire.SecondFactor:
    found = second_factor.standing(call.node, _identity(call))
    return wire.SecondFactor(found.since, found.recovery_codes_left, found.required)


def _begin(call: Call) -> wire.TotpBegun:
    begun = second_factor.begin(call.node, _identity(call), call.body.password)
    return wire.TotpBegun(begun.secret, begun.uri)


def _confirm(call: Call) -> wire.RecoveryCodes:
    return wire.RecoveryCodes(second_factor.confirm(call.node, _identity(call), call.body.code))


def _renew(call: Call) -> wire.RecoveryCodes:
    body: wire.PasswordAndCode = call.body
    return wire.RecoveryCodes(
        second_factor.renew_recovery_codes(call.node, _identity(call), body.password, body.code)
    )  # fmt: skip


def _remove(call: Call) -> None:
    body: wire.PasswordAndCode = call.body
    second_factor.remove(call.node, _identity(call), body.password, body.code)


def _remove_of(call: Call) -> None:
    second_factor.remove_of(call.scope, call.node, call.path["operator"])


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        method="GET", path="/v1/me/second-factor", permission="", tag="people", handler=_show,
        summary="One's own second factor", answer=wire.SecondFactor,
    ),
    Operation(
        method="POST", path="/v1/me/second-factor", permission="", tag="people", handler=_begin,
        summary="Begin to set up codes by time (TOTP)", body=wire.BeginTotp, answer=wire.TotpBegun,
        secret_answer=True, name="me.begin_second_factor",
    ),
    Operation(
        method="POST", path="/v1/me/second-factor/confirm", permission="", tag="people", handler=_confirm,
        summary="Let it count, with its first code; shows the recovery codes", body=wire.ConfirmTotp,
        answer=wire.RecoveryCodes, secret_answer=True, name="me.confirm_second_factor",
    ),
    Operation(
        method="POST", path="/v1/me/second-factor/recovery-codes", permission="", tag="people", handler=_renew,
        summary="New recovery codes; the old ones end", body=wire.PasswordAndCode, answer=wire.RecoveryCodes,
        secret_answer=True, name="me.renew_recovery_codes",
    ),
    Operation(
        method="POST", path="/v1/me/second-factor/remove", permission="", tag="people", handler=_remove,
        summary="Remove one's own second factor; ends the other sessions", body=wire.PasswordAndCode,
        name="me.remove_second_factor",
    ),
    Operation(
        method="DELETE", path="/v1/operators/{operator}/second-factor", permission="users.manage", tag="people",
        handler=_remove_of, summary="Remove an operator's second factor; ends every session",
        name="operators.remove_second_factor",
    ),
)  # fmt: skip
