"""Certificates: what is issued, what is read back, and every kind of request that is refused."""

from __future__ import annotations

import base64
import contextlib
import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID
from hypothesis import given, settings
from hypothesis import strategies as st

from tidegate.control.services.keyring import Keyring
from tidegate.errors import Defect, Invalid, Unavailable, Untrusted
from tidegate.trust.pki.authority import Authority, certificate_hosts, create_ca, new_serial
from tidegate.trust.pki.profile import identity_of, spiffe_uri
from tidegate.trust.pki.request import MAX_REQUEST_BYTES, parse_request
from tidegate.trust.signer import FileCertificateSigner, FileSigner

NOW = datetime(2026, 6, 1, tzinfo=UTC)
LATER = NOW + timedelta(days=90)


def _csr(
    key: object, *, subject: str = "whoever", algorithm: hashes.HashAlgorithm | None = None, ca: bool = False
) -> x509.CertificateSigningRequest:
    builder = x509.CertificateSigningRequestBuilder().subject_name(
        x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, subject)])
    )
    if ca:
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        san = x509.SubjectAlternativeName([x509.UniformResourceIdentifier("spiffe://x/fleet/default/device/admin")])
        builder = builder.add_extension(san, critical=False)
    chosen = None if isinstance(key, ed25519.Ed25519PrivateKey) else (algorithm or hashes.SHA256())
    return builder.sign(key, chosen)  # type: ignore[arg-type]


def _pem(request: x509.CertificateSigningRequest) -> bytes:
    return request.public_bytes(serialization.Encoding.PEM)


def _as_pem(der: bytes) -> bytes:
    body = base64.encodebytes(der).decode()
    return f"-----BEGIN CERTIFICATE REQUEST-----\n{body}-----END CERTIFICATE REQUEST-----\n".encode()


@pytest.fixture(scope="module")
def key() -> ec.EllipticCurvePrivateKey:
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture(scope="module")
def authority() -> Authority:
    signer = FileCertificateSigner(ec.generate_private_key(ec.SECP256R1()))
    return Authority(create_ca("Tidegate device CA", signer, new_serial(), NOW), signer)


def _der(pem: bytes) -> bytes:
    return x509.load_pem_x509_certificate(pem).public_bytes(serialization.Encoding.DER)


# -- issuing and reading back -----------------------------------------------------------------------------------------


def test_a_device_certificate_says_who_and_nothing_else(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    request = parse_request(_pem(_csr(key, subject="root@everything", ca=True)))
    uri = spiffe_uri("tidegate.test", "default", "cam-7")
    pem = authority.issue_device(request, uri, 0x1234, NOW, LATER)
    identity = identity_of(_der(pem))
    assert (identity.trust_domain, identity.fleet, identity.device) == ("tidegate.test", "default", "cam-7")
    assert (identity.serial, identity.not_before, identity.not_after) == ("1234", NOW, LATER)
    assert identity.public_key_sha256 == request.public_key_sha256
    certificate = x509.load_pem_x509_certificate(pem)
    assert len(list(certificate.subject)) == 0, "the subject of the request is ignored"
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert not certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    ca = x509.load_pem_x509_certificate(authority.pem)
    certificate.verify_directly_issued_by(ca)
    assert ca.extensions.get_extension_for_class(x509.BasicConstraints).value.path_length == 0


def test_a_serving_certificate_covers_loopback_and_the_names_given(
    authority: Authority, key: ec.EllipticCurvePrivateKey
) -> None:
    pem = authority.issue_server(
        key.public_key(), ["node.example", "192.0.2.7", "node.example"], new_serial(), NOW, LATER
    )
    assert set(certificate_hosts(pem)) == {"node.example", "localhost", "192.0.2.7", "127.0.0.1", "::1"}
    certificate = x509.load_pem_x509_certificate(pem)
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert ipaddress.ip_address("::1") in names.get_values_for_type(x509.IPAddress)
    assert list(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value) == [
        ExtendedKeyUsageOID.SERVER_AUTH
    ]
    with pytest.raises(Untrusted, match="exactly one name"):
        identity_of(_der(pem))


def test_a_name_that_no_certificate_can_carry_is_refused(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(Invalid, match="host name in ASCII"):
        authority.issue_server(key.public_key(), ["köln.example"], new_serial(), NOW, LATER)


def test_a_life_that_ends_before_it_begins_is_a_defect(authority: Authority, key: ec.EllipticCurvePrivateKey) -> None:
    with pytest.raises(Defect):
        authority.issue_device(parse_request(_pem(_csr(key))), "spiffe://t/fleet/default/device/a", 1, LATER, NOW)


@pytest.mark.parametrize(
    ("domain", "fleet", "device"),
    [
        ("", "default", "a"),
        ("UPPER", "default", "a"),
        ("a/b", "default", "a"),
        ("t", "", "a"),
        ("t", "x/device/y", "a"),
        ("t", "default", "a/b"),
        ("t", "default", "a\n"),
        ("t", "default", ""),
    ],
)
def test_an_identity_of_the_wrong_form_is_refused(domain: str, fleet: str, device: str) -> None:
    with pytest.raises(Invalid):
        spiffe_uri(domain, fleet, device)


@pytest.mark.parametrize(
    "names",
    [
        [],
        ["spiffe://t/fleet/default/device/a", "spiffe://t/fleet/default/device/b"],
        ["https://t/fleet/default/device/a"],
        ["spiffe://t/fleet/default/device/a/b"],
        ["spiffe://t/fleet/default/device/../a"],
        ["spiffe://t/fleet/default/device/%61"],
        ["spiffe://t/fleet/default/device/A"],
        ["spiffe://t/fleet/default/device/a\n"],
        ["spiffe://t/fleet/default/device/a?x"],
        ["SPIFFE://t/fleet/default/device/a"],
    ],
)
def test_a_certificate_with_any_other_name_is_no_identity(
    authority: Authority, key: ec.EllipticCurvePrivateKey, names: list[str]
) -> None:
    builder = (
        x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).public_key(key.public_key())
        .serial_number(1).not_valid_before(NOW).not_valid_after(LATER)
    )  # fmt: skip
    if names:
        uris = [x509.UniformResourceIdentifier._init_without_validation(name) for name in names]
        builder = builder.add_extension(x509.SubjectAlternativeName(uris), critical=False)
    der = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER)
    with pytest.raises(Untrusted):
        identity_of(der)


