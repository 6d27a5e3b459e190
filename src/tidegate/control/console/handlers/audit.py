"""Audit: whether the chain is whole, its last records, search, export."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec
from starlette.responses import Response, StreamingResponse

from tidegate.control.console import acts
from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Outcome, Page, Show, Visit
from tidegate.control.domain.audit import Record, canonical_record
from tidegate.control.services import audit_log
from tidegate.control.services.audit_log import Verification
from tidegate.control.store.audit import Filter
from tidegate.errors import Refused, TidegateError
from tidegate.wire.operator.audit import ExportSignature

SIZE = 50
LINKS = 5
#: A longer chain is verified when somebody asks for it, not with every look at the page.
VERIFIED_AT_ONCE = 2_000


def shown(visit: Visit) -> Outcome:
    return _page(visit, None)


def verified(visit: Visit) -> Outcome:
    """The whole chain, followed now."""
    of_node = visit.text("chain") == "node"
    return _page(visit, audit_log.verify(visit.scope, visit.node, of_node=of_node), of_node=of_node)


def _page(visit: Visit, verification: Verification | None, *, of_node: bool | None = None) -> Show:
    scope, node = visit.scope, visit.node
    of_node = visit.ask("chain") == "node" if of_node is None else of_node
    asked = {name: visit.ask(name).strip()[:128] for name in ("actor", "action", "subject")}
    offset = visit.offset()
    problem: TidegateError | None = None
    try:
        page = audit_log.list_records(
            scope,
            node,
            Filter(asked["action"], asked["actor"], asked["subject"]),
            of_node=of_node,
            limit=SIZE,
            offset=offset,
        )
    except Refused as error:
        problem, offset = error, 0
        page = audit_log.list_records(scope, node, Filter(), limit=SIZE)
    last = audit_log.list_records(scope, node, Filter(), of_node=of_node, limit=LINKS)
    if verification is None and last.total <= VERIFIED_AT_ONCE:
        verification = audit_log.verify(scope, node, of_node=of_node)
    chain = "node" if of_node else ""
    chosen = next((one for one in page.items if str(one.sequence) == visit.ask("record")), None)
    return Show(
        "audit.html",
        "Audit",
        {
            "records": page.items,
            "links": list(reversed(last.items)),
            "total": last.total,
            "verification": verification,
            "slice": Slice(offset, len(page.items), page.total, SIZE, [*asked.items(), ("chain", chain)]),
            "asked": asked,
            "of_node": of_node,
            "told": acts.told,
            "address": _before([*asked.items(), ("chain", chain), ("offset", str(offset or ""))]),
            "chosen": chosen,
            "canonical": _canonical(chosen) if chosen else "",
            "may_node": "audit.read" in scope.everywhere,
        },
        problem=problem,
    )


def _before(asked: list[tuple[str, str]]) -> str:
    """The address of this page with what was asked for, ready for one more parameter."""
    kept = urlencode([(key, value) for key, value in asked if value])
    return f"/audit?{kept}&" if kept else "/audit?"


def _canonical(record: Record) -> str:
    """What the record's hash is over, as it was hashed."""
    return canonical_record(
        chain=record.chain,
        sequence=record.sequence,
        at=record.at,
        actor=record.actor,
        action=record.action,
        subject=record.subject,
        data=record.data,
    ).decode()


def export(visit: Visit) -> Outcome:
    """Every record as JSON lines, the verdict at the end."""
    of_node = visit.text("chain") == "node"
    last, pieces = audit_log.export(visit.scope, visit.node, of_node=of_node)
    return StreamingResponse(
        pieces, media_type="application/jsonl", headers=_attachment(f"audit-{_chain(visit, of_node)}-{last}.jsonl")
    )


def signature(visit: Visit) -> Outcome:
    """The detached signature over that export."""
    of_node = visit.text("chain") == "node"
    signed = audit_log.sign_export(visit.scope, visit.node, of_node=of_node)
    name = f"audit-{_chain(visit, of_node)}-{signed.until}.sig.json"
    body = msgspec.json.encode(msgspec.convert(signed, ExportSignature, from_attributes=True))
    return Response(body, media_type="application/json", headers=_attachment(name))


def _chain(visit: Visit, of_node: bool) -> str:
    return "node" if of_node else visit.scope.fleet


def _attachment(name: str) -> dict[str, str]:
    return {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}


PAGES = (
    Page("GET", "/audit", "audit.read", shown, nav="audit"),
    Page("POST", "/audit/verify", "audit.read", verified, nav="audit"),
    Page("POST", "/audit/export", "audit.export", export, nav="audit"),
    Page("POST", "/audit/signature", "audit.export", signature, nav="audit"),
)
