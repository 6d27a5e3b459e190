"""The device's identity through crashes: at no instant is a device without a way back to its node."""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from tidegate.agent import enroll, keys
from tidegate.agent.alone import alone
from tidegate.agent.connection import Connection
from tidegate.agent.identity import Enrollment, Final, Identity
from tidegate.agent.settings import Settings
from tidegate.errors import Conflict, Invalid, TidegateError, Unavailable, Untrusted
from tidegate.testing.played_node import TOKEN, PlayedNode
from tidegate.testing.tls_server import Pki, http, refusal


class PowerCut(BaseException):
    """Not an Exception: nothing of ours catches it."""


def cut_at(monkeypatch: pytest.MonkeyPatch, step: int) -> None:
    """Lose power at the `step`-th durable operation: a rename, a flush or a removal."""
    left = [step]

    def counted(real: Callable[..., object]) -> Callable[..., object]:
        def run(*arguments: object, **more: object) -> object:
            if left[0] == 0:
                raise PowerCut
            left[0] -= 1
            return real(*arguments, **more)

        return run

    for name in ("replace", "fsync", "unlink"):
        monkeypatch.setattr(os, name, counted(getattr(os, name)))


@pytest.fixture(scope="module")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return Pki(tmp_path_factory.mktemp("pki"))


@pytest.fixture
def identity(tmp_path: Path, pki: Pki) -> Identity:
    found = Identity(tmp_path / "identity")
    found.accept(pki.device(found.begin()))
    found.store_enrollment(Enrollment("cam-7", "default", "https://127.0.0.1:1", 30, pki.ca_pem))
    found.promote()
    return found


def key_of(path: Path) -> bytes:
    return path.read_bytes().split(b"-----")[2]


def test_the_key_is_private_and_asked_for_again(tmp_path: Path) -> None:
    identity = Identity(tmp_path / "identity")
    first, second = identity.begin(), identity.begin()
    path = identity.folder / "pending.pem"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(identity.folder.stat().st_mode) == 0o700
    from cryptography import x509

    one, two = (x509.load_pem_x509_csr(text.encode()).public_key() for text in (first, second))
    assert one == two
    assert identity.pending() is None


def test_what_the_certificate_says_is_read_without_a_library(identity: Identity) -> None:
    found = identity.current()
    assert found is not None
    assert (found.trust_domain, found.fleet, found.device) == ("tidegate.test", "default", "cam-7")
    life = found.not_after - found.not_before
    assert life == timedelta(days=90)
    assert found.renew_at() - found.not_before == life * 2 / 3
    assert not found.expired(datetime.now(UTC))


def renewal(identity: Identity, pki: Pki) -> None:
    identity.accept(pki.device(identity.begin()))
    identity.promote()


def test_renewal_survives_a_power_cut_at_every_step(identity: Identity, pki: Pki) -> None:
    """Whatever the instant, a whole identity is there, and doing it all again ends with the new one."""
    cuts = 0
    while True:
        before = key_of(identity.folder / "current.pem")
        with pytest.MonkeyPatch.context() as patch:
            cut_at(patch, cuts)
            try:
                renewal(identity, pki)
                break
            except PowerCut:
                cuts += 1
        usable = identity.to_use()
        assert usable is not None
        assert key_of(usable.file)
        assert key_of(identity.folder / "current.pem") == before or identity.pending() is None
        assert identity.enrollment() is not None
    assert cuts >= 6
    assert key_of(identity.folder / "current.pem") != before


def test_a_lost_answer_leaves_the_current_one_in_use(identity: Identity) -> None:
    identity.begin()
    used = identity.to_use()
    assert used is not None
    assert used.file.name == "current.pem"


def test_the_pending_one_is_tried_first_and_the_current_one_kept(identity: Identity, pki: Pki) -> None:
    identity.accept(pki.device(identity.begin()))
    connection = Connection(identity, 5)
    assert connection.on_pending
    connection.use_current(forget=False)
    assert not connection.on_pending
    connection.retry_pending()
    assert connection.on_pending
    connection.use_current(forget=False)
    assert not connection.accepted()
    assert identity.pending() is None


def test_an_accepted_pending_one_becomes_current(identity: Identity, pki: Pki) -> None:
    identity.accept(pki.device(identity.begin()))
    connection = Connection(identity, 5)
    assert connection.accepted()
    assert identity.pending() is None
    assert not connection.on_pending


def test_a_damaged_pending_file_does_not_lock_out(identity: Identity) -> None:
    (identity.folder / "pending.pem").write_bytes(b"-----BEGIN CERTIFICATE-----\nhalf")
    used = identity.to_use()
    assert used is not None
    assert used.file.name == "current.pem"
    assert "CERTIFICATE REQUEST" in identity.begin()


