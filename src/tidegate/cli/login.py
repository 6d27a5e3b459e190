"""`tidegate login`, `logout`, `whoami` and `context`: who the commands act as, and where."""

from __future__ import annotations

import hashlib
import http.client
import re
import ssl
import sys
from datetime import datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from msgspec import Struct

from tidegate.cli import contexts
from tidegate.cli.client import Cli, pass_cli, read_text
from tidegate.cli.commands import Leaf, Noun, gives
from tidegate.cli.contexts import Context
from tidegate.client.words import in_words
from tidegate.clock import SystemClock
from tidegate.errors import Invalid, NotFound, Unauthenticated, Unavailable, Untrusted
from tidegate.wire.operator.people import SessionStarted, WhoAmI

if TYPE_CHECKING:
    from tidegate.client import Client

_CA_MAX_BYTES = 64 << 10
_CERTIFICATE = re.compile(r"-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----\n?")


class SignedIn(Struct, frozen=True):
    """`ca_sha256`: of the CA's certificate that pins the node; null where the system's CAs do."""

    context: str
    url: str
    operator: str
    expires_at: datetime
    ca_sha256: str | None


class ContextInfo(Struct, frozen=True):
    """`expires_at` is null when nobody is signed in."""

    name: str
    current: bool
    url: str
    fleet: str
    operator: str
    expires_at: datetime | None


@click.command(cls=Leaf)
@click.option("--name", prompt=True, help="The operator's name.")
@click.option("--password-file", default="", help="File with the password; else it is asked for.")
@click.option("--code", default="", help="Code of the second factor; else it is asked for where there is one.")
@click.option("--fingerprint", default="", help="SHA-256 of the node's CA; no other is trusted, and nothing is asked.")
@pass_cli
@gives(SignedIn, "--url https://node.example:8443 login --name ann")
def login(cli: Cli, name: str, password_file: str, code: str, fingerprint: str) -> None:
    """Sign in to a node (--url) and keep the session for the commands after this one.

    Who signs on through an OpenID provider has no password here: an API key (--key-file) is for the command line.

    The node's CA is pinned: the one in --ca, the one with the --fingerprint, the one pinned before, or the one that
    the node shows, once you have compared its fingerprint with what `tidegate init` or the Trust Center says.
    """
    kept = contexts.load()
    known = kept.contexts.get(cli.context or kept.current)
    url = (cli.url or (known.url if known else "")).rstrip("/")
    if not url:
        raise Unauthenticated("cannot tell which node: give --url")
    if known is not None and known.url != url:
        known = next((one for one in kept.contexts.values() if one.url == url), None)
    _client(url, "")  # an address that cannot be one is refused before anything is asked
    ca = _pinned(cli, url, known, fingerprint)
    password = (
        read_text(password_file, "password").rstrip("\n")
        if password_file
        else click.prompt("Password", hide_input=True, err=True)
    )
    started = _sign_in(_client(url, ca), name, password, code)
    chosen = cli.context or _name_for(url, kept)
    fleet = cli.asked_fleet or (known.fleet if known else "")
    context = Context(
        url=url, ca=ca, fleet=fleet, operator=started.operator, secret=started.secret, expires_at=started.expires_at
    )
    contexts.save(kept.with_one(chosen, context))
    shown = SignedIn(chosen, url, started.operator, started.expires_at, _fingerprint(ca) if ca else None)
    until = contexts.in_words(started.expires_at, SystemClock().now())
    cli.out.data(shown, f"signed in as {started.operator} until {started.expires_at:%Y-%m-%d %H:%M} UTC, {until}")


def _sign_in(client: Client, name: str, password: str, code: str) -> SessionStarted:
    """A session for a name and a password, and a code where the node asks for one."""
    try:
        return client.sessions.create(name=name, password=password, code=code)
    except Unauthenticated as error:
        if code or error.type != "second-factor-required":
            raise
    return client.sessions.create(name=name, password=password, code=click.prompt("Code", err=True))


def _name_for(url: str, kept: contexts.Contexts) -> str:
    """The context of this node, else one named like it."""
    found = next((name for name, one in kept.contexts.items() if one.url == url), "")
    return found or urlsplit(url).netloc


@click.command(cls=Leaf)
@pass_cli
@gives(None, "logout")
def logout(cli: Cli) -> None:
    """End the session that `tidegate login` began; the node stays pinned."""
    kept = contexts.load()
    name = cli.context or kept.current
    context = kept.named(name)
    if context is None or not context.secret:
        cli.out.say("not signed in")
        return
    try:
        _client(context.url, context.ca, context.secret).sessions.end("current")
        cli.out.say(f"signed out of {context.url}")
    except Unauthenticated:
        cli.out.say("the session had ended already")
    bare = Context(url=context.url, ca=context.ca, fleet=context.fleet)
    contexts.save(contexts.Contexts(current=kept.current, contexts={**kept.contexts, name: bare}))


@click.command(cls=Leaf)
@pass_cli
@gives(WhoAmI, "whoami")
def whoami(cli: Cli) -> None:
    """Who these commands act as, and what they may."""
    cli.out.data(cli.client.me.get())


# -- contexts ---------------------------------------------------------------------------------------------------------


class _Known(click.ParamType[str]):
    name = "context"

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[click.shell_completion.CompletionItem]:
        return [
            click.shell_completion.CompletionItem(name, help=one.url)
            for name, one in contexts.load().contexts.items()
            if name.startswith(incomplete)
        ]


CONTEXT = _Known()


