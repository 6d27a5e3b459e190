"""An OpenID provider, as this node speaks to it: discovery, keys, the code for a token, and no further trust.

Every answer has a limit of bytes and of seconds, redirects are not followed, addresses are https (plain http on this
very machine only). Thread-safe; nothing is fetched before somebody signs on.
"""

from __future__ import annotations

import base64
import hashlib
import ssl
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec
import urllib3
from joserfc import jws
from joserfc.errors import JoseError, UnsupportedAlgorithmError
from joserfc.jwk import ECKey, OKPKey, RSAKey
from urllib3.exceptions import HTTPError

from tidegate.control.settings import first_line
from tidegate.control.settings_oidc import Oidc, safe_url
from tidegate.errors import Unavailable, Untrusted

#: Signatures that are taken, and no others: `none` and what is signed with a shared secret are not among them.
ALGORITHMS = frozenset({"RS256", "ES256", "EdDSA"})
ANSWER_MAX_BYTES = 512 << 10
ANSWER_SECONDS = 15
#: Short, so that a key that the provider gave up is not believed for long, and a provider that is down is noticed here.
METADATA_SECONDS = 60
#: A key that is not known is asked for, at most this often: nobody can make the node hammer the provider.
KEYS_SECONDS = 10
_RSA_BITS = 2_048
_KEYS = 64
_KINDS: dict[str, type[RSAKey | ECKey | OKPKey]] = {"RSA": RSAKey, "EC": ECKey, "OKP": OKPKey}

T = TypeVar("T")
Key = RSAKey | ECKey | OKPKey


class Metadata(msgspec.Struct, frozen=True):
    """What of the provider's discovery document is used (OpenID Connect Discovery 1.0, section 3)."""

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str = ""
    token_endpoint_auth_methods_supported: tuple[str, ...] = ("client_secret_basic",)
    code_challenge_methods_supported: tuple[str, ...] = ()
    authorization_response_iss_parameter_supported: bool = False


class _Tokens(msgspec.Struct, frozen=True):
    id_token: str
    access_token: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The claims of an ID token whose signature was verified, and what asks for more of them."""

    claims: dict[str, Any]
    access_token: str


class _Registry(jws.JWSRegistry):
    """The library's algorithms by our own list."""

    max_header_length = 4_096

    def get_alg(self, name: str) -> Any:
        if name not in ALGORITHMS:
            raise UnsupportedAlgorithmError(f"algorithm {name[:32]!r} is not accepted")
        return self.algorithms[name]