@pytest.mark.parametrize("case", ["other-key", "not-pem", "server", "other-device", "other-fleet", "empty", "huge"])
def test_certificates_that_are_not_for_this_key_and_device(
    identity: Identity, pki: Pki, case: str, tmp_path: Path
) -> None:
    csr = identity.begin()
    chain = {
        "other-key": lambda: pki.device(Identity(tmp_path / "other").begin()),
        "not-pem": lambda: "not pem",
        "server": lambda: pki.server_file.read_text().partition("-----END PRIVATE KEY-----\n")[2],
        "other-device": lambda: pki.device(csr, "cam-8"),
        "other-fleet": lambda: pki.device(csr, fleet="other"),
        "empty": lambda: "",
        "huge": lambda: pki.device(csr) * 5,
    }[case]()
    with pytest.raises(Invalid, match="cannot take"):
        identity.accept(chain)
    assert identity.pending() is None
    assert identity.current() is not None


def test_an_interrupted_wipe_is_finished(identity: Identity) -> None:
    final = Final("device-decommissioned", "gone", datetime.now(UTC))
    cuts = 0
    while True:
        with pytest.MonkeyPatch.context() as patch:
            cut_at(patch, cuts)
            try:
                identity.wipe(final)
                break
            except PowerCut:
                cuts += 1
        if identity.final() is None:
            assert identity.current() is not None, "a key may only go after the reason is written"
    assert identity.final() == final
    assert list(identity.folder.glob("*.pem")) == []


def test_ca_bundles_are_followed_only_when_they_are_what_they_say(identity: Identity, pki: Pki, tmp_path: Path) -> None:
    import hashlib

    connection = Connection(identity, 5)
    overlap = pki.ca_pem + Pki(tmp_path).ca_pem
    digest = hashlib.sha256(overlap.encode()).hexdigest()
    with pytest.raises(Invalid, match="digest"):
        connection.take_bundle(digest, pki.ca_pem)
    with pytest.raises(Invalid, match="cannot use"):
        connection.take_bundle(hashlib.sha256(b"x").hexdigest(), "x")
    connection.take_bundle(digest, "")
    assert connection.enrollment.ca_bundle_pem == pki.ca_pem
    connection.take_bundle(digest, overlap)
    assert known_bundle(identity) == pki.ca_pem, "not before the node was reached with it"
    connection.accepted()
    assert known_bundle(identity) == connection.enrollment.ca_bundle_pem == overlap


def test_a_bundle_that_does_not_verify_the_node_is_given_up(identity: Identity, pki: Pki, tmp_path: Path) -> None:
    import hashlib

    connection = Connection(identity, 5)
    foreign = Pki(tmp_path).ca_pem
    connection.take_bundle(hashlib.sha256(foreign.encode()).hexdigest(), foreign)
    assert connection.refuse_bundle()
    assert not connection.refuse_bundle()
    connection.accepted()
    assert known_bundle(identity) == pki.ca_pem


def known_bundle(identity: Identity) -> str:
    known = identity.enrollment()
    assert known is not None
    return known.ca_bundle_pem


def test_keys_of_another_kind_are_refused() -> None:
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP384R1())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    for bad in (pem, b"", b"nothing", keys.BEGIN_KEY):
        assert not keys.usable(bad)


# -- enrollment --------------------------------------------------------------------------------------------------------


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(str(tmp_path / "state"), str(tmp_path / "run"), request_timeout_seconds=5)


def asking(node: PlayedNode, **fields: str) -> enroll.Request:
    given = {"url": node.server.url, "ca_pem": node.pki.ca_pem, "root_sha256": node.root_sha256, "name": ""}
    return enroll.Request(**{**given, **fields})


