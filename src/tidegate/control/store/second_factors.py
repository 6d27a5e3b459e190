"""Second factors, recovery codes and begun sign-ins as rows."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

import sqlalchemy as sa
from sqlalchemy import Connection

from tidegate.control.domain.second_factor import BegunSignIn, SecondFactor
from tidegate.control.store import engine
from tidegate.control.store.schema import begun_sign_ins, operator_totp, operators, recovery_codes
from tidegate.ids import OperatorId


def find(tx: Connection, operator_id: OperatorId, *, lock: bool = False) -> SecondFactor | None:
    """The operator's second factor, confirmed or not."""
    statement = sa.select(operator_totp).where(operator_totp.c.operator_id == operator_id)
    row = tx.execute(engine.for_update(statement) if lock else statement).one_or_none()
    if row is None:
        return None
    return SecondFactor(
        operator_id=OperatorId(row.operator_id),
        sealed_secret=bytes(row.sealed_secret),
        created_at=row.created_at,
        confirmed_at=row.confirmed_at,
        last_step=row.last_step,
    )


def having(tx: Connection, ids: Iterable[OperatorId]) -> set[OperatorId]:
    """Which of these operators have a confirmed second factor."""
    chosen = sa.and_(operator_totp.c.operator_id.in_(list(ids)), operator_totp.c.confirmed_at.is_not(None))
    return {OperatorId(found) for found in tx.scalars(sa.select(operator_totp.c.operator_id).where(chosen))}


def begin(tx: Connection, operator_id: OperatorId, sealed_secret: bytes, at: datetime) -> None:
    """Replace whatever was there by a factor that is not confirmed yet."""
    delete(tx, operator_id)
    tx.execute(
        sa.insert(operator_totp).values(
            operator_id=operator_id, sealed_secret=sealed_secret, created_at=at, last_step=0
        )
    )


def confirm(tx: Connection, operator_id: OperatorId, at: datetime) -> None:
    tx.execute(sa.update(operator_totp).where(operator_totp.c.operator_id == operator_id).values(confirmed_at=at))


def took(tx: Connection, operator_id: OperatorId, step: int) -> None:
    """A code of this step was taken; no code of it or before is taken again."""
    tx.execute(sa.update(operator_totp).where(operator_totp.c.operator_id == operator_id).values(last_step=step))


def delete(tx: Connection, operator_id: OperatorId) -> bool:
    """Forget the factor and its recovery codes; gives whether there was a confirmed one."""
    tx.execute(sa.delete(recovery_codes).where(recovery_codes.c.operator_id == operator_id))
    confirmed = sa.and_(operator_totp.c.operator_id == operator_id, operator_totp.c.confirmed_at.is_not(None))
    counted = tx.execute(sa.delete(operator_totp).where(confirmed)).rowcount > 0
    tx.execute(sa.delete(operator_totp).where(operator_totp.c.operator_id == operator_id))
    return counted


# -- recovery codes ---------------------------------------------------------------------------------------------------


def replace_recovery_codes(tx: Connection, operator_id: OperatorId, hashes: Iterable[str]) -> None:
    tx.execute(sa.delete(recovery_codes).where(recovery_codes.c.operator_id == operator_id))
    tx.execute(sa.insert(recovery_codes), [{"operator_id": operator_id, "code_sha256": one} for one in hashes])


def use_recovery_code(tx: Connection, operator_id: OperatorId, code_sha256: str, at: datetime) -> bool:
    """Whether this unused code was the operator's; it never is again."""
    statement = (
        sa.update(recovery_codes)
        .where(
            recovery_codes.c.operator_id == operator_id,
            recovery_codes.c.code_sha256 == code_sha256,
            recovery_codes.c.used_at.is_(None),
        )
        .values(used_at=at)
    )
    return tx.execute(statement).rowcount == 1


def recovery_codes_left(tx: Connection, operator_id: OperatorId) -> int:
    unused = sa.and_(recovery_codes.c.operator_id == operator_id, recovery_codes.c.used_at.is_(None))
    return int(tx.execute(sa.select(sa.func.count()).select_from(recovery_codes).where(unused)).scalar_one())


# -- begun sign-ins ---------------------------------------------------------------------------------------------------


def insert_begun(tx: Connection, secret_sha256: str, begun: BegunSignIn) -> None:
    """One begun sign-in an operator by known browsers, and one by others: a newer one ends the older."""
    alike = sa.and_(begun_sign_ins.c.operator_id == begun.operator_id, begun_sign_ins.c.known == begun.known)
    tx.execute(sa.delete(begun_sign_ins).where(alike))
    tx.execute(
        sa.insert(begun_sign_ins).values(
            secret_sha256=secret_sha256,
            operator_id=begun.operator_id,
            password_sha256=begun.password_sha256,
            expires_at=begun.expires_at,
            known=begun.known,
        )
    )


def begun(tx: Connection, secret_sha256: str) -> tuple[BegunSignIn, str] | None:
    """The begun sign-in with this secret, and its operator's name."""
    row = tx.execute(
        sa.select(begun_sign_ins, operators.c.name)
        .join(operators, operators.c.id == begun_sign_ins.c.operator_id)
        .where(begun_sign_ins.c.secret_sha256 == secret_sha256)
    ).one_or_none()
    if row is None:
        return None
    return BegunSignIn(OperatorId(row.operator_id), row.password_sha256, row.expires_at, row.known), row.name


def delete_begun(tx: Connection, operator_id: OperatorId) -> None:
    tx.execute(sa.delete(begun_sign_ins).where(begun_sign_ins.c.operator_id == operator_id))


def prune_begun(tx: Connection, now: datetime) -> int:
    return tx.execute(sa.delete(begun_sign_ins).where(begun_sign_ins.c.expires_at <= now)).rowcount
