"""Trust Center: who vouches for what, from where, and until when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from starlette.responses import Response

from tidegate.control.console import words
from tidegate.control.console.roles import roles_diagram
from tidegate.control.console.visit import Outcome, Page, Show, Visit
from tidegate.control.services import devices, trust
from tidegate.control.services.trust import CertificateStatus, RoleStatus

#: What the node signs again by itself is no matter until little time is left.
_SOON_ATTENDED = timedelta(hours=6)
_ATTENDED = frozenset({"snapshot", "timestamp"})


@dataclass(frozen=True, slots=True)
class RoleRow:
    role: RoleStatus
    state: str
    words: str
    where: str


_WHERE = {
    "node": "this node, online",
    "node-offline-folder": "the folder keys/offline/ on this node: move it",
    "elsewhere": "not on this node",
}


def standing(expires_at: datetime, now: datetime, soon: timedelta) -> tuple[str, str]:
    """The state of something that expires, and its words."""
    if expires_at <= now:
        return "expired", "expired"
    if expires_at - now <= soon:
        return "expires", f"expires {words.until(expires_at, now)}"
    return "valid", "valid"


def _row(role: RoleStatus, now: datetime) -> RoleRow:
    soon = _SOON_ATTENDED if role.role in _ATTENDED and role.location == "node" else trust.WARN_BEFORE
    state, said = standing(role.expires_at, now, soon)
    if state == "valid" and role.location == "node-offline-folder":
        state, said = "expires", "key online"
    return RoleRow(role, state, said, _WHERE.get(role.location, role.location))


_TO_DO = {
    "device-ca": "nothing; it signs the certificates of devices",
    "server-ca": "nothing; devices pin it at enrollment",
    "server": "nothing; the certificate of this address",
}


def _certificate(certificate: CertificateStatus, now: datetime) -> tuple[CertificateStatus, str, str, str]:
    state, said = standing(certificate.not_after, now, trust.WARN_BEFORE)
    to_do = _TO_DO.get(certificate.use, "") if state == "valid" else "renew it before it expires"
    return certificate, state, said, to_do


def shown(visit: Visit) -> Outcome:
    status = trust.status(visit.scope, visit.node)
    counted = devices.counts(visit.scope, visit.node).total if visit.scope.allows("devices.read") else None
    rows = [_row(role, visit.now) for role in status.roles]
    return Show(
        "trust.html",
        "Trust Center",
        {
            "status": status,
            "rows": rows,
            "certificates": [_certificate(one, visit.now) for one in status.certificates],
            "diagram": roles_diagram(status, counted, visit.now),
            "to_move": sum(1 for role in status.roles if role.location == "node-offline-folder"),
            "devices_count": counted,
            "trust_domain": visit.node.settings.trust_domain,
            "others": [warning for warning in status.warnings if warning.kind != "convenience-trust-domain"],
        },
    )


def root(visit: Visit) -> Outcome:
    """The root metadata, signed and public, to be pinned into images."""
    data = trust.export_root(visit.scope, visit.node)
    name = f"{visit.scope.fleet}-root.json"
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Cache-Control": "no-store"}
    return Response(data, media_type="application/json", headers=headers)


PAGES = (
    Page("GET", "/trust", "trust.read", shown, nav="trust", live=True),
    Page("GET", "/trust/root.json", "trust.read", root, nav="trust"),
)
