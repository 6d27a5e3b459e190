"""The trust domain of a fleet: making it, showing it, keeping it fresh (SPEC section 4)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sqlalchemy import Connection

from tidegate.control.domain.access import Scope
from tidegate.control.domain.fleets import Fleet
from tidegate.control.services import audit, repository
from tidegate.control.services.node import Node
from tidegate.control.store import engine
from tidegate.control.store import trust as store
from tidegate.control.store.trust import Head
from tidegate.errors import NotFound
from tidegate.ids import FleetId
from tidegate.trust.tuf import roles
from tidegate.trust.tuf.repository import all_bins
from tidegate.trust.tuf.roles import OFFLINE_ROLES, PUBLISHER, Row

#: A warning is given this long before something expires that nothing renews by itself.
WARN_BEFORE = timedelta(days=30)


@dataclass(frozen=True, slots=True)
class RoleStatus:
    """One role; `location` is ``node``, ``node-offline-folder`` or ``elsewhere``. All bins are told as one."""

    role: str
    version: int
    expires_at: datetime
    key_ids: tuple[str, ...]
    threshold: int
    location: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class CertificateStatus:
    """`use` is ``device-ca``, ``server-ca`` or ``server``."""

    use: str
    subject: str
    sha256: str
    not_after: datetime


@dataclass(frozen=True, slots=True)
class Warning:
    """`kind` is stable, `text` is for people: what is the matter and what to do."""

    kind: str
    text: str


@dataclass(frozen=True, slots=True)
class TrustStatus:
    fleet: str
    convenience: bool
    publisher_on_node: bool
    root_version: int
    root_sha256: str
    anchor_sha256: str
    roles: tuple[RoleStatus, ...]
    certificates: tuple[CertificateStatus, ...]
    audit_key_id: str
    warnings: tuple[Warning, ...]


def initialise(tx: Connection, node: Node, fleet: Fleet, at: datetime) -> None:
    """Make the convenience trust domain of a new fleet in the caller's transaction, which also records the act."""
    repository.create(tx, node, fleet.id, fleet.name, at)


def status(scope: Scope, node: Node) -> TrustStatus:
    """Everything the Trust Center shows."""
    scope.require("trust.read")
    with node.db.read() as tx:
        at = engine.now(tx)
        rows, bins = _rows(tx, scope)
        anchor = store.root_chain(tx, scope.fleet_id)[0]
    described = _roles(node, scope.fleet, rows, bins)
    certificates = _certificates(node)
    return TrustStatus(
        fleet=scope.fleet,
        convenience=any(role.location == "node-offline-folder" for role in described),
        publisher_on_node=node.keyring.where(scope.fleet, PUBLISHER) is not None,
        root_version=rows["root"].version,
        root_sha256=hashlib.sha256(rows["root"].data).hexdigest(),
        anchor_sha256=hashlib.sha256(anchor).hexdigest(),
        roles=described,
        certificates=certificates,
        audit_key_id=node.keyring.audit_signer().key.keyid,
        warnings=_warnings(described, certificates, at),
    )


def warnings(scope: Scope, node: Node) -> tuple[Warning, ...]:
    """What every page shows until it is mended; for whoever is signed in, so it asks for no permission of its own."""
    with node.db.read() as tx:
        at = engine.now(tx)
        rows, bins = _rows(tx, scope)
    return _warnings(_roles(node, scope.fleet, rows, bins), _certificates(node), at)


def export_root(scope: Scope, node: Node) -> bytes:
    """The current root, to be pinned into images."""
    scope.require("trust.read")
    with node.db.read() as tx:
        return current_root(tx, scope.fleet_id)


def current_root(tx: Connection, fleet_id: FleetId) -> bytes:
    """Raises `NotFound` when the fleet has no trust domain."""
    data = store.document(tx, fleet_id, "root", None)
    if data is None:
        raise NotFound("cannot find the root: the fleet has no trust domain")
    return data


def root_chain(tx: Connection, fleet_id: FleetId) -> tuple[str, ...]:
    """Every root version as JSON text, oldest first: what enrollment hands out."""
    return tuple(data.decode() for data in store.root_chain(tx, fleet_id))


def metadata_file(scope: Scope, node: Node, role: str, version: int | None) -> bytes:
    """One signed document of the fleet, as devices get it; a publisher elsewhere prepares the next from these."""
    scope.require("trust.read")
    with node.db.read() as tx:
        data = store.document(tx, scope.fleet_id, role, version)
    if data is None:
        raise NotFound(f"cannot find the metadata of the role {role[:128]}")
    return data


