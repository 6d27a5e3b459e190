"""`tidegate audit`: list, verify, export; `verify FILE` needs neither node nor network."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tidegate.cli.answers import AuditExport, AuditVerdict
from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Noun, gives
from tidegate.cli.options import TIME, Slice, paged
from tidegate.control.domain.audit_export import SIGNED_PREFIX, check_export, lines_of
from tidegate.errors import Invalid, Unavailable, Untrusted
from tidegate.wire.operator.audit import AuditKey, AuditRecord
from tidegate.wire.operator.common import Page

_NODE = click.option("--node", "of_node", is_flag=True, help="The node's own chain instead of the fleet's.")


@click.group("audit", cls=Noun)
def commands() -> None:
    """Who did what: every administrative act, in a chain that shows tampering."""


@commands.command("list")
@click.option("--action", default="", help="Exact, or a beginning with * behind it.")
@click.option("--actor", default="", help="Such as user:admin.")
@click.option("--subject", default="", help="Exact, or a beginning with * behind it.")
@click.option("--since", type=TIME, help="Such as 2026-12-01T08:00:00Z.")
@click.option("--before", type=TIME, help="Such as 2026-12-01T08:00:00Z.")
@paged
@_NODE
@pass_cli
@gives(Page[AuditRecord], "audit list --action 'rollout.*' --since 2026-12-01T00:00:00Z")
def list_(cli: Cli, /, part: Slice, of_node: bool, **filters: Any) -> None:
    """Records, the newest first."""
    answer = part.of(cli.client.audit.list(**filters, node=of_node))
    cli.out.page(answer, ("sequence", "at", "actor", "action", "subject", "data"))


@commands.command()
@pass_cli
@gives(AuditKey, "audit key")
def key(cli: Cli) -> None:
    """The public key that exports and checkpoints are signed with; keep it where the node is not."""
    found = cli.client.audit.key()
    cli.out.data(found, found.public_key.rstrip("\n"))


@commands.command()
@click.argument("file", required=False, type=click.Path(dir_okay=False, path_type=Path))
@click.option("--signature", type=click.Path(dir_okay=False, path_type=Path), help="The export's detached signature.")
@click.option("--public-key", help="PEM file: the key that must have signed; else the one in the signature file.")
@_NODE
@pass_cli
@gives(AuditVerdict, "audit verify audit.jsonl --signature audit.jsonl.sig --public-key audit-key.pem")
def verify(cli: Cli, file: Path | None, signature: Path | None, public_key: str | None, of_node: bool) -> None:
    """Verify the chain: of the node, or with FILE an exported one, without the node."""
    if file is not None:
        _verify_file(cli, file, signature, public_key)
        return
    found = cli.client.audit.verify(node=of_node)
    cli.out.data(
        AuditVerdict(
            found.verified, found.count, found.head, found.broken_sequence, found.broken_reason, found.checkpoint
        ),
        f"{found.count} records verified, head {found.head}, checkpoint at {found.checkpoint}"
        if found.verified
        else None,
    )
    if not found.verified:
        raise Untrusted(f"cannot trust the audit chain: {found.broken_reason}")


@commands.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@_NODE
@pass_cli
@gives(AuditExport, "audit export audit.jsonl")
def export(cli: Cli, file: Path, of_node: bool) -> None:
    """Write the chain to FILE as JSON lines, and its detached signature to FILE.sig."""
    signed = cli.client.audit.sign_export(node=of_node)
    digest = hashlib.sha256()
    try:
        with cli.out.progress("export", None) as advance, file.open("xb") as out:
            for piece in cli.client.audit.export(node=of_node, until=signed.until):
                digest.update(piece)
                advance(out.write(piece))
        if digest.hexdigest() != signed.sha256:
            raise Untrusted("cannot trust the export: it is not what the node signed; the chain changed meanwhile")
        signature = file.with_name(file.name + ".sig")
        signature.write_text(msgspec.json.format(msgspec.json.encode(signed)).decode() + "\n", encoding="utf-8")
    except FileExistsError as error:
        raise Invalid(f"cannot export to {file}: it exists") from error
    except OSError as error:
        file.unlink(missing_ok=True)
        raise Unavailable(f"cannot write the export: {error}") from error
    except BaseException:
        file.unlink(missing_ok=True)
        raise
    told = {"file": str(file), "signature": str(signature), "records": signed.until, "sha256": signed.sha256}
    cli.out.data(told)


def _verify_file(cli: Cli, file: Path, signature: Path | None, public_key: str | None) -> None:
    digest = hashlib.sha256()
    try:
        verdict = check_export(lines_of(_hashed(file, digest)))
        for _ in _hashed(file, digest := hashlib.sha256()):
            pass
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from error
    told: dict[str, Any] = {
        "verified": verdict.broken is None,
        "count": verdict.count,
        "head": verdict.head.hash,
        "broken_sequence": verdict.broken.sequence if verdict.broken else None,
        "broken_reason": verdict.broken.reason if verdict.broken else None,
        "signed_by": None,
    }
    if verdict.broken is not None:
        cli.out.data(told)
        raise Untrusted(f"cannot trust {file}: first broken record {verdict.broken.sequence}: {verdict.broken.reason}")
    if public_key is not None and signature is None:
        raise Invalid("cannot check the public key without --signature")
    if signature is not None:
        told["signed_by"] = _check_signature(read_text(str(signature), "signature"), digest.hexdigest(), public_key)
    by = f", signed by {told['signed_by']}" if told["signed_by"] else ", signature not checked"
    cli.out.data(told, f"{verdict.count} records verified, head {verdict.head.hash}{by}")


def _hashed(file: Path, digest: Any) -> Iterator[bytes]:
    with file.open("rb") as data:
        while piece := data.read(1 << 20):
            digest.update(piece)
            yield piece


def _check_signature(text: str, sha256: str, public_key: str | None) -> str:
    try:
        said = json.loads(text)
        pem = read_text(public_key, "public key") if public_key else said["public_key"]
        key = load_pem_public_key(pem.encode())
        signature = base64.b64decode(said["signature"], validate=True)
        key_id = str(said["key_id"])
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise Invalid(f"cannot read the signature file: {error}") from error
    if not isinstance(key, Ed25519PublicKey):
        raise Invalid("cannot check the signature: the public key must be Ed25519")
    try:
        key.verify(signature, SIGNED_PREFIX + sha256.encode())
    except InvalidSignature as error:
        raise Untrusted("cannot trust the file: its signature does not match") from error
    return key_id