def test_a_dns_name_beside_the_identity_is_refused(key: ec.EllipticCurvePrivateKey) -> None:
    names = x509.SubjectAlternativeName(
        [x509.UniformResourceIdentifier("spiffe://t/fleet/default/device/a"), x509.DNSName("b")]
    )
    builder = (
        x509.CertificateBuilder().subject_name(x509.Name([])).issuer_name(x509.Name([])).public_key(key.public_key())
    )
    builder = builder.serial_number(1).not_valid_before(NOW).not_valid_after(LATER).add_extension(names, critical=False)
    with pytest.raises(Untrusted, match="exactly one name"):
        identity_of(builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.DER))


@settings(max_examples=100)
@given(st.binary(max_size=300))
def test_hostile_certificates_are_a_typed_refusal(data: bytes) -> None:
    with pytest.raises(Untrusted):
        identity_of(data)


# -- requests ---------------------------------------------------------------------------------------------------------


def test_a_request_gives_its_key_whatever_else_it_says(key: ec.EllipticCurvePrivateKey) -> None:
    plain, ambitious = _csr(key), _csr(key, subject="x" * 60, ca=True, algorithm=hashes.SHA512())
    assert parse_request(_pem(plain)).public_key_sha256 == parse_request(_pem(ambitious).decode()).public_key_sha256


def _other_key_in(request: x509.CertificateSigningRequest) -> bytes:
    """The key replaced by another one, the signature kept."""

    def point(public: ec.EllipticCurvePublicKey) -> bytes:
        return public.public_bytes(serialization.Encoding.X962, serialization.PublicFormat.UncompressedPoint)

    public = request.public_key()
    assert isinstance(public, ec.EllipticCurvePublicKey)
    der = request.public_bytes(serialization.Encoding.DER)
    return _as_pem(der.replace(point(public), point(ec.generate_private_key(ec.SECP256R1()).public_key())))


def _hostile() -> dict[str, tuple[bytes, str]]:
    key = ec.generate_private_key(ec.SECP256R1())
    good = _csr(key)
    der = good.public_bytes(serialization.Encoding.DER)
    return {
        "empty": (b"", "exactly one PEM"),
        "not-pem": (b"hello", "exactly one PEM"),
        "der": (der, "exactly one PEM"),
        "two": (_pem(good) * 2, "exactly one PEM"),
        "prefixed": (b"-----BEGIN PRIVATE KEY-----\nAA==\n-----END PRIVATE KEY-----\n" + _pem(good), "exactly one PEM"),
        "garbage-inside": (_as_pem(b"\x30\x82\xff\xff" + b"A" * 40), "well-formed"),
        "truncated": (_as_pem(der[:-20]), "well-formed"),
        "trailing": (_as_pem(der + b"\0" * 8), "well-formed"),
        "too-large": (_pem(good) + b"\n" * MAX_REQUEST_BYTES, "at most"),
        "p384": (_pem(_csr(ec.generate_private_key(ec.SECP384R1()))), "EC P-256"),
        "rsa": (_pem(_csr(rsa.generate_private_key(65537, 2048))), "EC P-256"),
        "ed25519": (_pem(_csr(ed25519.Ed25519PrivateKey.generate())), "EC P-256"),
        "weak-hash": (_pem(_csr(key, algorithm=hashes.SHA224())), "SHA-256"),
        "flipped-signature": (_as_pem(der[:-1] + bytes([der[-1] ^ 1])), "proof of possession|well-formed"),
        "somebody-elses-key": (_other_key_in(good), "proof of possession"),
    }  # fmt: skip


