"""Taking this device into a fleet, once (SPEC section 3): `tidegate-agent enroll`.

The key is durable before the token is sent, and every try asks for the same key: a lost answer spends nothing. The
trust anchor is the owner's choice: taken only when the device has none, and only the root with the hash given here.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate import __version__
from tidegate.agent import durable, hardware, tls
from tidegate.agent.alone import alone
from tidegate.agent.fetch import client_over
from tidegate.agent.identity import Enrollment, Identity
from tidegate.agent.link import Link
from tidegate.agent.settings import STATE_FOLDER, Settings
from tidegate.agent.transport import checked_url
from tidegate.agent.work import trust_folder
from tidegate.errors import Conflict, Invalid, Untrusted
from tidegate.ids import DEVICE_NAME, SHA256_HEX
from tidegate.trust.tuf.client import Client
from tidegate.wire.enrollment import Enroll, Enrolled

TOKEN_MAX = 128
TOKEN_MIN = 8
FILE_MAX_BYTES = 512_000
ROOTS_MAX = 256


@dataclass(frozen=True, slots=True)
class Request:
    """What the owner gives. `root_sha256` is empty for a device that has its anchor already."""

    url: str
    ca_pem: str
    root_sha256: str
    name: str = ""


def enroll(settings: Settings, request: Request, token: str, *, again: bool = False) -> Enrollment:
    """Ask for a certificate for this device's key and keep it; a device that is enrolled is left as it is.

    `again` asks for a new identity although there is one that is not over.

    Raises:
        Invalid, ChannelProblem: the request, the token or the answer is refused; nothing was changed but the new key.
        Untrusted: the server is not the one with this CA, or the root is not the one given.
        Unavailable: not now; the same command may be repeated.
        Conflict: an agent runs on this state, and would renew the identity under our hands.
    """
    state_dir = Path(settings.state_dir)
    identity = Identity(state_dir / "identity")
    known = identity.enrollment()
    if known is not None and identity.current() is not None and identity.final() is None and not again:
        return known
    _check(request, token)
    durable.make_folder(state_dir, STATE_FOLDER)
    lock = alone(state_dir)
    try:
        return _ask(settings, identity, request, token)
    finally:
        os.close(lock)


def _ask(settings: Settings, identity: Identity, request: Request, token: str) -> Enrollment:
    state_dir = Path(settings.state_dir)
    csr_pem = identity.begin()
    link = Link(request.url, request.ca_pem, None, timeout_seconds=settings.request_timeout_seconds)
    try:
        answer = link.call(
            "POST",
            "/v1/enroll",
            Enroll(token, csr_pem, __version__, request.name or None, hardware.detect(state_dir)),
            Enrolled,
        )
        _anchor(client_over(link, trust_folder(state_dir), answer.fleet), answer, request.root_sha256)
    finally:
        link.close()
    return _keep(identity, request, answer)


def read_bounded(path: Path, what: str) -> bytes:
    """A small file that the owner names."""
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise Invalid(f"cannot read the {what} {path}: {error.strerror}") from error
    if len(data) > FILE_MAX_BYTES:
        raise Invalid(f"cannot use the {what} {path}: larger than {FILE_MAX_BYTES} bytes")
    return data


def _check(request: Request, token: str) -> None:
    """Every input, before anything is written or sent."""
    checked_url(request.url)
    tls.client_context(request.ca_pem, None)
    if not TOKEN_MIN <= len(token) <= TOKEN_MAX or not token.isascii() or not token.isprintable() or " " in token:
        raise Invalid("cannot use the enrollment token: it is not one")
    if request.root_sha256 and not SHA256_HEX.fullmatch(request.root_sha256):
        raise Invalid("cannot use --root-sha256: it must be 64 hexadecimal digits")
    if request.name and not DEVICE_NAME.fullmatch(request.name):
        raise Invalid(f"cannot use the device name: it must match {DEVICE_NAME.pattern}")


def _anchor(client: Client, answer: Enrolled, root_sha256: str) -> None:
    """Pin the root that was asked for when there is none, then follow the node's chain from the pinned one."""
    if len(answer.root_chain) > ROOTS_MAX:
        raise Untrusted(f"cannot follow the root chain: it has more than {ROOTS_MAX} roots")
    chain = [root.encode() for root in answer.root_chain]
    if not client.has_anchor():
        client.anchor(_chosen(chain, root_sha256))
    client.follow(chain)


def _chosen(chain: Sequence[bytes], root_sha256: str) -> bytes:
    if not root_sha256:
        raise Untrusted("cannot enroll: this device has no trust anchor; give --root or --root-sha256")
    for root in chain:
        if hashlib.sha256(root).hexdigest() == root_sha256:
            return root
    raise Untrusted("cannot enroll: none of the node's roots is the trust anchor that was given")


def _keep(identity: Identity, request: Request, answer: Enrolled) -> Enrollment:
    """What the answer says, each part durable before the next; the current identity moves last, by one rename."""
    if request.name and answer.device != request.name:
        raise Invalid(f"cannot take the certificate: it is for {answer.device}, and {request.name} was asked for")
    checked_url(answer.channel_url)
    tls.client_context(answer.ca_bundle_pem, None)
    enrollment = Enrollment(
        answer.device, answer.fleet, answer.channel_url, max(1, answer.interval_seconds), answer.ca_bundle_pem
    )
    accepted = identity.accept(answer.certificate_chain_pem, anew=True)
    if (accepted.fleet, accepted.device) != (answer.fleet, answer.device):
        identity.discard_pending()
        raise Invalid("cannot take the certificate: it names another device than the answer")
    identity.store_enrollment(enrollment)
    identity.promote()
    identity.clear_final()
    return enrollment


def reset_trust(settings: Settings, *, sure: bool) -> None:
    """Forget the trust anchor and all metadata, so that the next `enroll` may pin another root.

    Raises:
        Conflict: the owner did not say that this is meant.
    """
    if not sure:
        raise Conflict("cannot reset trust without --yes: afterwards this device trusts whatever root it is given next")
    folder = trust_folder(Path(settings.state_dir))
    if not folder.is_dir():
        return
    # One rename takes all of it away; what is left of an interrupted removal is never read.
    aside = folder.with_name(f".{folder.name}.reset")
    _remove_tree(aside)
    durable.rename(folder, aside)
    _remove_tree(aside)


def _remove_tree(folder: Path) -> None:
    if folder.is_dir():
        for path in sorted(folder.rglob("*"), reverse=True):
            path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        folder.rmdir()
