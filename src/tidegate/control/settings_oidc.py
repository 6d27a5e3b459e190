"""The table `[oidc]` of the settings: whom the node lets say who somebody is, and what follows from it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import urlsplit

from msgspec import Meta, Struct

FLEET = r"^(\*|[a-z0-9][a-z0-9-]{0,62})$"
ROLE = r"^[a-z0-9][a-z0-9._-]{0,62}$"


class OidcRole(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """One line of the mapping: who has `value` in the claim has `role` in `fleet`."""

    value: Annotated[
        str, Meta(min_length=1, max_length=256, description="What the claim must be, or hold when it is a list.")
    ]
    role: Annotated[str, Meta(pattern=ROLE, description="The role given.")]
    fleet: Annotated[str, Meta(pattern=FLEET, description="The fleet it is given in; `*`: every fleet.")] = "*"


class Oidc(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Sign-on through an OpenID provider (authorization code with PKCE)."""

    issuer: Annotated[str, Meta(max_length=512, description="The provider's issuer, exactly as it names itself.")]
    client_id: Annotated[str, Meta(min_length=1, max_length=256, description="This node, as the provider knows it.")]
    client_secret_file: Annotated[
        Path | None,
        Meta(description="File whose first line is the client secret; none: a public client, with PKCE alone."),
    ] = None
    ca_file: Annotated[
        Path | None, Meta(description="PEM file with the CA of the provider's certificate; none: the system's CAs.")
    ] = None
    scopes: Annotated[
        tuple[Annotated[str, Meta(pattern=r"^[!#-\[\]-~]{1,128}$")], ...],
        Meta(max_length=32, description="Asked for; `openid` is always among them."),
    ] = ("openid", "profile")
    label: Annotated[str, Meta(min_length=1, max_length=64, description="On the button of the sign-in page.")] = (
        "Single sign-on"
    )
    name_claim: Annotated[
        str, Meta(min_length=1, max_length=128, description="The claim that a new operator's name is made from.")
    ] = "preferred_username"
    claim: Annotated[
        str, Meta(min_length=1, max_length=128, description="The claim that roles are mapped from, text or a list.")
    ] = "groups"
    roles: Annotated[
        tuple[OidcRole, ...], Meta(max_length=1_000, description="`[[oidc.roles]]` with `value`, `role` and `fleet`.")
    ] = ()
    unmapped: Annotated[
        Literal["refuse", "viewer"],
        Meta(description="Whom no line of `roles` fits: refused, or `viewer` of every fleet."),
    ] = "refuse"
    grants_days: Annotated[
        Annotated[int, Meta(ge=1, le=3_650)] | Literal["never"],
        Meta(
            description="Days (1 to 3650) without sign-on after which roles from it and API keys of theirs do nothing."
        ),
    ] = 30
    local_sign_in: Annotated[
        Literal["everybody", "admins"],
        Meta(description="Who may still sign in with a password; `admins`: those of every fleet, to break glass."),
    ] = "everybody"


def safe_url(url: str, *, query: bool = False) -> bool:
    """Whether a provider may be spoken to at `url`: https, or plain http to this very machine."""
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        return False
    if not port_ok or not parts.hostname or "@" in parts.netloc or parts.fragment or (parts.query and not query):
        return False
    if not url.isascii() or not url.isprintable() or " " in url or "\\" in url:
        return False
    return parts.scheme == "https" or (parts.scheme == "http" and _loopback(parts.hostname))


def _loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def mistakes(oidc: Oidc) -> Iterator[tuple[str, str]]:
    """Pointer below the settings and broken rule, for what types do not say."""
    if not safe_url(oidc.issuer):
        yield "oidc/issuer", "must be https://host…, without query (http only for this machine itself)"
    if "openid" not in oidc.scopes:
        yield "oidc/scopes", "must have openid among them"
    if oidc.unmapped == "refuse" and not oidc.roles:
        yield "oidc/roles", 'must map something while unmapped is "refuse": nobody could sign on'