def test_enrolling_again_changes_nothing(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        first = enroll.enroll(settings, asking(node), TOKEN)
        assert enroll.enroll(settings, asking(node), "") == first
        assert len(node.enrolls) == 1
        assert Identity(tmp_path / "state/identity").current() is not None


def test_a_new_identity_is_not_made_under_a_running_agent(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        enroll.enroll(settings, asking(node), TOKEN)
        running = alone(tmp_path / "state")
        with pytest.raises(Conflict, match="another agent runs"):
            enroll.enroll(settings, asking(node), TOKEN, again=True)
        assert enroll.enroll(settings, asking(node), "").device == "cam-7", "an upgrade beside it changes nothing"
        os.close(running)
        assert len(node.enrolls) == 1


def test_every_retry_asks_for_the_same_key(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        answers = [lambda _: None, lambda _: http(200, b"garbage"), lambda _: refusal("unavailable", 503)]
        for lost in answers:
            node.refuse["/v1/enroll"] = lost
            with pytest.raises(TidegateError):
                enroll.enroll(settings, asking(node), TOKEN)
        del node.refuse["/v1/enroll"]
        enroll.enroll(settings, asking(node), TOKEN)
        asked = [one for one in node.server.asked if one.path == "/v1/enroll"]
        assert len(asked) >= 4
        import msgspec
        from cryptography import x509

        found = {
            x509.load_pem_x509_csr(msgspec.json.decode(one.body)["csr_pem"].encode()).public_key().public_numbers()
            for one in asked
        }
        assert len(found) == 1


def test_enrollment_survives_a_power_cut_at_every_step(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        cuts = 0
        while True:
            with pytest.MonkeyPatch.context() as patch:
                cut_at(patch, cuts)
                try:
                    enrolled = enroll.enroll(settings, asking(node), TOKEN)
                    break
                except PowerCut:
                    cuts += 1
        assert enrolled.device == "cam-7"
        assert cuts > 5
        asked = {one.csr_pem for one in node.enrolls}
        assert asked


def test_only_the_root_that_the_owner_named_is_pinned(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        with pytest.raises(Untrusted, match="none of the node's roots"):
            enroll.enroll(settings, asking(node, root_sha256="0" * 64), TOKEN)
        with pytest.raises(Untrusted, match="give --root"):
            enroll.enroll(settings, asking(node, root_sha256=""), TOKEN)
        assert Identity(tmp_path / "state/identity").current() is None
        enroll.enroll(settings, asking(node), TOKEN)


def test_enrollment_never_replaces_the_anchor(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "other").mkdir()
    with PlayedNode(tmp_path) as node, PlayedNode(tmp_path / "other") as other:
        enroll.enroll(settings, asking(node), TOKEN)
        with pytest.raises(Untrusted):
            enroll.enroll(settings, asking(other), TOKEN, again=True)
        with pytest.raises(TidegateError, match="--yes"):
            enroll.reset_trust(settings, sure=False)
        enroll.reset_trust(settings, sure=True)
        enroll.enroll(settings, asking(other), TOKEN, again=True)


def test_a_root_chain_is_followed(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        node.world.resign_root()
        node.world.resign_root()
        enroll.enroll(settings, asking(node), TOKEN)
        from tidegate.agent.work import trust_folder

        assert node.world.client(trust_folder(tmp_path / "state")).root_version() == 3


@pytest.mark.parametrize(
    "change",
    [
        {"url": "http://127.0.0.1"},
        {"ca_pem": "nothing"},
        {"ca_pem": ""},
        {"root_sha256": "abc"},
        {"name": "Upper"},
        {"name": "a\n"},
    ],
)
def test_wrong_input_is_refused_before_anything_is_made(
    tmp_path: Path, settings: Settings, change: dict[str, str]
) -> None:
    with PlayedNode(tmp_path) as node:
        with pytest.raises(Invalid, match="cannot "):
            enroll.enroll(settings, asking(node, **change), TOKEN)
        assert node.server.asked == []
        assert not (tmp_path / "state").exists()


@pytest.mark.parametrize("token", ["", "short", "x" * 200, "with space in it", "nul\0nul\0nul", "ünicode-token"])
def test_tokens_that_are_none_are_not_sent(tmp_path: Path, settings: Settings, token: str) -> None:
    with PlayedNode(tmp_path) as node:
        with pytest.raises(Invalid, match="token"):
            enroll.enroll(settings, asking(node), token)
        assert node.server.asked == []


def test_the_token_goes_only_to_the_node_with_this_ca(tmp_path: Path, settings: Settings) -> None:
    (tmp_path / "other").mkdir()
    with PlayedNode(tmp_path) as node, PlayedNode(tmp_path / "other") as other:
        with pytest.raises(Untrusted):
            enroll.enroll(settings, asking(node, url=other.server.url), TOKEN)
        assert other.server.asked == []


def test_a_refused_token_changes_nothing(tmp_path: Path, settings: Settings) -> None:
    with PlayedNode(tmp_path) as node:
        with pytest.raises(TidegateError) as caught:
            enroll.enroll(settings, asking(node), "tet_another-token")
        assert caught.value.type == "token-refused"
        assert not isinstance(caught.value, Unavailable)
        assert Identity(tmp_path / "state/identity").to_use() is None
