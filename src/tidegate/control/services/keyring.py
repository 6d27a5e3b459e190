"""The node's keys, loaded from the data folder (layout in docs/design/trust.md).

Which online keys are there says what the node may sign: without `publisher.pem` it publishes only what was signed
elsewhere. Offline keys are never loaded by the running node; `offline` is for commands run by hand.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path

from cryptography import x509

from tidegate.errors import Unavailable
from tidegate.ids import FleetId
from tidegate.trust.pki.authority import (
    BACKDATE,
    SERVER_DAYS,
    Authority,
    certificate_hosts,
    create_ca,
    new_serial,
)
from tidegate.trust.signer import FileCertificateSigner, FileSigner, Signer
from tidegate.trust.tuf.durable import make_folder, write_file
from tidegate.trust.tuf.roles import OFFLINE_ROLES, ONLINE_ROLES

#: The serving certificate is made anew when less than this is left of it.
SERVER_RENEWAL = timedelta(days=60)


@dataclass(frozen=True, slots=True)
class ServingFiles:
    """What a TLS listener loads: certificate and key of the node, and the CA that signs the devices' certificates."""

    certificate: Path
    key: Path
    device_ca: Path


class Keyring:
    """Thread-safe; a key is read once."""

    def __init__(self, data_dir: Path) -> None:
        self._keys = data_dir / "keys"
        self._pki = data_dir / "pki"
        self._lock = threading.Lock()
        self._loaded: dict[Path, FileSigner] = {}
        self._authority: Authority | None = None
        self._generations: dict[FleetId, int] = {}

    # -- what services use --------------------------------------------------------------------------------------------

    def online(self, fleet: str) -> Mapping[str, Signer]:
        """The online keys of `fleet` that this node has, by role."""
        return self._present(self._keys / "online" / fleet, ONLINE_ROLES)

    def offline(self, fleet: str) -> Mapping[str, Signer]:
        """Root and targets keys where the convenience trust domain keeps them; empty once they were moved away."""
        return self._present(self._keys / "offline" / fleet, OFFLINE_ROLES)

    def where(self, fleet: str, role: str) -> Path | None:
        """The file that holds the key of `role` on this node."""
        kind = "offline" if role in OFFLINE_ROLES else "online"
        path = self._keys / kind / fleet / f"{role}.pem"
        return path if path.is_file() else None

    def authority(self) -> Authority:
        """The device CA."""
        with self._lock:
            if self._authority is None:
                self._authority = self._load_authority("device-ca")
            return self._authority

    def audit_signer(self) -> Signer:
        return self._signer(self._keys / "audit.pem")

    def device_ca_pem(self) -> bytes:
        return self._certificate("device-ca")

    def server_ca_pem(self) -> bytes:
        """The bundle that devices and operators verify the node with."""
        return self._certificate("server-ca")

    def server_certificate_pem(self) -> bytes:
        return self._certificate("server")

    def serving_files(self) -> ServingFiles:
        return ServingFiles(self._pki / "server.pem", self._pki / "server.key", self._pki / "device-ca.pem")

    def generation_seen(self, fleet_id: FleetId) -> int | None:
        """The highest generation of the fleet's metadata that this process has signed; None: it has signed nothing."""
        with self._lock:
            return self._generations.get(fleet_id)

    def note_generation(self, fleet_id: FleetId, generation: int) -> None:
        with self._lock:
            self._generations[fleet_id] = max(generation, self._generations.get(fleet_id, 0))

    # -- what setup uses ----------------------------------------------------------------------------------------------

    def create_pki(self, names: Sequence[str], at: datetime) -> None:
        """Make what is missing of device CA, server CA and serving certificate; safe to run again."""
        for name, title in (("device-ca", "Tidegate device CA"), ("server-ca", "Tidegate server CA")):
            if not (self._pki / f"{name}.pem").exists():
                # The key is written first: a crash in between leaves a key without certificate, replaced next time.
                signer = FileCertificateSigner.create(self._pki / f"{name}.key")
                self._write(self._pki / f"{name}.pem", create_ca(title, signer, new_serial(), at))
        self.renew_server_certificate(names, at)

    def create_audit_key(self) -> None:
        """Nothing when it is there."""
        if not (self._keys / "audit.pem").exists():
            FileSigner.create(self._keys / "audit.pem")

    def renew_server_certificate(self, hosts: Sequence[str], now: datetime) -> bool:
        """Make a serving certificate for `hosts`, this host's name and loopback when the present one does not do.

        Returns whether a new one was made; a running listener loads it when it next opens its files.
        """
        wanted = tuple(dict.fromkeys((*hosts, socket.gethostname().lower())))
        path = self._pki / "server.pem"
        if path.exists() and not self._server_is_stale(path.read_bytes(), wanted, now):
            return False
        authority = self._load_authority("server-ca")
        key_path = self._pki / "server.key"
        # The key stays: certificate and key then belong together at every instant, whichever of the two was read first.
        signer = FileCertificateSigner.load(key_path) if key_path.exists() else FileCertificateSigner.create(key_path)
        not_after = min(now + timedelta(days=SERVER_DAYS), authority.not_after)
        self._write(path, authority.issue_server(signer.public_key(), wanted, new_serial(), now - BACKDATE, not_after))
        return True

    def create_fleet_keys(self, fleet: str) -> Mapping[str, Signer]:
        """All keys of the convenience trust domain, those that are missing made now; offline ones in a folder apart."""
        made: dict[str, Signer] = {}
        for kind, names in (("online", ONLINE_ROLES), ("offline", OFFLINE_ROLES)):
            for role in names:
                path = self._keys / kind / fleet / f"{role}.pem"
                made[role] = self._signer(path) if path.exists() else FileSigner.create(path)
        return made

    # -- files --------------------------------------------------------------------------------------------------------

    def _server_is_stale(self, pem: bytes, hosts: Sequence[str], now: datetime) -> bool:
        left = x509.load_pem_x509_certificate(pem).not_valid_after_utc - now
        return left < SERVER_RENEWAL or not set(hosts) <= set(certificate_hosts(pem))

    def _present(self, folder: Path, names: Sequence[str]) -> Mapping[str, Signer]:
        paths = {role: folder / f"{role}.pem" for role in names}
        return {role: self._signer(path) for role, path in paths.items() if path.is_file()}

    def _signer(self, path: Path) -> FileSigner:
        with self._lock:
            if path not in self._loaded:
                self._loaded[path] = FileSigner.load(path)
            return self._loaded[path]

    def _load_authority(self, name: str) -> Authority:
        return Authority(self._certificate(name), FileCertificateSigner.load(self._pki / f"{name}.key"))

    def _certificate(self, name: str) -> bytes:
        try:
            return (self._pki / f"{name}.pem").read_bytes()
        except OSError as error:
            raise Unavailable(f"cannot read the certificate {name}.pem: {error.strerror}") from error

    def _write(self, path: Path, pem: bytes) -> None:
        try:
            make_folder(path.parent)
            write_file(path, pem, 0o600)
        except OSError as error:
            raise Unavailable(f"cannot write {path.name}: {error.strerror}") from error


def create_pki(data_dir: Path, *, names: Sequence[str], at: datetime) -> None:
    """As `Keyring.create_pki`, for setup, which has no node yet."""
    Keyring(data_dir).create_pki(names, at)


def create_audit_key(data_dir: Path) -> None:
    """As `Keyring.create_audit_key`, for setup."""
    Keyring(data_dir).create_audit_key()
