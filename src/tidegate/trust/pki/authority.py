"""Certificate authorities: they sign what was decided and recorded elsewhere, and decide nothing.

Serial numbers and times are arguments, so that what is about to be signed can be recorded first (SPEC section 3).
"""

from __future__ import annotations

import ipaddress
import secrets
from collections.abc import Sequence
from datetime import datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from tidegate.errors import Defect, Invalid
from tidegate.trust.pki.request import CertificateRequest
from tidegate.trust.signer import CertificateSigner

CA_DAYS = 3650
SERVER_DAYS = 397
#: Clocks differ: a new certificate is valid a little before it was made.
BACKDATE = timedelta(minutes=5)
_LOOPBACK = ("localhost", "127.0.0.1", "::1")


def new_serial() -> int:
    """159 random bits (RFC 5280 section 4.1.2.2 allows 20 octets, positive)."""
    return secrets.randbits(158) | (1 << 158)


def create_ca(name: str, signer: CertificateSigner, serial: int, now: datetime) -> bytes:
    """A self-signed CA certificate (PEM) that may sign leaves only, never another CA."""
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    builder = (
        _builder(subject, subject, signer.public_key(), serial, now - BACKDATE, now + timedelta(days=CA_DAYS))
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(_key_usage(ca=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(signer.public_key()), critical=False)
    )
    return _pem(signer.sign_certificate(builder))


class Authority:
    """One CA certificate with its key."""

    def __init__(self, certificate_pem: bytes, signer: CertificateSigner) -> None:
        self.pem = certificate_pem
        self._certificate = x509.load_pem_x509_certificate(certificate_pem)
        self._signer = signer
        key = self._certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey) or key != signer.public_key():
            raise Invalid("cannot use the certificate authority: its certificate and its key do not belong together")

    @property
    def not_after(self) -> datetime:
        return self._certificate.not_valid_after_utc

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the DER, hex."""
        return self._certificate.fingerprint(hashes.SHA256()).hex()

    def issue_device(
        self, request: CertificateRequest, uri: str, serial: int, not_before: datetime, not_after: datetime
    ) -> bytes:
        """A device certificate (PEM): client authentication only, the one URI name `uri`, an empty subject."""
        builder = self._leaf(request.public_key, x509.Name([]), serial, not_before, not_after)
        # RFC 5280 section 4.1.2.6: with an empty subject the alternative name is critical.
        builder = builder.add_extension(
            x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=True
        ).add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH]), critical=True)
        return _pem(self._signer.sign_certificate(builder))

    def issue_server(
        self,
        public_key: ec.EllipticCurvePublicKey,
        hosts: Sequence[str],
        serial: int,
        not_before: datetime,
        not_after: datetime,
    ) -> bytes:
        """A serving certificate (PEM) for `hosts` and the loopback names: server authentication only."""
        names = list(dict.fromkeys((*hosts, *_LOOPBACK)))
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0][:64])])
        builder = (
            self._leaf(public_key, subject, serial, not_before, not_after)
            .add_extension(x509.SubjectAlternativeName([_general_name(name) for name in names]), critical=False)
            .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        )
        return _pem(self._signer.sign_certificate(builder))

    def _leaf(
        self,
        public_key: ec.EllipticCurvePublicKey,
        subject: x509.Name,
        serial: int,
        not_before: datetime,
        not_after: datetime,
    ) -> x509.CertificateBuilder:
        if not not_before < not_after:
            raise Defect("cannot issue a certificate that ends before it begins")
        authority_key = x509.AuthorityKeyIdentifier.from_issuer_public_key(self._signer.public_key())
        return (
            _builder(subject, self._certificate.subject, public_key, serial, not_before, not_after)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_key_usage(ca=False), critical=True)
            .add_extension(authority_key, critical=False)
        )


def certificate_hosts(pem: bytes) -> tuple[str, ...]:
    """The names a serving certificate is for."""
    names = x509.load_pem_x509_certificate(pem).extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    dns = names.get_values_for_type(x509.DNSName)
    return (*dns, *(str(address) for address in names.get_values_for_type(x509.IPAddress)))


def _builder(
    subject: x509.Name,
    issuer: x509.Name,
    public_key: ec.EllipticCurvePublicKey,
    serial: int,
    not_before: datetime,
    not_after: datetime,
) -> x509.CertificateBuilder:
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(public_key)
        .serial_number(serial)
        .not_valid_before(not_before)
        .not_valid_after(not_after)
    )


def _key_usage(*, ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=ca,
        crl_sign=ca,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(host: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return x509.DNSName(host)
    except ValueError as error:
        raise Invalid(
            f"cannot put {host!r} into a certificate: it must be a host name in ASCII or an address"
        ) from error


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