@click.group("context", cls=Noun)
def context() -> None:
    """Nodes that one has signed in to: which there are, which one is meant."""


@context.command("list")
@pass_cli
@gives(tuple[ContextInfo, ...], "context list")
def list_(cli: Cli) -> None:
    """Every context."""
    kept = contexts.load()
    found = tuple(
        ContextInfo(name, name == kept.current, one.url, one.fleet or "default", one.operator, one.expires_at)
        for name, one in sorted(kept.contexts.items())
    )
    cli.out.data(found, lambda: cli.out.table(found, ("name", "current", "url", "fleet", "operator", "expires_at")))


@context.command()
@click.argument("name", type=CONTEXT)
@pass_cli
@gives(None, "context use node.example:8443")
def use(cli: Cli, name: str) -> None:
    """Mean this one from now on."""
    kept = contexts.load()
    kept.named(name)
    contexts.save(contexts.Contexts(current=name, contexts=kept.contexts))
    cli.out.say(f"{name} is meant from now on")


@context.command()
@click.argument("name", type=CONTEXT)
@pass_cli
@gives(None, "context delete node.example:8443")
def delete(cli: Cli, name: str) -> None:
    """Forget a context and the CA pinned with it; a session that goes on there is ended first."""
    kept = contexts.load()
    found = kept.named(name)
    if found is not None and found.secret:
        try:
            _client(found.url, found.ca, found.secret).sessions.end("current")
        except Unauthenticated:
            cli.out.say("the session had ended already")
        except Unavailable as error:
            cli.out.say(f"{error.detail}; the session there goes on until it expires")
    contexts.save(kept.without(name))
    cli.out.say(f"{name} is forgotten")


# -- pinning ----------------------------------------------------------------------------------------------------------


def _client(url: str, ca: str, secret: str = "") -> Client:
    from tidegate.client import Client

    return Client(url, ca=ca, key=secret, fleet="", retries=1)


def _pinned(cli: Cli, url: str, known: Context | None, fingerprint: str) -> str:
    """PEM of the CA that this node is pinned to; empty: one of the system's."""
    if cli.ca_file:
        return read_text(cli.ca_file, "CA")
    if fingerprint:
        return _with_fingerprint(url, fingerprint)
    if known is not None:
        return known.ca
    try:
        _client(url, "").node.alive()
    except Untrusted:
        return _confirmed(cli, url)
    return ""


def _with_fingerprint(url: str, fingerprint: str) -> str:
    wanted = fingerprint.replace(":", "").strip().lower().removeprefix("sha256").lstrip()
    if re.fullmatch(r"[0-9a-f]{64}", wanted) is None:
        raise Invalid("cannot use this fingerprint: it must be a SHA-256 of 64 hexadecimal digits")
    pem = _shown(url)
    if _fingerprint(pem) != wanted:
        raise Untrusted(f"cannot trust {url}: its CA has the fingerprint {_fingerprint(pem)}, not the one given")
    return _proven(url, pem)


def _confirmed(cli: Cli, url: str) -> str:
    """The CA that the node itself shows, once a person has compared its fingerprint."""
    pem = _shown(url)
    said = f"the CA of {url} has the SHA-256 fingerprint\n  {_fingerprint(pem)}"
    if not sys.stdin.isatty():
        raise Untrusted(
            f"cannot trust {url} yet: {said}\nCompare it with what tidegate init or the Trust Center says,"
            " then give it as --fingerprint, or the CA's file as --ca"
        )
    cli.out.say(said[:1].upper() + said[1:])
    cli.out.say("Compare it with what tidegate init or the Trust Center says; whoever is in between can show another.")
    click.confirm("Trust this node from now on?", abort=True, err=True)
    return _proven(url, pem)


def _shown(url: str) -> str:
    """The CA that the node publishes, read without verifying anything: worth no more than its fingerprint."""
    parts = urlsplit(url)
    unverified = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    unverified.check_hostname = False
    unverified.verify_mode = ssl.CERT_NONE
    asked = http.client.HTTPSConnection(parts.hostname or "", parts.port or 443, context=unverified, timeout=15)
    try:
        asked.request("GET", "/install/server-ca.pem")
        answer = asked.getresponse()
        text = answer.read(_CA_MAX_BYTES).decode("ascii")
    except (http.client.HTTPException, OSError) as error:
        raise Unavailable(f"cannot reach {url}: {in_words(error)}") from error
    except UnicodeDecodeError as error:
        raise Untrusted(f"cannot trust {url}: what it shows as its CA is no certificate") from error
    finally:
        asked.close()
    if answer.status != 200 or _CERTIFICATE.match(text) is None:
        raise Untrusted(f"cannot trust {url}: it shows no CA; give the CA's file as --ca")
    return text


def _fingerprint(pem: str) -> str:
    """SHA-256 of the certificate, as the Trust Center shows it. Raises `Untrusted` for what is none."""
    try:
        first = x509.load_pem_x509_certificates(pem.encode())[0]
    except (ValueError, IndexError) as error:
        raise Untrusted("cannot trust this CA: it is not a certificate in PEM") from error
    return hashlib.sha256(first.public_bytes(Encoding.DER)).hexdigest()


def _proven(url: str, pem: str) -> str:
    """The one certificate that the fingerprint is of, after the node has proven that it is signed by it."""
    found = _CERTIFICATE.match(pem)
    if found is None:
        raise NotFound(f"cannot find a certificate in what {url} shows as its CA")
    _client(url, found[0]).node.alive()
    return found[0]


COMMANDS = {"login": login, "logout": logout, "whoami": whoami, "context": context}