HOSTILE = _hostile()


@pytest.mark.parametrize("case", sorted(HOSTILE))
def test_hostile_requests_are_refused_naming_the_field(case: str) -> None:
    pem, says = HOSTILE[case]
    with pytest.raises(Invalid, match=says) as refused:
        parse_request(pem)
    assert [error.pointer for error in refused.value.errors] == ["/csr_pem"]
    assert refused.value.detail.startswith("cannot accept the certificate request")


@settings(max_examples=150)
@given(st.data())
def test_mutated_requests_are_a_typed_refusal_or_the_same_key(data: st.DataObject) -> None:
    der = bytearray(base64.b64decode(b"".join(HOSTILE["two"][0].split(b"-----")[2].split())))
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Invalid):
        assert len(parse_request(_as_pem(bytes(der))).public_key_sha256) == 64


# -- keys on disk -----------------------------------------------------------------------------------------------------


def test_keys_are_private_files_and_load_again(tmp_path: Path) -> None:
    made = FileSigner.create(tmp_path / "keys" / "a.pem")
    assert (tmp_path / "keys" / "a.pem").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "keys").stat().st_mode & 0o777 == 0o700
    assert FileSigner.load(tmp_path / "keys" / "a.pem").key == made.key
    with pytest.raises(Invalid, match="must be an EC P-256"):
        FileCertificateSigner.load(tmp_path / "keys" / "a.pem")
    (tmp_path / "b.pem").write_bytes(b"nonsense")
    with pytest.raises(Invalid, match="not a private key"):
        FileSigner.load(tmp_path / "b.pem")
    with pytest.raises(Unavailable, match="No such file"):
        FileSigner.load(tmp_path / "c.pem")


def test_an_authority_needs_its_own_key(authority: Authority) -> None:
    with pytest.raises(Invalid, match="do not belong together"):
        Authority(authority.pem, FileCertificateSigner(ec.generate_private_key(ec.SECP256R1())))


def test_the_nodes_certificates_are_made_once_and_the_serving_one_renewed(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    keyring.create_pki(["node.example"], NOW)
    before = {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()}
    keyring.create_pki(["node.example"], NOW + timedelta(days=30))
    assert {path: path.read_bytes() for path in (tmp_path / "pki").iterdir()} == before
    assert keyring.renew_server_certificate(["other.example"], NOW + timedelta(days=30))
    assert not keyring.renew_server_certificate(["other.example"], NOW + timedelta(days=60))
    assert keyring.renew_server_certificate(["other.example"], NOW + timedelta(days=400))
    assert (tmp_path / "pki" / "server.key").read_bytes() == before[tmp_path / "pki" / "server.key"]
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in (tmp_path / "pki").iterdir())
    server = x509.load_pem_x509_certificate(keyring.server_certificate_pem())
    server.verify_directly_issued_by(x509.load_pem_x509_certificate(keyring.server_ca_pem()))


def test_a_crash_between_key_and_certificate_is_mended(tmp_path: Path) -> None:
    keyring = Keyring(tmp_path)
    FileCertificateSigner.create(tmp_path / "pki" / "device-ca.key")
    keyring.create_pki([], NOW)
    assert keyring.authority().not_after > NOW


@pytest.fixture(scope="module")
def device_der(authority: Authority, key: ec.EllipticCurvePrivateKey) -> bytes:
    request = parse_request(_pem(_csr(key)))
    return _der(authority.issue_device(request, "spiffe://t/fleet/default/device/a", 1, NOW, LATER))


@settings(max_examples=150)
@given(st.data())
def test_mutated_certificates_are_a_typed_refusal_or_an_identity(device_der: bytes, data: st.DataObject) -> None:
    der = bytearray(device_der)
    for _ in range(data.draw(st.integers(1, 3))):
        der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Untrusted):
        assert identity_of(bytes(der)).fleet