def keep_fresh(scope: Scope, node: Node) -> bool:
    """Sign again what is about to expire; gives whether anything was. Safe to run at any time, on any replica."""
    scope.require("trust.manage")
    with node.db.write() as tx:
        changed = repository.renew(tx, node, scope.fleet_id, scope.fleet)
        if changed is None:
            return False
        if set(changed.roles) != {"timestamp"}:
            bins = sum(roles.is_bin(role) for role in changed.roles)
            named = [role for role in changed.roles if not roles.is_bin(role)]
            data = {"roles": named, "bins": bins, "generation": changed.generation}
            audit.record(tx, scope, action="trust.renew", subject=f"trust:{scope.fleet}", data=data)
    repository.committed(node, changed)
    return True


def _rows(tx: Connection, scope: Scope) -> tuple[dict[str, Row], dict[str, Head]]:
    if store.find(tx, scope.fleet_id) is None:
        raise NotFound(f"cannot show the trust domain: fleet {scope.fleet} has none")
    rows = store.current(tx, scope.fleet_id, ("root", "targets", PUBLISHER, "snapshot", "timestamp"))
    heads = store.heads(tx, scope.fleet_id)
    return rows, {name: heads[name] for name in all_bins(rows)}


def _roles(node: Node, fleet: str, rows: dict[str, Row], bins: dict[str, Head]) -> tuple[RoleStatus, ...]:
    root = roles.read_root(rows["root"])
    targets = roles.read_targets(rows["targets"])
    assert targets.delegations is not None
    assert targets.delegations.roles is not None
    by_role = {**root.roles, PUBLISHER: targets.delegations.roles[PUBLISHER]}
    described = [
        RoleStatus(
            role,
            rows[role].version,
            rows[role].expires_at,
            tuple(by_role[role].keyids),
            by_role[role].threshold,
            _location(node, fleet, role),
        )
        for role in ("root", "targets", PUBLISHER, "snapshot", "timestamp")
    ]
    cut = roles.succinct(roles.read_targets(rows[PUBLISHER]))
    newest = max(row.version for row in bins.values())
    soonest = min(row.expires_at for row in bins.values())
    where = _location(node, fleet, PUBLISHER)
    described.append(RoleStatus("bins", newest, soonest, tuple(cut.keyids), cut.threshold, where, len(bins)))
    return tuple(described)


def _location(node: Node, fleet: str, role: str) -> str:
    if node.keyring.where(fleet, role) is None:
        return "elsewhere"
    return "node-offline-folder" if role in OFFLINE_ROLES else "node"


def _certificates(node: Node) -> tuple[CertificateStatus, ...]:
    pems = {
        "device-ca": node.keyring.device_ca_pem(),
        "server-ca": node.keyring.server_ca_pem(),
        "server": node.keyring.server_certificate_pem(),
    }
    loaded = {use: x509.load_pem_x509_certificate(pem) for use, pem in pems.items()}
    return tuple(
        CertificateStatus(
            use,
            certificate.subject.rfc4514_string(),
            certificate.fingerprint(hashes.SHA256()).hex(),
            certificate.not_valid_after_utc,
        )
        for use, certificate in loaded.items()
    )


def _warnings(
    described: tuple[RoleStatus, ...],
    certificates: tuple[CertificateStatus, ...],
    at: datetime,
) -> tuple[Warning, ...]:
    found: list[Warning] = []
    offline = [role.role for role in described if role.location == "node-offline-folder"]
    if offline:
        found.append(
            Warning(
                "convenience-trust-domain",
                f"The {' and '.join(offline)} keys lie on this node: whoever takes it over takes over the fleet."
                " Move the folder keys/offline/ to a place without a network.",
            )
        )
    if any(role.role == PUBLISHER and role.location == "node" for role in described):
        found.append(
            Warning(
                "publisher-on-node",
                "The publisher key lies on this node: whoever takes it over can publish to this fleet, within what"
                " each device's owner allows. It can live elsewhere: tidegate artifact publish --sign.",
            )
        )
    for role in described:
        unattended = role.location == "elsewhere" or role.role in OFFLINE_ROLES
        if role.expires_at <= at:
            found.append(Warning("expired", f"The metadata of {role.role} are expired: devices refuse every update."))
        elif unattended and role.expires_at - at <= WARN_BEFORE:
            days = (role.expires_at - at).days
            found.append(Warning("expiring", f"The metadata of {role.role} expire in {days} days: sign them again."))
    for certificate in certificates:
        days = (certificate.not_after - at).days
        how = ": restart the node, it makes a new one" if certificate.use == "server" else ""
        if certificate.not_after <= at:
            found.append(Warning("expired", f"The certificate of {certificate.use} has expired{how}."))
        elif certificate.not_after - at <= WARN_BEFORE:
            found.append(Warning("expiring", f"The certificate of {certificate.use} expires in {days} days{how}."))
    return tuple(found)
