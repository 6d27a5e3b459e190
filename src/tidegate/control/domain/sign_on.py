"""What a provider's word is worth: which claims are believed, and what an operator gets from them.

Sources: OpenID Connect Core 1.0, section 3.1.3.7; RFC 9207 for the issuer beside the code.
"""

from __future__ import annotations

import hashlib
import hmac
import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from tidegate.errors import Untrusted

#: How far the clocks of provider and node may be apart.
SKEW = timedelta(seconds=60)
#: An ID token is made for the sign-on that asks for it.
OLDEST = timedelta(minutes=10)
#: How long somebody may take at the provider.
SIGN_ON_LIFE = timedelta(minutes=15)
SUBJECT_MAX = 255
_NAME_MAX = 48
_NOT_IN_NAMES = re.compile(r"[^a-z0-9._-]+")


@dataclass(frozen=True, slots=True)
class Mapped:
    """A role in a fleet, both by name; `*`: every fleet."""

    role: str
    fleet: str


def subject(claims: Mapping[str, object], *, issuer: str, client_id: str, nonce: str, now: datetime) -> str:
    """Who the provider says it is, from the claims of an ID token whose signature was verified.

    Raises:
        Untrusted: the token is for another sign-on, application or time.
    """
    if claims.get("iss") != issuer:
        raise _untrusted("is of another issuer")
    audience = claims.get("aud")
    many = audience if isinstance(audience, list) else [audience]
    party = claims.get("azp")
    if client_id not in many or (len(many) > 1 and party is None) or (party is not None and party != client_id):
        raise _untrusted("is for another application")
    if _instant(claims, "exp") + SKEW.total_seconds() <= now.timestamp():
        raise _untrusted("has expired")
    issued = _instant(claims, "iat")
    if issued - SKEW.total_seconds() > now.timestamp():
        raise _untrusted("is from the future: compare the clocks of provider and node")
    if issued + (OLDEST + SKEW).total_seconds() < now.timestamp():
        raise _untrusted("is too old")
    if "nbf" in claims and _instant(claims, "nbf") - SKEW.total_seconds() > now.timestamp():
        raise _untrusted("is not valid yet")
    told = claims.get("nonce")
    if not isinstance(told, str) or not hmac.compare_digest(told.encode(), nonce.encode()):
        raise _untrusted("is of another sign-on")
    found = claims.get("sub")
    if not isinstance(found, str) or not 0 < len(found) <= SUBJECT_MAX or "\0" in found:
        raise _untrusted("names nobody")
    return found


def _instant(claims: Mapping[str, object], name: str) -> float:
    value = claims.get(name)
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 2**53:
        raise _untrusted(f"has no time in {name}")
    return float(value)


def _untrusted(what: str) -> Untrusted:
    return Untrusted(f"cannot sign on: the provider's token {what}", type="sign-on-refused")


def mapped(value: object, lines: Iterable[tuple[str, Mapped]]) -> tuple[Mapped, ...]:
    """What the claim's value, a text or a list of texts, gives by the lines of the mapping, in their order."""
    many = value if isinstance(value, list | tuple) else (value,)
    has = {one for one in many if isinstance(one, str)}
    return tuple(dict.fromkeys(given for wanted, given in lines if wanted in has))


def operator_names(wanted: object, issuer: str, subject_: str) -> tuple[str, str]:
    """What a new operator may be called, by preference: as the provider says, and with a mark of their own.

    A name says nothing of who somebody is: only issuer and subject do.
    """
    text = unicodedata.normalize("NFKD", wanted if isinstance(wanted, str) else "").encode("ascii", "ignore").decode()
    plain = _NOT_IN_NAMES.sub("-", text.lower().partition("@")[0]).strip("._-")[:_NAME_MAX].rstrip("._-") or "user"
    mark = hashlib.sha256(f"{issuer}\0{subject_}".encode()).hexdigest()[:8]
    return plain, f"{plain}-{mark}"
