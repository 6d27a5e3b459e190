"""The audit log over HTTP."""

from __future__ import annotations

import json

import msgspec
from anyio.to_thread import run_sync
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from tidegate.control.api.operations import Call, Operation, RawRoute, decode_query
from tidegate.control.domain.access import Scope
from tidegate.control.domain.audit import Record
from tidegate.control.services import audit_log
from tidegate.control.services.node import Node
from tidegate.control.store.audit import Filter
from tidegate.wire.operator import audit as wire
from tidegate.wire.operator.common import Page


def _list(call: Call) -> Page[wire.AuditRecord]:
    query: wire.AuditQuery = call.query
    filters = Filter(query.action, query.actor, query.subject, query.since, query.before)
    found = audit_log.list_records(
        call.scope, call.node, filters, of_node=query.node, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return Page(tuple(_record(record) for record in found.items), found.total, found.next_cursor)


def _record(record: Record) -> wire.AuditRecord:
    return wire.AuditRecord(
        sequence=record.sequence,
        at=record.at,
        actor=record.actor,
        action=record.action,
        subject=record.subject,
        data=json.loads(record.data),
        hash=record.hash,
    )


def _verify(call: Call) -> wire.AuditVerification:
    found = audit_log.verify(call.scope, call.node, of_node=call.query.node)
    return wire.AuditVerification(
        verified=found.broken is None,
        count=found.count,
        head=found.head,
        checkpoint=found.checkpoint,
        broken_sequence=found.broken.sequence if found.broken else None,
        broken_reason=found.broken.reason if found.broken else None,
    )


async def _export(request: Request, scope: Scope, node: Node) -> Response:
    query: wire.ExportQuery = decode_query(wire.ExportQuery, request)
    until, pieces = await run_sync(lambda: audit_log.export(scope, node, of_node=query.node, until=query.until))
    name = f"audit-{'node' if query.node else scope.fleet}-{until}.jsonl"
    headers = {
        "content-disposition": f'attachment; filename="{name}"',
        "cache-control": "no-store",
        "tidegate-until": str(until),
    }
    return StreamingResponse(pieces, headers=headers, media_type="application/jsonl")


def _sign(call: Call) -> wire.ExportSignature:
    signed = audit_log.sign_export(call.scope, call.node, of_node=call.query.node, until=call.query.until)
    return msgspec.convert(signed, wire.ExportSignature, from_attributes=True)


def _key(call: Call) -> wire.AuditKey:
    signer = call.node.keyring.audit_signer()
    return wire.AuditKey(signer.key.keyid, signer.public_pem().decode())


OPERATIONS: tuple[Operation, ...] = (
    Operation(
        name="audit.list", method="GET", path="/v1/audit", permission="audit.read", tag="audit", handler=_list,
        summary="Audit records, the newest first", query=wire.AuditQuery, answer=Page[wire.AuditRecord],
    ),
    Operation(
        method="GET", path="/v1/audit/verify", permission="audit.read", tag="audit", handler=_verify,
        summary="Verify a whole chain against its head and the signed checkpoints", query=wire.ChainQuery,
        answer=wire.AuditVerification,
    ),
    Operation(
        name="audit.sign_export",
        method="POST", path="/v1/audit/export/signature", permission="audit.export", tag="audit", handler=_sign,
        summary="Sign an export; the act is itself recorded", query=wire.ExportQuery, answer=wire.ExportSignature,
    ),
    Operation(
        method="GET", path="/v1/audit/key", permission="audit.read", tag="audit", handler=_key,
        summary="The public key that exports and checkpoints are signed with", answer=wire.AuditKey,
    ),
)  # fmt: skip

ROUTES: tuple[RawRoute, ...] = (
    RawRoute(
        method="GET", path="/v1/audit/export", permission="audit.export", tag="audit", endpoint=_export,
        summary="A chain as JSON lines with a verdict line; the same records always give the same bytes",
        media_type="application/jsonl", query=wire.ExportQuery,
    ),
)  # fmt: skip
