"""Signing where the publisher key is: nothing but signed metadata leaves this machine."""

from __future__ import annotations

import json
import os
from pathlib import Path

from tidegate.cli.client import Cli
from tidegate.clock import SystemClock
from tidegate.errors import Invalid, NotFound
from tidegate.trust.signer import FileSigner
from tidegate.trust.tuf import repository, roles
from tidegate.trust.tuf.client import NotServed
from tidegate.trust.tuf.publisher import PublisherView
from tidegate.trust.tuf.repository import Change
from tidegate.trust.tuf.roles import PUBLISHER
from tidegate.trust.tuf.target import Policy

PASSWORD_VARIABLE = "TIDEGATE_PUBLISHER_PASSWORD_FILE"  # noqa: S105 - the name of a variable that names a file


def state_folder(fleet: str) -> Path:
    base = os.environ.get("XDG_STATE_HOME") or str(Path.home() / ".local" / "state")
    return Path(base) / "tidegate" / "publisher" / fleet


def load_key(path: Path) -> FileSigner:
    """The publisher key; an encrypted one is opened with the password in the file that the variable names."""
    password = os.environ.get(PASSWORD_VARIABLE)
    try:
        secret = Path(password).read_bytes().rstrip(b"\n") if password else None
    except OSError as error:
        raise Invalid(f"cannot read the password of the key: {error.strerror}") from error
    return FileSigner.load(path, secret)


def open_view(cli: Cli, root: Path | None) -> PublisherView:
    """The fleet's metadata as this machine has verified them; the first root must be given, later ones follow."""

    def fetch(path: str, max_bytes: int) -> bytes:
        name = path.removeprefix("metadata/")
        try:
            return cli.client.trust.metadata(name).begin(max_bytes + 1)
        except NotFound as error:
            raise NotServed(error.detail) from error

    view = PublisherView(state_folder(cli.fleet), fetch, Policy(cli.fleet))
    if not view.has_anchor():
        if root is None:
            raise Invalid(
                "cannot verify the node's metadata: give the trusted root once with --root"
                " (tidegate trust export-root, compared over another way)"
            )
        try:
            view.anchor(root.read_bytes())
        except OSError as error:
            raise Invalid(f"cannot read {root}: {error.strerror}") from error
    return view


def sign_change(view: PublisherView, key: FileSigner, change: Change) -> bytes:
    """What the node needs to carry out `change`: documents by role, as JSON."""
    rows = view.rows(change.paths)
    if repository.must_regrow(rows, change):
        rows = view.rows()
    return _documents(repository.prepare(rows, change, key, SystemClock().now()))


def sign_renewal(view: PublisherView, key: FileSigner) -> bytes:
    """Publisher and bins again, unchanged, with a new expiry."""
    rows = view.rows()
    return _documents(
        repository.renew_publisher(rows, [PUBLISHER, *repository.all_bins(rows)], key, SystemClock().now())
    )


def _documents(made: dict[str, roles.Row]) -> bytes:
    return json.dumps({name: row.data.decode() for name, row in made.items()}).encode()
