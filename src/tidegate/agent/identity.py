"""The device's identity: a key made on the device, never sent, and the certificate for it (SPEC section 3).

Each key lives in one file together with its certificate, so that every change is one rename:

    identity/current.pem     the key in use and its chain
    identity/pending.pem     the next key, without a chain until the node has answered
    identity/enrollment.json which fleet, which node, which CA
    identity/final.json      why this identity is over

A key is durable before anything is asked for it. A lost answer leaves `current` as it was and `pending` ready to ask
again; an answer stored in `pending` is tried before `current`, which only goes once the node has accepted the new one.
The lines above the key repeat what the certificate says, so that the idle agent need not load a certificate library.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import msgspec
from msgspec import Struct

from tidegate.agent import durable
from tidegate.errors import Invalid, Unavailable
from tidegate.ids import DEVICE_NAME, FLEET_NAME

CURRENT = "current.pem"
PENDING = "pending.pem"
ENROLLMENT = "enrollment.json"
FINAL = "final.json"
FILE_MAX_BYTES = 128 * 1024
CA_BUNDLE_MAX_BYTES = 64 * 1024

_HEADER = re.compile(
    rb"spiffe://(?P<domain>[^/\s]+)/fleet/(?P<fleet>[^/\s]+)/device/(?P<device>[^/\s]+)"
    rb" valid from (?P<start>\S+) to (?P<end>\S+)\n"
)
T = TypeVar("T")

_BEGIN_CERTIFICATE = b"-----BEGIN CERTIFICATE-----"


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a device certificate says, and the file that holds it with its key."""

    file: Path
    trust_domain: str
    fleet: str
    device: str
    not_before: datetime
    not_after: datetime

    def renew_at(self) -> datetime:
        """Two thirds of its life."""
        return self.not_before + (self.not_after - self.not_before) * 2 / 3

    def expired(self, now: datetime) -> bool:
        return now >= self.not_after


class Enrollment(Struct, frozen=True):
    """What the node said when it took the device in; `ca_bundle_pem` follows the node's bundle as it rotates."""

    device: str
    fleet: str
    channel_url: str
    interval_seconds: int
    ca_bundle_pem: str


class Final(Struct, frozen=True):
    """Why the identity is over (`device-decommissioned`, `certificate-replaced`), in the node's words."""

    kind: str
    detail: str
    at: datetime
    stop_workloads: bool = False


