"""Certificate signing requests: hostile input, of which only the key is taken."""

from __future__ import annotations

from dataclasses import dataclass

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tidegate.errors import FieldError, Invalid
from tidegate.trust.pki.profile import public_key_sha256

MAX_REQUEST_BYTES = 8192
_BEGIN = b"-----BEGIN CERTIFICATE REQUEST-----"
_END = b"-----END CERTIFICATE REQUEST-----"
_HASHES = (hashes.SHA256, hashes.SHA384, hashes.SHA512)


@dataclass(frozen=True, slots=True)
class CertificateRequest:
    """A public key whose holder has proved to hold the private half. Subject and extensions were never looked at."""

    public_key: ec.EllipticCurvePublicKey
    public_key_sha256: str


def parse_request(pem: bytes | str, pointer: str = "/csr_pem") -> CertificateRequest:
    """Take the key out of a PEM PKCS#10 request (RFC 2986) after verifying the request's own signature.

    Raises:
        Invalid: too large, not one PEM request, not EC P-256, weak hash, or the signature does not verify.
    """
    data = pem.encode("utf-8", "replace") if isinstance(pem, str) else pem
    if len(data) > MAX_REQUEST_BYTES:
        raise _refused(pointer, f"must be at most {MAX_REQUEST_BYTES} bytes")
    body = data.strip()
    if not body.startswith(_BEGIN) or not body.endswith(_END) or body.count(b"-----BEGIN") != 1:
        raise _refused(pointer, "must be exactly one PEM certificate request")
    try:
        request = x509.load_pem_x509_csr(body)
        public_key = request.public_key()
        algorithm = request.signature_hash_algorithm
    except (ValueError, TypeError, x509.InvalidVersion, UnsupportedAlgorithm) as error:
        raise _refused(pointer, "must be a well-formed certificate request") from error
    if not isinstance(public_key, ec.EllipticCurvePublicKey) or not isinstance(public_key.curve, ec.SECP256R1):
        raise _refused(pointer, "must be for an EC P-256 key")
    if not isinstance(algorithm, _HASHES):
        raise _refused(pointer, "must be signed with ECDSA and SHA-256, SHA-384 or SHA-512")
    try:
        # Verified here and not by `is_signature_valid`, which answers False for parsing trouble too.
        public_key.verify(request.signature, request.tbs_certrequest_bytes, ec.ECDSA(algorithm))
    except InvalidSignature as error:
        raise _refused(pointer, "must be signed by the key that it is for (proof of possession)") from error
    return CertificateRequest(public_key, public_key_sha256(public_key))


def _refused(pointer: str, rule: str) -> Invalid:
    return Invalid(f"cannot accept the certificate request: it {rule}", (FieldError(pointer, rule),))
