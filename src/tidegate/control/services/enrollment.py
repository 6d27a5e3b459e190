"""Enrolling a device: decide, write down what is about to be signed, sign, enter it (SPEC section 3).

Two transactions with the signature between them. A crash in between leaves an intention; the same token and key find
it again and go on from there, and a certificate that was signed but never entered is known to nobody.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec
from sqlalchemy import Connection

from tidegate.control.domain import enrollment as domain
from tidegate.control.domain.access import Actor, Scope
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.enrollment import Refusal
from tidegate.control.services import audit, certificates, work
from tidegate.control.services.certificates import Intended
from tidegate.control.services.node import Node
from tidegate.control.services.tokens import secret_sha256
from tidegate.control.store import devices as device_store
from tidegate.control.store import engine, facts, fleets
from tidegate.control.store import enrollment as store
from tidegate.control.store import groups as group_store
from tidegate.errors import Defect
from tidegate.trust.pki.request import CertificateRequest, parse_request
from tidegate.wire.enrollment import Enroll


@dataclass(frozen=True, slots=True)
class Enrollment:
    """What a device is told. `again`: an earlier answer repeated."""

    device: DeviceRef
    certificate_pem: str
    interval_seconds: int
    again: bool


def enroll(node: Node, asked: Enroll) -> Enrollment:
    """Give the holder of a token a certificate for the key that its CSR proves; the token is the authority.

    Idempotent by public key: the same token and key get the same certificate, and nothing more is spent.

    Raises:
        Invalid: the CSR is not one of an EC P-256 key, or ``name-required``.
        Unauthenticated: ``token-unknown``, ``token-revoked``, ``token-expired``, ``token-spent``.
        Forbidden: ``name-mismatch``.
        Conflict: ``name-taken``, ``key-reused``, or another certificate of the device came in between.
    """
    request = parse_request(asked.csr_pem)
    with node.db.write() as tx:
        row, intended = _decide(tx, node, asked, request)
        interval = _interval(tx, intended.device)
    if intended.pem:
        return Enrollment(intended.device, intended.pem, interval, again=True)
    signed = certificates.sign(node, intended, request)
    with node.db.write() as tx:
        pem = _enter(tx, row, asked, intended, signed)
    node.hub.nudge("identity", row.fleet_id, {intended.device.id})
    node.hub.nudge("devices", row.fleet_id, {intended.device.id})
    return Enrollment(intended.device, pem, interval, again=False)


def _decide(tx: Connection, node: Node, asked: Enroll, request: CertificateRequest) -> tuple[store.TokenRow, Intended]:
    row = store.lock_token(tx, secret_sha256(asked.token))
    name = (row.token.device_name if row else None) or asked.device
    record = domain.OnRecord(
        token=row.token if row else None,
        holder=store.holder(tx, row.fleet_id, name) if row and name else None,
        same_key=store.of_key(tx, request.public_key_sha256),
    )
    now = engine.now(tx)
    decided = domain.decide_enrollment(record, asked_name=asked.device, now=now)
    if isinstance(decided, Refusal):
        raise certificates.refused(decided)
    if row is None:
        raise Defect("an unknown token was accepted")
    if not isinstance(decided, domain.Issue):
        return row, certificates.on_record(tx, decided.certificate.id)
    device_id = decided.device_id or device_store.insert(tx, row.fleet_id, decided.name, now)
    store.spend_use(tx, row.token.id)
    return row, certificates.intend(tx, node, device_id, request, now, row.token.id)


def _enter(tx: Connection, row: store.TokenRow, asked: Enroll, intended: Intended, pem: str) -> str:
    """Make the signed certificate the device's current one, retire all others; gives the one that counts."""
    found = certificates.still_intended(tx, intended)
    if found.pem:
        return found.pem  # the same request, sent twice at once
    device = intended.device
    now = engine.now(tx)
    before = store.of_device(tx, device.id)
    recovered = any(one.fingerprint is not None for one in before)
    store.retire(tx, device.id, keep=[intended.certificate_id])
    store.signed(tx, intended.certificate_id, state="current", fingerprint=certificates.fingerprint(pem), pem=pem)
    _describe(tx, device, row, asked)
    scope = Scope(Actor("device", device.name), device.fleet_id, device.fleet, frozenset())
    (work.reenrolled if recovered else work.enrolled)(tx, scope, device.id)
    text = "recovered with a new key" if recovered else "enrolled"
    device_store.add_event(tx, device.fleet_id, device.id, "enrolled", text, now)
    device_store.bump(tx, device.fleet_id, [device.id])
    data = {"token": int(row.token.id), "serial": found.serial, "recovered": recovered}
    audit.record(tx, scope, action="device.enroll", subject=f"device:{device.name}", data=data)
    return pem


def _describe(tx: Connection, device: DeviceRef, row: store.TokenRow, asked: Enroll) -> None:
    """What the device says of itself, and the tags and groups that the token brings."""
    now = engine.now(tx)
    device_store.update(
        tx,
        device.id,
        enrolled_at=now,
        agent_version=asked.agent_version,
        hardware=msgspec.json.encode(asked.hardware, order="sorted").decode(),
        identity_conflict_at=None,
        waiting_on="",
        in_progress="[]",
    )
    facts.write(tx, device.id, asked.hardware, asked.agent_version)
    device_store.set_tags(tx, device.id, row.tags)
    for group_id in group_store.by_names(tx, device.fleet_id, row.groups).values():
        group_store.add(tx, group_id, [device.id])


def _interval(tx: Connection, device: DeviceRef) -> int:
    fleet = fleets.by_id(tx, device.fleet_id)
    if fleet is None:
        raise Defect(f"fleet {device.fleet_id} vanished")
    return fleet.interval_seconds