class Identity:
    """The identity folder of one device."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def enrollment(self) -> Enrollment | None:
        return _read_json(self.folder / ENROLLMENT, Enrollment)

    def store_enrollment(self, enrollment: Enrollment) -> None:
        _check_bundle_size(enrollment.ca_bundle_pem)
        durable.make_folder(self.folder)
        durable.write(self.folder / ENROLLMENT, msgspec.json.encode(enrollment))

    def store_ca_bundle(self, ca_bundle_pem: str) -> None:
        """Take the node's new bundle; it came over TLS verified against the old one.

        Raises:
            Invalid: it is not a list of certificates; the old bundle stands.
        """
        known = self.enrollment()
        if known is None:
            raise Invalid("cannot take a CA bundle before enrollment")
        self.store_enrollment(msgspec.structs.replace(known, ca_bundle_pem=ca_bundle_pem))

    def current(self) -> Certificate | None:
        return _certificate(self.folder / CURRENT)

    def pending(self) -> Certificate | None:
        """None also while the pending key has no certificate yet."""
        return _certificate(self.folder / PENDING)

    def to_use(self) -> Certificate | None:
        """The pending certificate comes first: the node may have retired the current one already."""
        try:
            return self.pending() or self.current()
        except Invalid:
            # Whatever happened to the next identity must not take the present one away.
            return self.current()

    def begin(self) -> str:
        """A CSR for the pending key, made (and durable) when there is none; asking again asks for the same key."""
        from tidegate.agent import keys

        path = self.folder / PENDING
        try:
            pem = _read(path)
        except Invalid:
            # Not a file that we could have written: it must not stand in the way of every renewal to come.
            pem = None
        if pem is None or not keys.usable(pem):
            durable.make_folder(self.folder)
            pem = keys.generate()
            durable.write(path, pem)
        return keys.request(pem)

    def accept(self, chain_pem: str, *, anew: bool = False) -> Certificate:
        """Store the chain that the node issued for the pending key; `anew`: by enrollment, for whatever device.

        Raises:
            Invalid: it is for another key, not a device certificate, or for another device than the current one.
        """
        from tidegate.agent import keys

        path = self.folder / PENDING
        pem = _read(path)
        if pem is None:
            raise Invalid("cannot take a certificate: no key is waiting for one")
        key = pem[pem.index(keys.BEGIN_KEY) :].partition(_BEGIN_CERTIFICATE)[0]
        facts, chain = keys.checked_chain(key, chain_pem)
        current = self.current()
        if not anew and current is not None and (current.fleet, current.device) != (facts.fleet, facts.device):
            raise Invalid(
                f"cannot take a certificate for device {facts.device} of fleet {facts.fleet}: "
                f"this is device {current.device} of fleet {current.fleet}"
            )
        data = facts.header() + key + chain
        if len(data) > FILE_MAX_BYTES:
            raise Invalid(f"cannot take the certificate: with its chain it is larger than {FILE_MAX_BYTES} bytes")
        durable.write(path, data)
        found = _certificate(path)
        assert found is not None
        return found

    def promote(self) -> None:
        """The node has accepted the pending certificate: it is the current one from now on."""
        if self.pending() is not None:
            durable.rename(self.folder / PENDING, self.folder / CURRENT)

    def discard_pending(self) -> None:
        """The node does not know the pending certificate (it was restored from a backup): stay with the current one."""
        durable.remove(self.folder / PENDING)

    def final(self) -> Final | None:
        return _read_json(self.folder / FINAL, Final)

    def note_final(self, final: Final) -> None:
        durable.make_folder(self.folder)
        durable.write(self.folder / FINAL, msgspec.json.encode(final))

    def clear_final(self) -> None:
        durable.remove(self.folder / FINAL)

    def wipe(self, final: Final) -> None:
        """Remove keys and certificates; the reason is durable first, so that an interrupted wipe is finished later.

        Raises:
            OSError: the keys are gone all the same, unless the disk cannot be written at all.
        """
        try:
            self.note_final(final)
        except OSError:
            # A full disk must not keep the keys; without them there is room for the reason.
            self.finish_wipe()
            self.note_final(final)
        self.finish_wipe()

    def finish_wipe(self) -> None:
        for name in (CURRENT, PENDING):
            durable.remove(self.folder / name)
        self.sweep()

    def sweep(self) -> None:
        """Remove what a power cut left of unfinished writes: there may be a key in it."""
        durable.sweep(self.folder)


def check_bundle(ca_bundle_pem: str) -> None:
    """Raises `Invalid` when it is too large to keep, or not a list of certificates."""
    from tidegate.agent import tls

    _check_bundle_size(ca_bundle_pem)
    tls.client_context(ca_bundle_pem, None)


def _check_bundle_size(ca_bundle_pem: str) -> None:
    if len(ca_bundle_pem) > CA_BUNDLE_MAX_BYTES:
        raise Invalid(f"cannot take the node's CA bundle: larger than {CA_BUNDLE_MAX_BYTES} bytes")


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise Unavailable(f"cannot read {path}: {error.strerror}") from error
    if len(data) > FILE_MAX_BYTES:
        raise Invalid(f"cannot use {path}: larger than {FILE_MAX_BYTES} bytes")
    return data


def _certificate(path: Path) -> Certificate | None:
    data = _read(path)
    if data is None or _BEGIN_CERTIFICATE not in data:
        return None
    found = _HEADER.match(data)
    try:
        if found is None:
            raise ValueError("its first line is missing")
        fleet, device = found["fleet"].decode("ascii"), found["device"].decode("ascii")
        if not FLEET_NAME.fullmatch(fleet) or not DEVICE_NAME.fullmatch(device):
            raise ValueError("its name is not one of a device")
        return Certificate(
            path, found["domain"].decode("ascii"), fleet, device, _time(found["start"]), _time(found["end"])
        )
    except ValueError as error:
        raise Invalid(f"cannot use {path}: {error}") from error


def _time(text: bytes) -> datetime:
    return datetime.fromisoformat(text.decode("ascii")).astimezone(UTC)


def _read_json(path: Path, kind: type[T]) -> T | None:
    data = _read(path)
    if data is None:
        return None
    try:
        return msgspec.json.decode(data, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot use {path}: {error}") from error
