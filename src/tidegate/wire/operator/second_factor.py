"""One's own second factor in the operator API."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from tidegate.wire.operator.common import OperatorRequest, Time
from tidegate.wire.operator.people import Password

Code = Annotated[
    str, Meta(max_length=64, description="What the authenticator shows now, or (not to confirm with) a recovery code.")
]


class SecondFactor(Struct, frozen=True):
    """`since` is null while no second factor counts. `required`: the node's settings ask for one."""

    since: Time | None
    recovery_codes_left: int
    required: bool


class BeginTotp(OperatorRequest, frozen=True, kw_only=True):
    password: Password


class TotpBegun(Struct, frozen=True):
    """The shared secret in base32, and the address that a QR code carries; it counts after the first code."""

    secret: str
    uri: Annotated[str, Meta(extra_json_schema={"format": "uri"})]


class ConfirmTotp(OperatorRequest, frozen=True, kw_only=True):
    code: Code


class PasswordAndCode(OperatorRequest, frozen=True, kw_only=True):
    password: Password
    code: Code


class RecoveryCodes(Struct, frozen=True):
    """Each opens one sign-in, once, in place of a code; shown this once."""

    recovery_codes: tuple[str, ...]
