"""Writing down a device certificate, then signing it; what enrollment and renewal share (SPEC section 3)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import datetime, timedelta

from cryptography.hazmat.primitives import serialization
from cryptography.x509 import load_pem_x509_certificate
from sqlalchemy import Connection

from tidegate.control.domain import enrollment as domain
from tidegate.control.domain.devices import DeviceRef
from tidegate.control.domain.enrollment import Refusal
from tidegate.control.services.node import Node
from tidegate.control.store import devices as device_store
from tidegate.control.store import enrollment as store
from tidegate.errors import Conflict, Defect, FieldError, Forbidden, Invalid, Refused, TooMany, Unauthenticated
from tidegate.ids import DeviceId, TokenId
from tidegate.trust.pki.authority import BACKDATE, new_serial
from tidegate.trust.pki.profile import spiffe_uri
from tidegate.trust.pki.request import CertificateRequest

_UNAUTHENTICATED = {"token-unknown", "token-revoked", "token-expired", "token-spent", "certificate-unknown"}


@dataclass(frozen=True, slots=True)
class Intended:
    """A certificate on record, to be signed; `pem` is set when it was signed before."""

    certificate_id: int
    device: DeviceRef
    serial: int
    not_before: datetime
    not_after: datetime
    pem: str = ""


class Decommissioned(Forbidden):
    """The only answer that makes an agent wipe its key and certificate."""

    def __init__(self, detail: str, *, stop_workloads: bool) -> None:
        super().__init__(detail, type="device-decommissioned")
        self.stop_workloads = stop_workloads


def refused(refusal: Refusal, *, stop_workloads: bool = False) -> Refused:
    """A decision's refusal as the error that says it to the other side."""
    kind, detail = refusal.kind, refusal.detail
    if kind in _UNAUTHENTICATED:
        return Unauthenticated(detail, type=kind)
    if kind in ("name-taken", "key-reused"):
        return Conflict(detail, type=kind)
    if kind == "renewed-too-often":
        return TooMany(detail, retry_after_seconds=domain.RENEWAL_PAUSE_SECONDS, type=kind)
    if kind == "name-required":
        return Invalid(detail, (FieldError("/device", "is required with this token"),), type=kind)
    if kind == "device-decommissioned":
        return Decommissioned(detail, stop_workloads=stop_workloads)
    return Forbidden(detail, type=kind)


def intend(
    tx: Connection,
    node: Node,
    device_id: DeviceId,
    request: CertificateRequest,
    now: datetime,
    token_id: TokenId | None,
) -> Intended:
    """Write down serial, key and times of the certificate that is about to be signed."""
    # A certificate knows whole seconds only: what is on record is exactly what is signed.
    not_before = (now - BACKDATE).replace(microsecond=0)
    not_after = not_before + BACKDATE + timedelta(days=node.settings.certificate_days)
    certificate_id = store.intend(
        tx,
        device_id,
        public_key_sha256=request.public_key_sha256,
        serial=new_serial(),
        not_before=not_before,
        not_after=not_after,
        now=now,
        token_id=token_id,
    )
    return on_record(tx, certificate_id)


def on_record(tx: Connection, certificate_id: int) -> Intended:
    """A certificate written down before, signed or not."""
    found = store.issued(tx, certificate_id)
    if found is None:
        raise Defect(f"certificate {certificate_id} vanished")
    mine = found.certificate
    device = device_store.ref(tx, mine.device_id)
    if device is None:
        raise Defect(f"device {mine.device_id} vanished")
    return Intended(mine.id, device, int(found.serial, 16), mine.not_before, mine.not_after, found.pem)


def sign(node: Node, intended: Intended, request: CertificateRequest) -> str:
    """The certificate (PEM) that was written down; outside any transaction, the key may be slow."""
    uri = spiffe_uri(node.settings.trust_domain, intended.device.fleet, intended.device.name)
    authority = node.keyring.authority()
    return authority.issue_device(request, uri, intended.serial, intended.not_before, intended.not_after).decode(
        "ascii"
    )


def fingerprint(pem: str) -> str:
    """SHA-256 of the DER, hex: how the device channel knows a certificate."""
    der = load_pem_x509_certificate(pem.encode("ascii")).public_bytes(serialization.Encoding.DER)
    return hashlib.sha256(der).hexdigest()


def still_intended(tx: Connection, intended: Intended) -> store.Issued:
    """The row as it is after the signature, locked; it may have been entered by a second request of the same key.

    Raises:
        Conflict: another certificate of the device overtook this one.
    """
    device_store.lock(tx, intended.device.id)
    found = store.issued(tx, intended.certificate_id)
    if found is None or found.certificate.state == "retired":
        raise Conflict("cannot enter this certificate: another one of the device overtook it; ask again")
    return found
