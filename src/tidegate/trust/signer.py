"""Keys behind an interface: today PEM files, later a process or a hardware module.

Whoever signs decides nothing, and whoever decides holds no key: callers know only `Signer` (Ed25519, for metadata of
The Update Framework and audit checkpoints) and `CertificateSigner` (EC P-256).
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from securesystemslib.signer import SSlibKey

from tidegate.errors import Invalid, Unavailable
from tidegate.trust.tuf.durable import make_folder, write_file

_MAX_KEY_FILE_BYTES = 64 * 1024


class Signer(Protocol):
    """An Ed25519 key."""

    @property
    def key(self) -> SSlibKey:
        """The public half as TUF metadata writes it; `key.keyid` is its id."""

    def public_pem(self) -> bytes:
        """SubjectPublicKeyInfo."""

    def sign(self, payload: bytes) -> bytes:
        """64 bytes."""


class CertificateSigner(Protocol):
    """An EC P-256 key that signs certificates."""

    def public_key(self) -> ec.EllipticCurvePublicKey: ...

    def sign_certificate(self, builder: x509.CertificateBuilder) -> x509.Certificate: ...


class FileSigner:
    """An Ed25519 key in a PKCS#8 PEM file (mode 0600), held in memory after loading."""

    def __init__(self, private: Ed25519PrivateKey) -> None:
        self._private = private
        self._key = SSlibKey.from_crypto(private.public_key())

    @classmethod
    def create(cls, path: Path) -> FileSigner:
        """Make a new key and write it durably.

        Raises:
            Unavailable: the file cannot be written.
        """
        private = Ed25519PrivateKey.generate()
        _write_key(path, private)
        return cls(private)

    @classmethod
    def load(cls, path: Path, password: bytes | None = None) -> FileSigner:
        """Raises `Unavailable` when it cannot be read, `Invalid` when it is not an Ed25519 key."""
        private = _read_key(path, password)
        if not isinstance(private, Ed25519PrivateKey):
            raise Invalid(f"cannot sign with {path.name}: it must be an Ed25519 key")
        return cls(private)

    @property
    def key(self) -> SSlibKey:
        return self._key

    def public_pem(self) -> bytes:
        return self._private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )

    def sign(self, payload: bytes) -> bytes:
        return self._private.sign(payload)


class FileCertificateSigner:
    """An EC P-256 key in a PKCS#8 PEM file (mode 0600), held in memory after loading."""

    def __init__(self, private: ec.EllipticCurvePrivateKey) -> None:
        self._private = private

    @classmethod
    def create(cls, path: Path) -> FileCertificateSigner:
        """Make a new key and write it durably."""
        private = ec.generate_private_key(ec.SECP256R1())
        _write_key(path, private)
        return cls(private)

    @classmethod
    def load(cls, path: Path) -> FileCertificateSigner:
        """Raises `Unavailable` when it cannot be read, `Invalid` when it is not an EC P-256 key."""
        private = _read_key(path, None)
        if not isinstance(private, ec.EllipticCurvePrivateKey) or not isinstance(private.curve, ec.SECP256R1):
            raise Invalid(f"cannot sign certificates with {path.name}: it must be an EC P-256 key")
        return cls(private)

    def public_key(self) -> ec.EllipticCurvePublicKey:
        return self._private.public_key()

    def sign_certificate(self, builder: x509.CertificateBuilder) -> x509.Certificate:
        return builder.sign(self._private, hashes.SHA256())


def _write_key(path: Path, private: Ed25519PrivateKey | ec.EllipticCurvePrivateKey) -> None:
    pem = private.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    try:
        make_folder(path.parent)
        write_file(path, pem, 0o600)
    except OSError as error:
        raise Unavailable(f"cannot write the key {path.name}: {error.strerror}") from error


def _read_key(path: Path, password: bytes | None) -> object:
    try:
        with path.open("rb") as file:
            pem = file.read(_MAX_KEY_FILE_BYTES)
    except OSError as error:
        raise Unavailable(f"cannot read the key {path.name}: {error.strerror}") from error
    try:
        return serialization.load_pem_private_key(pem, password)
    except (ValueError, TypeError) as error:
        raise Invalid(
            f"cannot read the key {path.name}: it is not a private key in PEM form, or its password is wrong"
        ) from error
