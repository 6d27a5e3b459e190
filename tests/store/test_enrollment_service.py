"""Enrollment as carried out: every refusal by name, lost answers, recovery, crashes between record and signature."""

from __future__ import annotations

import msgspec
import pytest
import sqlalchemy as sa
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tidegate.control.domain.access import Scope
from tidegate.control.services import certificates, devices, enrollment, groups, tokens
from tidegate.control.services.node import Node
from tidegate.control.services.tokens import TokenTerms
from tidegate.control.store.schema import audit_records, device_certificates, enrollment_tokens
from tidegate.errors import Conflict, Forbidden, Invalid, NotFound, Refused, Unauthenticated
from tidegate.ids import TokenId
from tidegate.testing.channel import csr, enroll, mint, new_key
from tidegate.testing.node import admin_scope
from tidegate.trust.pki.profile import identity_of
from tidegate.wire.enrollment import Enroll

# What happens in memory needs one database.
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


def kind_of(node: Node, token: str, key: ec.EllipticCurvePrivateKey, name: str | None) -> str:
    with pytest.raises(Refused) as caught:
        enroll(node, token, key, name)
    assert str(caught.value).startswith("cannot ")
    assert token not in str(caught.value)
    return caught.value.type


def expire(node: Node, scope: Scope) -> None:
    """Move every token's end into the past, as time would."""
    with node.db.write() as tx:
        tx.execute(sa.update(enrollment_tokens).values(expires_at=node.clock.now().replace(year=2020)))


def states(node: Node) -> list[str]:
    with node.db.read() as tx:
        return list(tx.scalars(sa.select(device_certificates.c.state).order_by(device_certificates.c.id)))


def test_a_certificate_names_the_device_and_nothing_of_the_request(node: Node, scope: Scope) -> None:
    given = enroll(node, mint(scope, node), new_key(), "cam-1")
    identity = identity_of(
        x509.load_pem_x509_certificate(given.certificate_pem.encode()).public_bytes(serialization.Encoding.DER)
    )
    assert (identity.trust_domain, identity.fleet, identity.device) == ("tidegate.test", "default", "cam-1")
    detail = devices.get(scope, node, "cam-1")
    assert [one.state for one in detail.certificates] == ["current"]
    assert detail.certificates[0].fingerprint == identity.fingerprint
    assert detail.certificates[0].serial == identity.serial
    assert detail.certificates[0].not_after == identity.not_after


def test_the_same_token_and_key_get_the_same_certificate_and_spend_nothing(node: Node, scope: Scope) -> None:
    made = tokens.mint(scope, node, TokenTerms(uses=2))
    key = new_key()
    first = enroll(node, made.secret, key, "cam-1")
    again = enroll(node, made.secret, key, "cam-1")
    assert again.certificate_pem == first.certificate_pem
    assert (first.again, again.again) == (False, True)
    assert tokens.get(scope, node, made.view.id).uses_spent == 1
    assert tokens.get(scope, node, made.view.id).enrolled == ("cam-1",)


def test_refusals_of_tokens_by_name(node: Node, scope: Scope) -> None:
    spent = mint(scope, node)
    enroll(node, spent, new_key(), "cam-1")
    revoked = tokens.mint(scope, node, TokenTerms())
    tokens.revoke(scope, node, revoked.view.id)
    assert kind_of(node, "tge_nobody-minted-this", new_key(), "cam-2") == "token-unknown"
    assert kind_of(node, spent, new_key(), "cam-2") == "token-spent"
    assert kind_of(node, revoked.secret, new_key(), "cam-2") == "token-revoked"
    assert kind_of(node, mint(scope, node), new_key(), None) == "name-required"
    assert kind_of(node, mint(scope, node, device_name="cam-3"), new_key(), "cam-4") == "name-mismatch"
    assert kind_of(node, mint(scope, node), new_key(), "cam-1") == "name-taken"
    fresh = mint(scope, node)
    expire(node, scope)
    assert kind_of(node, fresh, new_key(), "cam-2") == "token-expired"
    assert devices.counts(scope, node).total == 1


def test_a_refused_enrollment_spends_nothing(node: Node, scope: Scope) -> None:
    enroll(node, mint(scope, node), new_key(), "cam-1")
    made = tokens.mint(scope, node, TokenTerms())
    assert kind_of(node, made.secret, new_key(), "cam-1") == "name-taken"
    assert tokens.get(scope, node, made.view.id).uses_spent == 0


