"""Making, hashing and comparing the secrets of people and machines."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager

import argon2
from argon2.exceptions import InvalidHashError, VerificationError, VerifyMismatchError

from tidegate.errors import Defect, Unavailable

API_KEY_PREFIX = "tg_"
SESSION_PREFIX = "tgs_"

# OWASP's first choice for Argon2id: a node may be a small machine, and generated passwords have 120 bits.
_hasher = argon2.PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)
# One hash takes 19 MiB, and who waits for a turn waits in a thread that others need: a flood of sign-ins takes neither
# the node's memory nor all of its threads.
HASHING, WAITING = 4, 12
_hashing = threading.BoundedSemaphore(HASHING)
_places = threading.BoundedSemaphore(HASHING + WAITING)
# What an unknown name is checked against, so that it takes as long as a known one.
_NOBODY = _hasher.hash(secrets.token_urlsafe(24))


def new_secret(prefix: str = "") -> str:
    """256 random bits; `prefix` lets people and scanners recognise what it opens."""
    return prefix + secrets.token_urlsafe(32)


def new_password() -> str:
    """About 120 bits that a person can type: six groups of four letters and digits without look-alikes."""
    return _typable(6)


def new_recovery_code() -> str:
    """About 80 bits, as above in four groups; never six digits, which a code by time is."""
    return _typable(4)


def _typable(groups: int) -> str:
    alphabet = "abcdefghjkmnpqrstuvwxyz23456789"
    return "-".join("".join(secrets.choice(alphabet) for _ in range(4)) for _ in range(groups))


def digest(secret: str) -> str:
    """How a random secret is stored and found again. (A password is not random: `hash_password`.)"""
    return hashlib.sha256(secret.encode("utf-8", "surrogatepass")).hexdigest()


def matches(secret: str, sha256: str) -> bool:
    """Whether the secret has this hash, in constant time."""
    return hmac.compare_digest(digest(secret), sha256)


@contextmanager
def _turn() -> Iterator[None]:
    """One of few turns at hashing. Raises `Unavailable` when too many wait for theirs."""
    if not _places.acquire(blocking=False):
        raise Unavailable("cannot check passwords for now: too many at once", retry_after_seconds=2)
    try:
        with _hashing:
            yield
    finally:
        _places.release()


def hash_password(password: str) -> str:
    with _turn():
        return _hasher.hash(password)


def password_matches(password: str, password_hash: str | None) -> bool:
    """Whether it is this password; None takes as long and never is."""
    with _turn():
        try:
            return _hasher.verify(password_hash or _NOBODY, password) and password_hash is not None
        except VerifyMismatchError:
            return False
        except (VerificationError, InvalidHashError) as error:
            raise Defect(f"cannot check a stored password hash: {error}") from error
