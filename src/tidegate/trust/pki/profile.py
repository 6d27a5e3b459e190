"""What a device certificate says, and how it is read back (SPEC section 3).

The identity is the single URI name ``spiffe://<trust-domain>/fleet/<fleet>/device/<name>``; nothing else in the
certificate is looked at, the subject least of all.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization

from tidegate.errors import Invalid, Untrusted
from tidegate.ids import DEVICE_NAME, FLEET_NAME, checked

TRUST_DOMAIN = re.compile(r"[a-z0-9]([a-z0-9._-]{0,253}[a-z0-9])?")

_MAX_CERTIFICATE_BYTES = 16 * 1024
_SPIFFE = re.compile(
    rf"spiffe://(?P<domain>{TRUST_DOMAIN.pattern})/fleet/(?P<fleet>{FLEET_NAME.pattern})/device/(?P<device>{DEVICE_NAME.pattern})"
)


@dataclass(frozen=True, slots=True)
class DeviceIdentity:
    """What a device certificate says; `fingerprint` is the SHA-256 of the DER in hex, `serial` is hex."""

    trust_domain: str
    fleet: str
    device: str
    fingerprint: str
    serial: str
    public_key_sha256: str
    not_before: datetime
    not_after: datetime


def spiffe_uri(trust_domain: str, fleet: str, device: str) -> str:
    """The URI name of a device. Raises `Invalid` naming the part that breaks its grammar."""
    if TRUST_DOMAIN.fullmatch(trust_domain) is None:
        raise Invalid(f"cannot make an identity: the trust domain must match {TRUST_DOMAIN.pattern}")
    checked(FLEET_NAME, fleet, "/fleet")
    checked(DEVICE_NAME, device, "/device")
    return f"spiffe://{trust_domain}/fleet/{fleet}/device/{device}"


def public_key_sha256(public_key: object) -> str:
    """SHA-256 (hex) of a public key's SubjectPublicKeyInfo in DER."""
    spki = public_key.public_bytes(  # type: ignore[attr-defined]
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return hashlib.sha256(spki).hexdigest()


def identity_of(der: bytes) -> DeviceIdentity:
    """Read the identity out of a certificate whose chain the TLS layer has verified.

    Times are given back, not judged: the caller judges them on every request.

    Raises:
        Untrusted: it is not a certificate, or does not carry exactly one SPIFFE name of the agreed form.
    """
    if len(der) > _MAX_CERTIFICATE_BYTES:
        raise Untrusted("cannot accept the client certificate: it is too large")
    try:
        certificate = x509.load_der_x509_certificate(der)
        names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        uris = names.get_values_for_type(x509.UniformResourceIdentifier)
        key_sha256 = public_key_sha256(certificate.public_key())
    except (
        ValueError,
        TypeError,
        x509.ExtensionNotFound,
        x509.InvalidVersion,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise Untrusted("cannot accept the client certificate: it is not a device certificate") from error
    match = _SPIFFE.fullmatch(uris[0]) if len(uris) == 1 and len(list(names)) == 1 else None
    if match is None:
        raise Untrusted("cannot accept the client certificate: it must carry exactly one name, that of a device")
    return DeviceIdentity(
        trust_domain=match["domain"],
        fleet=match["fleet"],
        device=match["device"],
        fingerprint=hashlib.sha256(der).hexdigest(),
        serial=f"{certificate.serial_number:x}",
        public_key_sha256=key_sha256,
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
    )