class Provider:
    """The provider of the settings."""

    def __init__(self, oidc: Oidc) -> None:
        self.oidc = oidc
        context = ssl.create_default_context(cafile=str(oidc.ca_file) if oidc.ca_file else None)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._pool = urllib3.PoolManager(
            ssl_context=context, retries=False, maxsize=4, timeout=urllib3.Timeout(connect=5, read=10)
        )
        self._lock = threading.Lock()
        self._metadata: tuple[Metadata, float] | None = None
        self._keys: tuple[tuple[tuple[str, Key], ...], float] | None = None

    def metadata(self) -> Metadata:
        """The discovery document, fetched once a minute at most.

        Raises:
            Unavailable: the provider does not answer.
            Untrusted: it answers for another issuer, or names addresses that are not safe.
        """
        with self._lock:
            if self._metadata is not None and time.monotonic() < self._metadata[1] + METADATA_SECONDS:
                return self._metadata[0]
        address = self.oidc.issuer.rstrip("/") + "/.well-known/openid-configuration"
        found = _decoded(self._ask("GET", address), Metadata, "discovery document")
        if found.issuer != self.oidc.issuer:
            raise _refused(f"the provider calls itself {found.issuer[:128]!r}, not as the setting oidc.issuer does")
        for name in ("authorization_endpoint", "token_endpoint", "jwks_uri", "userinfo_endpoint"):
            url = getattr(found, name)
            if url and not safe_url(url, query=True):
                raise _refused(f"the provider's {name} is not https")
        with self._lock:
            self._metadata = (found, time.monotonic())
        return found

    def authorization_url(self, *, redirect_uri: str, state: str, nonce: str, verifier: str) -> str:
        """Where to send the browser. Raises as `metadata`."""
        endpoint = self.metadata().authorization_endpoint
        challenge = base64.urlsafe_b64encode(hashlib.sha256(verifier.encode()).digest()).rstrip(b"=").decode()
        asked = {
            "response_type": "code",
            "client_id": self.oidc.client_id,
            "redirect_uri": redirect_uri,
            "scope": " ".join(self.oidc.scopes),
            "state": state,
            "nonce": nonce,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
        }
        return endpoint + ("&" if "?" in endpoint else "?") + urlencode(asked)

    def redeem(self, code: str, *, verifier: str, redirect_uri: str) -> Told:
        """The verified ID token for a code.

        Raises:
            Unavailable: the provider does not answer.
            Untrusted: it does not take the code, or its token is not signed with one of its keys.
        """
        metadata = self.metadata()
        fields = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": redirect_uri,
            "code_verifier": verifier,
        }
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        secret = self._client_secret()
        if secret and "client_secret_basic" in metadata.token_endpoint_auth_methods_supported:
            pair = f"{quote(self.oidc.client_id, safe='')}:{quote(secret, safe='')}"
            headers["Authorization"] = "Basic " + base64.b64encode(pair.encode()).decode()
        else:
            fields["client_id"] = self.oidc.client_id
            if secret:
                fields["client_secret"] = secret
        raw = self._ask("POST", metadata.token_endpoint, headers, urlencode(fields).encode())
        tokens = _decoded(raw, _Tokens, "answer to the code")
        return Told(self.verified(tokens.id_token), tokens.access_token)

    def userinfo(self, access_token: str, subject: str) -> dict[str, Any]:
        """More claims of the same subject; none where the provider has no such address. Raises as `redeem`."""
        address = self.metadata().userinfo_endpoint
        if not address or not access_token.isascii() or not access_token.isprintable():
            return {}
        raw = self._ask("GET", address, {"Authorization": f"Bearer {access_token}"})
        found = _decoded(raw, dict[str, Any], "user information")
        if found.get("sub") != subject:
            raise _refused("the provider's user information is about somebody else")
        return found

    def verified(self, token: str) -> dict[str, Any]:
        """The claims of a signed token. Raises `Untrusted` for any other, `Unavailable` as `metadata`."""
        try:
            header = jws.extract_compact(token.encode()).headers()
        except (JoseError, ValueError) as error:
            raise _refused("the provider's token is none") from error
        kid = header.get("kid")
        for fresh in (False, True):
            for key in self._candidates(kid, fresh=fresh):
                payload = _payload(token, key)
                if payload is not None:
                    return _decoded(payload, dict[str, Any], "token")
        raise _refused("the provider's token is not signed with one of its keys, in a way that is accepted")

    def _candidates(self, kid: object, *, fresh: bool) -> list[Key]:
        """Known keys that may have signed; `fresh`: after asking for new ones, when none of the known had."""
        with self._lock:
            known, at = self._keys or ((), -float("inf"))
        now = time.monotonic()
        if not known or now >= at + METADATA_SECONDS or (fresh and now >= at + KEYS_SECONDS):
            known = self._fetched_keys()
            with self._lock:
                self._keys = (known, now)
        elif fresh:
            return []
        return [key for name, key in known if kid is None or name == kid]

    def _fetched_keys(self) -> tuple[tuple[str, Key], ...]:
        raw = self._ask("GET", self.metadata().jwks_uri)
        listed = _decoded(raw, dict[str, Any], "key set").get("keys")
        found = []
        for one in (listed if isinstance(listed, list) else [])[:_KEYS]:
            key = _key(one) if isinstance(one, dict) else None
            if key is not None:
                found.append((str(one.get("kid", "")), key))
        return tuple(found)

    def _client_secret(self) -> str:
        path = self.oidc.client_secret_file
        return first_line(path, "oidc.client_secret_file") if path is not None else ""

    def _ask(self, method: str, url: str, headers: Mapping[str, str] | None = None, body: bytes | None = None) -> bytes:
        """One answer, bounded. Raises `Unavailable` for none and `Untrusted` for a refusal."""
        until = time.monotonic() + ANSWER_SECONDS
        data = bytearray()
        try:
            response = self._pool.request(
                method, url, body=body, headers={"Accept": "application/json", **(headers or {})},
                redirect=False, preload_content=False,
            )  # fmt: skip
            try:
                while piece := response.read1(1 << 14):
                    data += piece
                    if len(data) > ANSWER_MAX_BYTES:
                        raise _refused(f"the provider answers with more than {ANSWER_MAX_BYTES} bytes")
                    if time.monotonic() > until:
                        raise Unavailable(f"cannot sign on: the provider took longer than {ANSWER_SECONDS} seconds")
            finally:
                response.close()
        except (HTTPError, OSError, ValueError) as error:
            raise Unavailable(
                "cannot sign on: the provider does not answer; a password of this node may open it meanwhile"
            ) from error
        if response.status >= 500:
            raise Unavailable(f"cannot sign on: the provider has trouble of its own (status {response.status})")
        if response.status != 200:
            raise _refused(f"the provider refused, with status {response.status}")
        return bytes(data)


def _decoded(raw: bytes, kind: type[T], what: str) -> T:
    try:
        return msgspec.json.decode(raw, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise _refused(f"the provider's {what} cannot be read") from error


def _key(described: dict[str, Any]) -> Key | None:
    """A key that may sign; None for one of another kind or use, or too weak: providers list what others need too."""
    kind = _KINDS.get(str(described.get("kty")))
    if kind is None or described.get("use", "sig") != "sig":
        return None
    public = {name: value for name, value in described.items() if name in ("kty", "n", "e", "crv", "x", "y")}
    try:
        key = kind.import_key(public)
        if isinstance(key, RSAKey) and key.public_key.key_size < _RSA_BITS:
            return None
    except (JoseError, ValueError, TypeError, KeyError):
        return None
    return key


def _payload(token: str, key: Key) -> bytes | None:
    """The signed bytes, when this key signed them by an algorithm that is accepted."""
    try:
        return jws.deserialize_compact(token, key, registry=_Registry(strict_check_header=False)).payload
    except (JoseError, ValueError):
        return None


def _refused(why: str) -> Untrusted:
    return Untrusted(f"cannot sign on: {why}", type="sign-on-refused")
