"""Device keys and what is asked of a device certificate; the agent's only module with a certificate library."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import datetime

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from tidegate.errors import Invalid

BEGIN_KEY = b"-----BEGIN PRIVATE KEY-----"
CHAIN_MAX_CERTIFICATES = 8
_DEVICE_URI = re.compile(
    r"spiffe://(?P<domain>[a-z0-9][a-z0-9.-]{0,253})"
    r"/fleet/(?P<fleet>[a-z0-9][a-z0-9-]{0,62})/device/(?P<device>[a-z0-9][a-z0-9._-]{0,62})"
)


@dataclass(frozen=True, slots=True)
class ChainFacts:
    """What the leaf says."""

    uri: str
    fleet: str
    device: str
    not_before: datetime
    not_after: datetime

    def header(self) -> bytes:
        """The line above the key (RFC 7468 allows such text), read by `identity` without a certificate library."""
        return f"{self.uri} valid from {self.not_before.isoformat()} to {self.not_after.isoformat()}\n".encode("ascii")


def generate() -> bytes:
    """A new EC P-256 private key, PEM."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def usable(pem: bytes) -> bool:
    """Whether there is a device key in `pem`."""
    try:
        _load(pem)
    except Invalid:
        return False
    return True


def request(pem: bytes) -> str:
    """A CSR for the key in `pem`: its signature proves possession, the node ignores everything else in it."""
    builder = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    return builder.sign(_load(pem), hashes.SHA256()).public_bytes(serialization.Encoding.PEM).decode("ascii")


def checked_chain(key_pem: bytes, chain_pem: str) -> tuple[ChainFacts, bytes]:
    """The chain, leaf first, when its leaf is a device certificate for the key; given back in plain PEM.

    Raises:
        Invalid: it is not.
    """
    try:
        chain = x509.load_pem_x509_certificates(chain_pem.encode("ascii"))
    except ValueError as error:
        raise Invalid("cannot take the certificate: it is not PEM") from error
    if not 1 <= len(chain) <= CHAIN_MAX_CERTIFICATES:
        raise Invalid(f"cannot take the certificate: its chain must have 1 to {CHAIN_MAX_CERTIFICATES} certificates")
    leaf = chain[0]
    if leaf.public_key() != _load(key_pem).public_key():
        raise Invalid("cannot take the certificate: it is for another key")
    uri = _device_uri(leaf)
    found = _DEVICE_URI.fullmatch(uri)
    if found is None:
        raise Invalid("cannot take the certificate: it names no device")
    facts = ChainFacts(uri, found["fleet"], found["device"], leaf.not_valid_before_utc, leaf.not_valid_after_utc)
    return facts, b"".join(item.public_bytes(serialization.Encoding.PEM) for item in chain)


def _device_uri(leaf: x509.Certificate) -> str:
    try:
        usages = list(leaf.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError) as error:
        raise Invalid("cannot take the certificate: it is not a device certificate") from error
    uris = names.get_values_for_type(x509.UniformResourceIdentifier)
    if usages != [ExtendedKeyUsageOID.CLIENT_AUTH] or len(uris) != 1:
        raise Invalid("cannot take the certificate: it is not a device certificate")
    return str(uris[0])


def _load(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem[pem.index(BEGIN_KEY) :], None)
    except (ValueError, TypeError) as error:
        raise Invalid("cannot use the device key: it is not a PEM private key") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise Invalid("cannot use the device key: it is not on P-256")
    return key