@on_sqlite
@pytest.mark.parametrize("bad", ["", "no pem", "rsa", "two", "tampered"])
def test_a_request_that_proves_no_p256_key_is_refused(node: Node, scope: Scope, bad: str) -> None:
    good = csr(new_key())
    other = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([]))
    texts = {
        "rsa": other.sign(rsa.generate_private_key(65537, 2048), hashes.SHA256())
        .public_bytes(serialization.Encoding.PEM)
        .decode(),
        "two": good + good,
        "tampered": _with_another_key(good),
    }
    token = mint(scope, node)
    with pytest.raises(Invalid) as caught:
        enrollment.enroll(node, Enroll(token=token, csr_pem=texts.get(bad, bad), agent_version="t", device="cam-1"))
    assert caught.value.errors[0].pointer == "/csr_pem"
    enroll(node, token, new_key(), "cam-1")


def _with_another_key(pem: str) -> str:
    request = x509.load_pem_x509_csr(pem.encode())
    der = bytearray(request.public_bytes(serialization.Encoding.DER))
    der[-5] ^= 1  # in the signature
    return x509.load_der_x509_csr(bytes(der)).public_bytes(serialization.Encoding.PEM).decode()


def test_a_token_brings_tags_groups_and_a_name(node: Node, scope: Scope) -> None:
    groups.create(scope, node, "lab")
    token = mint(scope, node, device_name="cam-1", tags={"site": "plant-7"}, groups=["lab"])
    given = enroll(node, token, new_key())
    device = devices.get(scope, node, "cam-1").view.device
    assert given.device.name == "cam-1"
    assert (device.tags, device.groups) == ({"site": "plant-7"}, ("lab",))


def test_recovery_keeps_the_record_and_retires_the_old_key(node: Node, scope: Scope) -> None:
    groups.create(scope, node, "lab")
    old = enroll(node, mint(scope, node, tags={"site": "a"}, groups=["lab"]), new_key(), "cam-1")
    made = devices.recover(scope, node, "cam-1")
    new = enroll(node, made.secret, new_key(), "cam-1")
    detail = devices.get(scope, node, "cam-1")
    assert made.recovers
    assert new.device == old.device
    assert [one.state for one in detail.certificates] == ["current", "retired"]
    assert (detail.view.device.tags, detail.view.device.groups) == ({"site": "a"}, ("lab",))
    assert [event.detail for event in detail.events if event.kind == "enrolled"] == [
        "recovered with a new key",
        "enrolled",
    ]


def test_a_key_that_was_retired_never_comes_back(node: Node, scope: Scope) -> None:
    key = new_key()
    enroll(node, mint(scope, node), key, "cam-1")
    enroll(node, devices.recover(scope, node, "cam-1").secret, new_key(), "cam-1")
    assert kind_of(node, devices.recover(scope, node, "cam-1").secret, key, "cam-1") == "key-reused"
    assert kind_of(node, mint(scope, node), key, "cam-2") == "key-reused"


def test_the_first_token_cannot_undo_a_recovery(node: Node, scope: Scope) -> None:
    first, key = mint(scope, node), new_key()
    enroll(node, first, key, "cam-1")
    enroll(node, devices.recover(scope, node, "cam-1").secret, new_key(), "cam-1")
    assert kind_of(node, first, key, "cam-1") == "token-spent"


def test_a_decommissioned_name_is_enrolled_as_a_new_device(node: Node, scope: Scope) -> None:
    old = enroll(node, mint(scope, node, tags={"site": "a"}), new_key(), "cam-1")
    devices.decommission(scope, node, "cam-1")
    with pytest.raises(Conflict):
        devices.decommission(scope, node, "cam-1")
    with pytest.raises(Conflict):
        devices.recover(scope, node, "cam-1")
    new = enroll(node, mint(scope, node), new_key(), "cam-1")
    assert new.device.id != old.device.id
    assert devices.get(scope, node, "cam-1").view.device.tags == {}
    assert devices.counts(scope, node).decommissioned == 1


