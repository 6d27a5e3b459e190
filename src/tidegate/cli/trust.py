"""`tidegate trust`: the trust domain's state, its root, and checking it as a device would."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

import click

from tidegate.cli import publisher
from tidegate.cli.answers import FileWritten, Renewed, TrustVerified
from tidegate.cli.artifact import send_signed
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.errors import Invalid, NotFound, Unavailable
from tidegate.trust.tuf.client import Client, NotServed
from tidegate.trust.tuf.durable import write_file
from tidegate.trust.tuf.target import Policy
from tidegate.wire.operator.trust import TrustDomain


@click.group("trust", cls=Noun)
def commands() -> None:
    """The fleet's trust domain."""


@commands.command()
@pass_cli
@gives(TrustDomain, "trust status")
def status(cli: Cli) -> None:
    """Keys, versions and expiries, and what should be mended."""
    answer = cli.client.trust.get()

    def human() -> None:
        cli.out.fields(
            {name: getattr(answer, name) for name in ("fleet", "root_version", "root_sha256", "anchor_sha256")}
        )
        cli.out.table(answer.roles, ("role", "count", "version", "expires_at", "threshold", "location", "key_ids"))
        cli.out.table(answer.certificates, ("use", "subject", "not_after", "sha256"))
        for warning in answer.warnings:
            cli.out.say(f"warning: {warning.text}")

    cli.out.data(answer, human)


@commands.command("export-root")
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@pass_cli
@gives(FileWritten, "trust export-root root.json")
def export_root(cli: Cli, file: Path) -> None:
    """Write the current root to FILE, to be pinned into images, and show its SHA-256."""
    data = cli.client.trust.root().read()
    try:
        write_file(file, data, 0o644)
    except OSError as error:
        raise Unavailable(f"cannot write {file}: {error.strerror}") from error
    sha256 = hashlib.sha256(data).hexdigest()
    cli.out.data({"file": str(file), "sha256": sha256}, f"{sha256}  {file}")


@commands.command()
@click.option("--root", required=True, type=click.Path(dir_okay=False, path_type=Path), help="The root that is pinned.")
@click.argument("targets", nargs=-1)
@pass_cli
@gives(TrustVerified, "trust verify --root root.json default/detector/1.4.0/descriptor.json")
def verify(cli: Cli, root: Path, targets: tuple[str, ...]) -> None:
    """Check the metadata that the node serves, and any TARGETS (fleet/name/version/file), as a device would."""

    def fetch(path: str, max_bytes: int) -> bytes:
        try:
            return cli.client.trust.metadata(path.removeprefix("metadata/")).begin(max_bytes + 1)
        except NotFound as error:
            raise NotServed(error.detail) from error

    with tempfile.TemporaryDirectory() as folder:
        client = Client(Path(folder) / "metadata", fetch, Policy(cli.fleet))
        try:
            client.anchor(root.read_bytes())
        except OSError as error:
            raise Invalid(f"cannot read {root}: {error.strerror}") from error
        client.refresh()
        found = [client.find(path) for path in targets]
        seen = client.timestamp_seen()
        answer = {
            "verified": True,
            "root_version": client.root_version(),
            "signed_at": seen.isoformat() if seen else None,
            "targets": [{"path": one.path, "length": one.length, "sha256": one.sha256} for one in found],
        }

    def human() -> None:
        cli.out.say(f"verified: root version {answer['root_version']}, signed at {answer['signed_at']}")
        if found:
            cli.out.table(
                [{"path": one.path, "length": one.length, "sha256": one.sha256} for one in found],
                ("path", "length", "sha256"),
            )

    cli.out.data(answer, human)


@commands.command()
@click.option("--sign", required=True, type=click.Path(dir_okay=False, path_type=Path), help="Publisher key (PEM).")
@click.option("--root", type=click.Path(dir_okay=False, path_type=Path), help="Trusted root, needed the first time.")
@pass_cli
@gives(Renewed, "trust renew --sign publisher.pem")
def renew(cli: Cli, sign: Path, root: Path | None) -> None:
    """Sign publisher and bins again where the key is: before they expire, and after a node was restored."""
    key, view = publisher.load_key(sign), publisher.open_view(cli, root)
    upload = send_signed(cli, publisher.sign_renewal(view, key))
    cli.client.trust.renew(signed=upload)
    cli.out.data({"renewed": True}, "signed again")
