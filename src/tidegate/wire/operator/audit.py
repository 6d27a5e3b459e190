"""The audit log in the operator API."""

from __future__ import annotations

from typing import Annotated, Any

from msgspec import Meta, Struct

from tidegate.wire.device import Sha256
from tidegate.wire.operator.common import ListQuery, OperatorRequest, Time

_Text = Annotated[str, Meta(max_length=256)]
Until = Annotated[int, Meta(ge=0, le=2**53 - 1)]


class AuditQuery(ListQuery, frozen=True, kw_only=True):
    """`action` and `subject` may end in `*`; `node`: the node's own chain instead of the fleet's."""

    action: _Text = ""
    actor: _Text = ""
    subject: _Text = ""
    since: Time | None = None
    before: Time | None = None
    node: bool = False


class ChainQuery(OperatorRequest, frozen=True, kw_only=True):
    node: bool = False


class ExportQuery(OperatorRequest, frozen=True, kw_only=True):
    """`until`: the last record exported; the present end without it."""

    node: bool = False
    until: Until | None = None


class AuditRecord(Struct, frozen=True):
    sequence: int
    at: Time
    actor: str
    action: str
    subject: str
    data: dict[str, Any]
    hash: Sha256


class AuditVerification(Struct, frozen=True):
    """`count` records follow one another up to `head`; `checkpoint` is the last record that was signed outside."""

    verified: bool
    count: int
    head: Sha256
    checkpoint: int
    broken_sequence: int | None
    broken_reason: str | None


class ExportSignature(Struct, frozen=True):
    """Detached: over the SHA-256 of `GET /v1/audit/export?until=…`."""

    until: int
    sha256: Sha256
    signature: str
    key_id: str
    public_key: str


class AuditKey(Struct, frozen=True):
    key_id: str
    public_key: str