def test_a_crash_between_record_and_signature_is_taken_up_again(
    node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch
) -> None:
    token, key = mint(scope, node), new_key()

    def power_cut(*_args: object) -> str:
        raise SystemError("the power went")

    with monkeypatch.context() as patched:
        patched.setattr(certificates, "sign", power_cut)
        with pytest.raises(SystemError):
            enroll(node, token, key, "cam-1")
    assert states(node) == ["intended"]
    recorded = devices.get(scope, node, "cam-1").certificates[0]
    given = enroll(node, token, key, "cam-1")
    assert states(node) == ["current"]
    assert f"{x509.load_pem_x509_certificate(given.certificate_pem.encode()).serial_number:x}" == recorded.serial
    # A device that lost its key in the crash is not kept out by a record that never got a certificate.
    with monkeypatch.context() as patched:
        patched.setattr(certificates, "sign", power_cut)
        with pytest.raises(SystemError):
            enroll(node, mint(scope, node), new_key(), "cam-2")
    assert enroll(node, mint(scope, node), new_key(), "cam-2").device.name == "cam-2"


def test_an_overtaken_intention_is_never_entered(node: Node, scope: Scope, monkeypatch: pytest.MonkeyPatch) -> None:
    enroll(node, mint(scope, node), new_key(), "cam-1")
    slow, key = devices.recover(scope, node, "cam-1").secret, new_key()
    real = certificates.sign

    def overtaken(*args: object) -> str:
        monkeypatch.setattr(certificates, "sign", real)
        enroll(node, devices.recover(scope, node, "cam-1").secret, new_key(), "cam-1")
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(certificates, "sign", overtaken)
    with pytest.raises(Conflict):
        enroll(node, slow, key, "cam-1")
    assert states(node) == ["retired", "retired", "current"]
    assert kind_of(node, slow, key, "cam-1") == "token-spent"


def test_minting_names_what_is_wrong_and_records_no_secret(node: Node, scope: Scope) -> None:
    with pytest.raises(Invalid) as caught:
        mint(scope, node, groups=["nowhere"])
    assert caught.value.errors[0].pointer == "/groups/0"
    with pytest.raises(Invalid):
        mint(scope, node, device_name="Cam 1")
    with pytest.raises(NotFound):
        tokens.revoke(scope, node, TokenId(99))
    secret = mint(scope, node, device_name="cam-1")
    with node.db.read() as tx:
        stored = msgspec.json.encode([list(row) for row in tx.execute(sa.select(audit_records.c.data))]).decode()
        kept = tx.execute(sa.select(enrollment_tokens)).one()
    assert secret not in stored
    assert secret not in str(kept)


def test_one_fleet_does_not_see_the_tokens_of_another(node: Node, scope: Scope) -> None:
    made = tokens.mint(scope, node, TokenTerms())
    with pytest.raises(Forbidden):
        tokens.listed(Scope(scope.actor, scope.fleet_id, scope.fleet, frozenset()), node)
    assert tokens.listed(scope, node, live=True).total == 1
    tokens.revoke(scope, node, made.view.id)
    with pytest.raises(Conflict):
        tokens.revoke(scope, node, made.view.id)
    assert tokens.listed(scope, node, live=True).total == 0
    assert [one.state for one in tokens.listed(scope, node).items] == ["revoked"]


def test_enrolling_is_on_the_audit_log(node: Node, scope: Scope) -> None:
    enroll(node, mint(scope, node), new_key(), "cam-1")
    devices.decommission(scope, node, "cam-1", stop_workloads=True)
    with node.db.read() as tx:
        rows = tx.execute(
            sa.select(audit_records.c.actor, audit_records.c.action).where(audit_records.c.chain == scope.fleet_id)
        ).all()
    assert [tuple(row) for row in rows][-3:] == [
        ("user:admin", "token.mint"),
        ("device:cam-1", "device.enroll"),
        ("user:admin", "device.decommission"),
    ]


def test_unauthenticated_is_what_a_bad_token_is() -> None:
    from tidegate.control.domain.enrollment import Refusal

    assert isinstance(certificates.refused(Refusal("token-spent", "cannot")), Unauthenticated)
    gone = certificates.refused(Refusal("device-decommissioned", "cannot"), stop_workloads=True)
    assert isinstance(gone, certificates.Decommissioned)
    assert gone.stop_workloads
