"""What the installer fetches, and the command that an operator pastes on a device (SPEC section 3).

The command carries the hash of each file, and each is checked before anything of it is executed or trusted; the token
is read from standard input.
"""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from tidegate import agent_package
from tidegate.control.domain.access import Scope
from tidegate.control.services import trust
from tidegate.control.services.node import Node
from tidegate.control.store import fleets
from tidegate.errors import NotFound
from tidegate.ids import DEVICE_NAME, checked

SCRIPT = "install.sh"
PROGRAM = "tidegate-agent.pyz"


@dataclass(frozen=True, slots=True)
class InstallerCommand:
    """`text` is one shell command; the hashes are SHA-256 in hex of the bytes that the node serves."""

    text: str
    url: str
    installer_sha256: str
    agent_sha256: str
    server_ca_sha256: str
    root_sha256: str


def command(scope: Scope, node: Node, device: str | None = None) -> InstallerCommand:
    """The command that installs the agent and enrolls it; it asks for the token, or reads it from standard input.

    Raises:
        Invalid: `device` is no device name.
    """
    scope.require("tokens.write")
    if device is not None:
        checked(DEVICE_NAME, device, "/device")
    with node.db.read() as tx:
        root = trust.current_root(tx, scope.fleet_id)
    url = node.settings.effective_enroll_url
    hashes = {
        "--installer-sha256": sha256_of(script()),
        "--ca-sha256": hashlib.sha256(node.keyring.server_ca_pem()).hexdigest(),
        "--agent-sha256": sha256_of(program()),
        "--root-sha256": hashlib.sha256(root).hexdigest(),
    }
    check = f"{hashes['--installer-sha256']}  tidegate-install.sh"
    options = [word for pair in hashes.items() for word in pair]
    options += ["--name", device] if device else []
    if scope.fleet != "default":
        options += ["--fleet", scope.fleet]
    # Nothing is believed of what -k brings: the file's hash is checked before it runs.
    text = (
        f"curl -fsSk {shlex.quote(f'{url}/install/{SCRIPT}')} -o tidegate-install.sh"
        f" && echo {shlex.quote(check)} | sha256sum -c -"
        f" && sudo sh tidegate-install.sh --url {shlex.quote(url)} {shlex.join(options)}"
    )
    return InstallerCommand(
        text=text,
        url=url,
        installer_sha256=hashes["--installer-sha256"],
        agent_sha256=hashes["--agent-sha256"],
        server_ca_sha256=hashes["--ca-sha256"],
        root_sha256=hashes["--root-sha256"],
    )


def script() -> Path:
    """The installer, as it is served."""
    return agent_package.installer_script()


def program() -> Path:
    """The agent in one file, as it is served; made at the first call."""
    return agent_package.agent_program()


def root(node: Node, fleet: str) -> bytes:
    """The fleet's current root metadata, signed: public. Raises `NotFound`."""
    with node.db.read() as tx:
        found = fleets.by_name(tx, fleet)
        if found is None:
            raise NotFound(f"cannot find the fleet {fleet}")
        return trust.current_root(tx, found.id)


def sha256_of(path: Path) -> str:
    """Of the file as it is now; computed once for each state of it."""
    status = path.stat()
    return _sha256(path, status.st_size, status.st_mtime_ns)


@lru_cache(maxsize=8)
def _sha256(path: Path, _size: int, _mtime_ns: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
