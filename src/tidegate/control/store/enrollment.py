"""Enrollment tokens and device certificates: what is written down before and after a signature."""

from __future__ import annotations

import json
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.devices import DeviceState
from tidegate.control.domain.enrollment import Certificate, CertificateState, Holder, Token
from tidegate.control.store import engine
from tidegate.control.store.schema import ACTIVE, devices, enrollment_tokens, fleets
from tidegate.control.store.schema import device_certificates as certificates
from tidegate.ids import DeviceId, FleetId, TokenId

# -- tokens -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TokenRow:
    """A token with what only lists and enrollment look at."""

    token: Token
    fleet_id: FleetId
    tags: dict[str, str]
    groups: tuple[str, ...]
    created_at: datetime
    created_by: str


def insert_token(tx: Connection, **values: Any) -> TokenId:
    """`tags` and `groups` as they are; the rest as the columns are called."""
    values["tags"] = json.dumps(values["tags"])
    values["groups"] = json.dumps(values["groups"])
    inserted = enrollment_tokens.insert().values(**values).returning(enrollment_tokens.c.id)
    return TokenId(int(tx.execute(inserted).scalar_one()))


def insert_tokens(tx: Connection, rows: Sequence[dict[str, Any]]) -> None:
    """Many at once, each as for `insert_token`."""
    if rows:
        texts = [{**row, "tags": json.dumps(row["tags"]), "groups": json.dumps(row["groups"])} for row in rows]
        tx.execute(enrollment_tokens.insert(), texts)


def lock_token(tx: Connection, secret_sha256: str) -> TokenRow | None:
    """The token with that secret, locked until the commit: its uses are spent one at a time."""
    row = tx.execute(
        engine.for_update(sa.select(enrollment_tokens).where(enrollment_tokens.c.secret_sha256 == secret_sha256))
    ).first()
    return None if row is None else _token(row)


def token_by_id(tx: Connection, fleet_id: FleetId, token_id: TokenId, *, lock: bool = True) -> TokenRow | None:
    query = sa.select(enrollment_tokens).where(
        enrollment_tokens.c.id == token_id, enrollment_tokens.c.fleet_id == fleet_id
    )
    row = tx.execute(engine.for_update(query) if lock else query).first()
    return None if row is None else _token(row)


def enrolled_with(tx: Connection, token_id: TokenId) -> tuple[str, ...]:
    """Names of the devices that have a signed certificate by that token, in the order of enrollment."""
    query = (
        sa.select(devices.c.name)
        .join(certificates, certificates.c.device_id == devices.c.id)
        .where(certificates.c.token_id == token_id, certificates.c.fingerprint.is_not(None))
        .order_by(certificates.c.id)
        .limit(100)
    )
    return tuple(dict.fromkeys(tx.execute(query).scalars()))


def tokens(
    tx: Connection, fleet_id: FleetId, *, limit: int, offset: int, before: TokenId | None, live_at: datetime | None
) -> list[TokenRow]:
    """Newest first; `live_at`: only those that could still be used then; `before`: older than that one."""
    query = _of_fleet(sa.select(enrollment_tokens), fleet_id, live_at).order_by(enrollment_tokens.c.id.desc())
    if before is not None:
        query = query.where(enrollment_tokens.c.id < before)
    return [_token(row) for row in tx.execute(query.limit(limit).offset(offset))]


def count_tokens(tx: Connection, fleet_id: FleetId, live_at: datetime | None) -> int:
    query = _of_fleet(sa.select(sa.func.count()).select_from(enrollment_tokens), fleet_id, live_at)
    return int(tx.execute(query).scalar_one())


def _of_fleet(query: sa.Select[Any], fleet_id: FleetId, live_at: datetime | None) -> sa.Select[Any]:
    query = query.where(enrollment_tokens.c.fleet_id == fleet_id)
    if live_at is None:
        return query
    return query.where(
        enrollment_tokens.c.revoked_at.is_(None),
        enrollment_tokens.c.expires_at > live_at,
        enrollment_tokens.c.uses_spent < enrollment_tokens.c.uses_allowed,
    )


def spend_use(tx: Connection, token_id: TokenId) -> None:
    spent = enrollment_tokens.c.uses_spent + 1
    tx.execute(enrollment_tokens.update().where(enrollment_tokens.c.id == token_id).values(uses_spent=spent))


def revoke_token(tx: Connection, token_id: TokenId, at: datetime) -> None:
    tx.execute(enrollment_tokens.update().where(enrollment_tokens.c.id == token_id).values(revoked_at=at))


def _token(row: sa.Row[Any]) -> TokenRow:
    token = Token(
        id=TokenId(row.id),
        device_name=row.device_name,
        may_replace=row.may_replace,
        uses_allowed=row.uses_allowed,
        uses_spent=row.uses_spent,
        expires_at=row.expires_at,
        revoked_at=row.revoked_at,
    )
    return TokenRow(
        token,
        FleetId(row.fleet_id),
        json.loads(row.tags),
        tuple(json.loads(row.groups)),
        row.created_at,
        row.created_by,
    )


# -- certificates -----------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Issued:
    """A certificate on record with what it takes to sign or hand it out again."""

    certificate: Certificate
    fingerprint: str | None
    serial: str
    pem: str


def intend(
    tx: Connection,
    device_id: DeviceId,
    *,
    public_key_sha256: str,
    serial: int,
    not_before: datetime,
    not_after: datetime,
    now: datetime,
    token_id: TokenId | None,
) -> int:
    """Write down a certificate that is about to be signed; gives its number."""
    values = {
        "device_id": device_id,
        "state": "intended",
        "public_key_sha256": public_key_sha256,
        "serial": f"{serial:x}",
        "not_before": not_before,
        "not_after": not_after,
        "issued_at": now,
        "token_id": token_id,
    }
    return int(tx.execute(certificates.insert().values(values).returning(certificates.c.id)).scalar_one())


