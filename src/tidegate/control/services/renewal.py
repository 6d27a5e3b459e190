"""Renewing a device certificate, and what the first use of one and the use of an old one mean (SPEC section 3)."""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import Connection

from tidegate.control.domain import enrollment as domain
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.enrollment import Refusal
from tidegate.control.services import certificates
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine
from tidegate.control.store import enrollment as store
from tidegate.errors import Defect
from tidegate.trust.pki.request import parse_request

#: A clone that calls again and again raises one event in this time.
CONFLICT_PAUSE = timedelta(hours=1)


def grace(node: Node) -> timedelta:
    return timedelta(days=node.settings.renewal_grace_days)


def renew(node: Node, device: DeviceRef, fingerprint: str, csr_pem: str) -> str:
    """A pending certificate (PEM) for the key that the CSR proves; the same key gets the same certificate.

    Args:
        fingerprint: of the certificate that the request came with.

    Raises:
        Invalid: the CSR is not one of an EC P-256 key.
        Refused: the certificate does not count any more, ``key-reused`` or ``renewed-too-often``.
    """
    request = parse_request(csr_pem)
    with node.db.write() as tx:
        device_store.lock(tx, device.id)
        _require_current(tx, node, fingerprint)
        decided = domain.decide_renewal(
            device.id,
            [one.certificate for one in store.of_device(tx, device.id)],
            [one for one, _ in store.of_key(tx, request.public_key_sha256)],
            engine.now(tx),
        )
        if isinstance(decided, Refusal):
            raise certificates.refused(decided)
        if isinstance(decided, domain.IssuePending):
            store.retire_these(tx, decided.supersedes)
            intended = certificates.intend(tx, node, device.id, request, engine.now(tx), None)
        else:
            intended = certificates.on_record(tx, decided.certificate.id)
    if intended.pem:
        return intended.pem
    signed = certificates.sign(node, intended, request)
    with node.db.write() as tx:
        pem = _enter(tx, intended, signed)
    node.hub.nudge("identity", device.fleet_id, {device.id})
    return pem


def first_use(node: Node, identity: store.Identity) -> None:
    """A pending certificate was used: it is the current one now, and the one before it is retired."""
    with node.db.write() as tx:
        device_id = identity.certificate.device_id
        device_store.lock(tx, device_id)
        found = store.issued(tx, identity.certificate.id)
        if found is None or found.certificate.state != "pending":
            return  # another request of the device was faster, or it was retired meanwhile
        store.retire(tx, device_id, keep=[found.certificate.id])
        store.make_current(tx, found.certificate.id)
        text = f"certificate renewed, valid until {found.certificate.not_after:%Y-%m-%d}"
        device_store.add_event(tx, identity.fleet_id, device_id, "certificate-renewed", text, engine.now(tx))
        device_store.bump(tx, identity.fleet_id, [device_id])
    node.hub.nudge("identity", identity.fleet_id, {device_id})


def conflict(node: Node, identity: store.Identity) -> bool:
    """A retired certificate was used: two parties hold keys of one device. Noted on it; gives whether it is news."""
    device_id = identity.certificate.device_id
    with node.db.write() as tx:
        device_store.lock(tx, device_id)
        now = engine.now(tx)
        last = device_store.identity_conflict_at(tx, device_id)
        if last is not None and now - last < CONFLICT_PAUSE:
            return False
        device_store.update(tx, device_id, identity_conflict_at=now)
        text = (
            "a certificate that was replaced is still in use: an old copy of the device's key, or a clone of its disk"
        )
        device_store.add_event(tx, identity.fleet_id, device_id, "identity-conflict", text, now)
    node.hub.nudge("devices", identity.fleet_id, ())  # no device's desired state is another; open pages show it
    return True


def _require_current(tx: Connection, node: Node, fingerprint: str) -> None:
    """What the channel decided from memory, once more on the locked rows."""
    found = store.identity(tx, fingerprint)
    refusal = domain.decide_use(
        found.certificate if found else None,
        found.device_state if found else "active",
        engine.now(tx),
        renewing=True,
        grace=grace(node),
    )
    if isinstance(refusal, Refusal):
        raise certificates.refused(refusal, stop_workloads=bool(found and found.stop_workloads))
    if refusal.promote:
        raise Defect("a pending certificate reached renewal before its first use was noted")


def _enter(tx: Connection, intended: certificates.Intended, pem: str) -> str:
    found = certificates.still_intended(tx, intended)
    if found.pem:
        return found.pem
    store.signed(tx, intended.certificate_id, state="pending", fingerprint=certificates.fingerprint(pem), pem=pem)
    device_store.bump(tx, intended.device.fleet_id, [intended.device.id])
    return pem
