"""OpenID providers for tests: a real one from npm, and one of our own that lies.

Both listen on loopback in plain HTTP, which the node accepts for its own machine only.
"""

from __future__ import annotations

import base64
import hashlib
import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from joserfc import jws
from joserfc.jwk import ECKey, OKPKey, RSAKey

from tidegate.control.settings_oidc import Oidc, OidcRole
from tidegate.testing import npm

CLIENT_ID, CLIENT_SECRET = "tidegate", "provider-secret:with/odd+signs"
START_SECONDS = 30
Key = RSAKey | ECKey | OKPKey


def settings(issuer: str, folder: Path, **changes: Any) -> Oidc:
    """Who is in `fleet-ops` operates fleet `default`, who is in `fleet-admins` administers all; nobody else enters."""
    secret = folder / "client.secret"
    secret.write_text(CLIENT_SECRET + "\n")
    lines = (
        OidcRole(value="fleet-ops", role="operator", fleet="default"),
        OidcRole(value="fleet-admins", role="admin", fleet="*"),
    )
    chosen: dict[str, Any] = {
        "issuer": issuer,
        "client_id": CLIENT_ID,
        "client_secret_file": secret,
        "scopes": ("openid", "profile", "groups"),
        "label": "Sign in with the company",
        "roles": lines,
    }
    return Oidc(**(chosen | changes))


def new_key(kid: str, kind: str = "RS256") -> Key:
    """A signing key for this algorithm."""
    if kind == "RS256":
        return RSAKey.generate_key(2048, {"kid": kid, "use": "sig", "alg": kind})
    if kind == "ES256":
        return ECKey.generate_key("P-256", {"kid": kid, "use": "sig", "alg": kind})
    return OKPKey.generate_key("Ed25519", {"kid": kid, "use": "sig", "alg": kind})


@contextmanager
def real_provider(
    folder: Path, port: int, redirect_uri: str, keys: list[Key], *, groups_in_token: bool = False
) -> Iterator[str]:
    """The provider of tests/oidc with these signing keys; gives its issuer."""
    home = npm.installed(Path(__file__).parents[3] / "tests" / "oidc")
    listed = folder / "keys.json"
    listed.write_text(json.dumps({"keys": [key.as_dict(private=True) for key in keys]}))
    log = (folder / "provider.log").open("ab")
    process = subprocess.Popen(
        [npm.node(), home / "provider.mjs", str(port), redirect_uri, listed],
        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log,
        env={"PATH": "/usr/bin:/bin", "CLAIMS": "id_token" if groups_in_token else ""},
    )  # fmt: skip
    timer = threading.Timer(START_SECONDS, process.kill)
    timer.start()
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        if not line.startswith(b"ready"):
            raise npm.CannotInstall(f"the OpenID provider did not start: see {folder / 'provider.log'}")
        timer.cancel()
        yield f"http://127.0.0.1:{port}"
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
        log.close()


@dataclass
class Lies:
    """What the lying provider does; the defaults are honest."""

    keys: list[Key] = field(default_factory=list)  # published
    signs: Key | None = None
    header: dict[str, Any] = field(default_factory=dict)
    claims: dict[str, Any] = field(default_factory=dict)  # over the honest ones; None takes one away
    token: Callable[[str], str] = lambda token: token  # done to the signed token
    discovery: dict[str, Any] = field(default_factory=dict)
    userinfo: dict[str, Any] = field(default_factory=dict)
    raw: dict[str, bytes] = field(default_factory=dict)  # by path: a whole answer's body
    status: dict[str, int] = field(default_factory=dict)
    redirect: dict[str, str] = field(default_factory=dict)
    trickle: set[str] = field(default_factory=set)


class LyingProvider:
    """Use as a context manager; `lies` may be changed between sign-ons. `asked` counts requests by path."""

    def __init__(self) -> None:
        key = new_key("one")
        self.lies = Lies(keys=[key], signs=key)
        self.asked: dict[str, int] = {}
        self.challenges: dict[str, tuple[str, str]] = {}
        self.forms: list[dict[str, str]] = []
        provider = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                provider.answer(self, b"")

            def do_POST(self) -> None:
                provider.answer(self, self.rfile.read(int(self.headers.get("content-length", "0"))))

            def log_message(self, *_: object) -> None:
                """Silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self.issuer = f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> LyingProvider:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def visit(self, url: str) -> tuple[str, str]:
        """What somebody's browser does here: gives the code and the state that it comes back with."""
        asked = {name: values[0] for name, values in parse_qs(urlsplit(url).query).items()}
        code = base64.urlsafe_b64encode(hashlib.sha256(asked["state"].encode()).digest()).decode()
        self.challenges[code] = (asked["code_challenge"], asked["nonce"])
        return code, asked["state"]

    def answer(self, request: BaseHTTPRequestHandler, body: bytes) -> None:
        path = urlsplit(request.path).path
        self.asked[path] = self.asked.get(path, 0) + 1
        status = self.lies.status.get(path, 200)
        if path in self.lies.redirect:
            request.send_response(302)
            request.send_header("Location", self.lies.redirect[path])
            request.end_headers()
            return
        made = self.lies.raw.get(path)
        if made is None:
            made = json.dumps(self._honest(path, body)).encode()
        request.send_response(status)
        request.send_header("Content-Type", "application/json")
        request.end_headers()
        try:
            if path in self.lies.trickle:
                while True:
                    request.wfile.write(b" ")
                    request.wfile.flush()
                    time.sleep(0.05)
            request.wfile.write(made)
        except OSError:
            return  # the node had enough

    def _honest(self, path: str, body: bytes) -> dict[str, Any]:
        if path == "/.well-known/openid-configuration":
            return {
                "issuer": self.issuer,
                "authorization_endpoint": f"{self.issuer}/authorize",
                "token_endpoint": f"{self.issuer}/token",
                "jwks_uri": f"{self.issuer}/keys",
                "userinfo_endpoint": f"{self.issuer}/userinfo",
                "code_challenge_methods_supported": ["S256"],
            } | self.lies.discovery
        if path == "/keys":
            return {"keys": [key.as_dict(private=False) for key in self.lies.keys]}
        if path == "/userinfo":
            return {"sub": "sub-1"} | self.lies.userinfo
        form = {name: values[0] for name, values in parse_qs(body.decode()).items()}
        self.forms.append(form)
        challenge, nonce = self.challenges.pop(form["code"])
        verifier = hashlib.sha256(form["code_verifier"].encode()).digest()
        assert base64.urlsafe_b64encode(verifier).rstrip(b"=").decode() == challenge
        return {"id_token": self._token(nonce), "access_token": "access", "token_type": "Bearer"}

    def _token(self, nonce: str) -> str:
        now = int(time.time())
        claims = {
            "iss": self.issuer, "sub": "sub-1", "aud": CLIENT_ID, "exp": now + 300, "iat": now, "nonce": nonce,
            "groups": ["fleet-ops"], "preferred_username": "olga",
        } | self.lies.claims  # fmt: skip
        key = self.lies.signs
        assert key is not None
        header = {"alg": str(key.get("alg")), "kid": str(key.kid)} | self.lies.header
        payload = json.dumps({name: value for name, value in claims.items() if value is not None}).encode()
        registry = _Anything(strict_check_header=False)
        bare = type(key).import_key({name: value for name, value in key.as_dict(private=True).items() if name != "alg"})
        return self.lies.token(jws.serialize_compact(header, payload, bare, registry=registry))


class _Anything(jws.JWSRegistry):
    """Signs as it is told."""

    def get_alg(self, name: str) -> Any:
        return self.algorithms[name]