def issued(tx: Connection, certificate_id: int) -> Issued | None:
    """One certificate, locked until the commit."""
    row = tx.execute(engine.for_update(sa.select(certificates).where(certificates.c.id == certificate_id))).first()
    return None if row is None else _issued(row)


def of_device(tx: Connection, device_id: DeviceId, *, lock: bool = True) -> list[Issued]:
    """Every certificate of a device, oldest first; locked until the commit unless only looked at."""
    query = sa.select(certificates).where(certificates.c.device_id == device_id).order_by(certificates.c.id)
    return [_issued(row) for row in tx.execute(engine.for_update(query) if lock else query)]


def of_key(tx: Connection, public_key_sha256: str) -> list[tuple[Certificate, Holder]]:
    """Every certificate of that key with its device, oldest first."""
    query = (
        sa.select(certificates, devices.c.name, devices.c.state.label("device_state"))
        .join(devices, devices.c.id == certificates.c.device_id)
        .where(certificates.c.public_key_sha256 == public_key_sha256)
        .order_by(certificates.c.id)
    )
    return [
        (
            _issued(row).certificate,
            Holder(DeviceId(row.device_id), row.name, row.device_state, row.fingerprint is not None),
        )
        for row in tx.execute(query)
    ]


def holder(tx: Connection, fleet_id: FleetId, name: str) -> Holder | None:
    """The living device of that name, locked until the commit."""
    query = sa.select(devices.c.id, devices.c.name, devices.c.state).where(
        devices.c.fleet_id == fleet_id, devices.c.name == name, devices.c.state == ACTIVE
    )
    row = tx.execute(engine.for_update(query)).first()
    if row is None:
        return None
    signed = sa.select(certificates.c.id).where(
        certificates.c.device_id == row.id, certificates.c.fingerprint.is_not(None)
    )
    return Holder(DeviceId(row.id), row.name, row.state, tx.execute(signed.limit(1)).first() is not None)


def signed(tx: Connection, certificate_id: int, *, state: CertificateState, fingerprint: str, pem: str) -> None:
    """Enter the signed certificate; the device's other one in `state` must have been retired before."""
    values = {"state": state, "fingerprint": fingerprint, "pem": pem}
    tx.execute(certificates.update().where(certificates.c.id == certificate_id).values(**values))


def retire(tx: Connection, device_id: DeviceId, *, keep: Collection[int] = ()) -> None:
    """Retire every certificate of the device except `keep`."""
    tx.execute(
        certificates.update()
        .where(
            certificates.c.device_id == device_id,
            certificates.c.state != "retired",
            certificates.c.id.not_in(list(keep)),
        )
        .values(state="retired")
    )


def retire_these(tx: Connection, ids: Sequence[int]) -> None:
    tx.execute(certificates.update().where(certificates.c.id.in_(list(ids))).values(state="retired"))


def make_current(tx: Connection, certificate_id: int) -> None:
    tx.execute(certificates.update().where(certificates.c.id == certificate_id).values(state="current"))


def _issued(row: sa.Row[Any]) -> Issued:
    certificate = Certificate(
        id=int(row.id),
        device_id=DeviceId(row.device_id),
        state=row.state,
        public_key_sha256=row.public_key_sha256,
        not_before=row.not_before,
        not_after=row.not_after,
        issued_at=row.issued_at,
        token_id=None if row.token_id is None else TokenId(row.token_id),
    )
    return Issued(certificate, row.fingerprint, row.serial, row.pem)


# -- what the device channel keeps in memory --------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Identity:
    """A signed certificate and its device, as the channel looks at every request."""

    fingerprint: str
    certificate: Certificate
    device_name: str
    device_state: DeviceState
    stop_workloads: bool
    fleet_id: FleetId
    fleet: str
    installation: str | None
    report_sequence: int


def _identities() -> sa.Select[Any]:
    return (
        sa.select(
            certificates,
            devices.c.name,
            devices.c.state.label("device_state"),
            devices.c.stop_workloads,
            devices.c.fleet_id,
            devices.c.installation,
            devices.c.report_sequence,
            fleets.c.name.label("fleet"),
        )
        .join(devices, devices.c.id == certificates.c.device_id)
        .join(fleets, fleets.c.id == devices.c.fleet_id)
        .where(certificates.c.fingerprint.is_not(None))
    )


def live_identities(tx: Connection, fleet_id: FleetId) -> list[Identity]:
    """Current and pending certificates of the fleet's living devices."""
    query = _identities().where(
        devices.c.fleet_id == fleet_id,
        devices.c.state == ACTIVE,
        certificates.c.state.in_(("current", "pending")),
    )
    return [_identity(row) for row in tx.execute(query)]


def identities_since(tx: Connection, fleet_id: FleetId, generation: int) -> list[Identity]:
    """Every signed certificate of the devices whose identity or hold changed after `generation`, retired ones too."""
    query = _identities().where(devices.c.fleet_id == fleet_id, devices.c.generation > generation)
    return [_identity(row) for row in tx.execute(query)]


def identity(tx: Connection, fingerprint: str) -> Identity | None:
    row = tx.execute(_identities().where(certificates.c.fingerprint == fingerprint)).first()
    return None if row is None else _identity(row)


def _identity(row: sa.Row[Any]) -> Identity:
    return Identity(
        fingerprint=row.fingerprint,
        certificate=_issued(row).certificate,
        device_name=row.name,
        device_state=row.device_state,
        stop_workloads=row.stop_workloads,
        fleet_id=FleetId(row.fleet_id),
        fleet=row.fleet,
        installation=row.installation,
        report_sequence=int(row.report_sequence),
    )
