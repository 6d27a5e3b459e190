"""The node's settings: one TOML file, unknown keys refused, units in names, secrets only as file paths."""

from __future__ import annotations

import ipaddress
import json
import re
import tomllib
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Meta, Struct

from tidegate.control.settings_oidc import Oidc, mistakes
from tidegate.errors import FieldError, Invalid

SETTINGS_FILE = "tidegate.toml"
_MAX_BYTES = 1 << 20
_SECRET_MAX = 4_096
_ROLE = r"^(\*|[a-z0-9][a-z0-9._-]{0,62})$"
#: A bucket's name by the rules of S3, and a prefix that needs no quoting: no room for keys.
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[A-Za-z0-9_-][A-Za-z0-9._-]*)*/?")
_TRUST_DOMAIN = re.compile(r"[a-z0-9][a-z0-9._-]{0,254}")


def _help(text: str, **limits: Any) -> Meta:
    return Meta(description=text, **limits)


class Settings(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Every setting with its default; the descriptions are what docs/reference/settings.md shows."""

    data_dir: Annotated[
        Path, _help("Folder of database, blobs, keys and certificates; relative to the settings file.")
    ] = Path()
    database_url: Annotated[
        str, _help("`postgresql://user@host/name`; empty: SQLite in the data folder. Never with a password.")
    ] = ""
    database_password_file: Annotated[
        Path | None, _help("File whose first line is the database password; relative to the settings file.")
    ] = None
    database_connections: Annotated[
        int, _help("Connections kept to PostgreSQL; as many more are opened under load.", ge=1, le=200)
    ] = 10
    blob_url: Annotated[
        str,
        _help(
            "`s3://bucket/prefix`; empty: the folder `blobs` in the data folder. Where the store is and with which keys"
            " is said by the environment: `AWS_ENDPOINT_URL`, `AWS_REGION`, `AWS_ACCESS_KEY_ID`,"
            " `AWS_SECRET_ACCESS_KEY`."
        ),
    ] = ""
    console_bind: Annotated[
        str, _help("Where console, operator API and enrollment listen (`host:port`; port 0: chosen by the system).")
    ] = "127.0.0.1:8443"
    device_bind: Annotated[str, _help("Where the device channel listens.")] = "127.0.0.1:9443"
    metrics_bind: Annotated[str, _help("Where `/metrics` listens, in plain HTTP; empty: nowhere.")] = "127.0.0.1:9464"
    console_url: Annotated[
        str, _help("How people and new devices reach the console; empty: `https://` and `console_bind`.")
    ] = ""
    enroll_bind: Annotated[
        str,
        _help(
            "Where enrollment and the installer listen by themselves, so that new devices need not reach the console;"
            " empty: with the console."
        ),
    ] = ""
    enroll_url: Annotated[
        str, _help("How new devices reach `enroll_bind`; empty: `https://` and `enroll_bind`, or the console's.")
    ] = ""
    channel_url: Annotated[str, _help("How devices reach the device channel; empty: `https://` and `device_bind`.")] = (
        ""
    )
    trust_domain: Annotated[
        str, _help("SPIFFE trust domain in device certificates; fixed once devices are enrolled.")
    ] = "tidegate.internal"
    interval_seconds: Annotated[int, _help("Heartbeat interval given to devices.", ge=1, le=3600)] = 30
    certificate_days: Annotated[int, _help("Life of a device certificate.", ge=1, le=825)] = 90
    renewal_grace_days: Annotated[
        int, _help("How long an expired certificate that is current on record may still renew.", ge=0, le=3650)
    ] = 365
    max_held: Annotated[int, _help("Heartbeats held open at once on this node.", ge=0, le=1_000_000)] = 10_000
    upload_max_bytes: Annotated[int, _help("Largest artifact file that can be uploaded.", ge=1, le=2**50)] = 64 * 2**30
    upload_keep_hours: Annotated[int, _help("How long an upload that nobody continues is kept.", ge=1, le=24 * 365)] = (
        48
    )
    disk_high_percent: Annotated[
        int, _help("How full the disk may be for a new upload to begin; from here on people are warned.", ge=1, le=100)
    ] = 90
    disk_full_percent: Annotated[
        int, _help("How full uploads may make the disk; the rest is kept for the database.", ge=1, le=100)
    ] = 95
    four_eyes: Annotated[
        bool, _help("Approve and resume need another person than the one who created the rollout.")
    ] = False
    device_events_days: Annotated[
        int, _help("How long the history of devices is kept; the audit log is never pruned.", ge=1, le=3650)
    ] = 180
    idempotency_hours: Annotated[
        int, _help("How long the answer to a call with an Idempotency-Key is kept.", ge=24, le=24 * 90)
    ] = 48
    old_metadata_days: Annotated[
        int, _help("How long replaced repository metadata stays served; roots stay for ever.", ge=2, le=3650)
    ] = 8
    seal_key_file: Annotated[
        Path | None,
        _help("File with the key that seals secrets in the database; none: `keys/seal.key`. Elsewhere in production."),
    ] = None
    totp_required: Annotated[
        tuple[Annotated[str, Meta(pattern=_ROLE)], ...],
        _help("Roles whose password sign-in needs a second factor; `*`: everybody's.", max_length=64),
    ] = ()
    oidc: Annotated[Oidc | None, _help("Sign-on through an OpenID provider: the table `[oidc]`, see below.")] = None
    log_bundles_days: Annotated[int, _help("How long logs pulled from devices are kept.", ge=1, le=3650)] = 14
    log_bundles_max_bytes: Annotated[
        int,
        _help("Room that logs pulled from one fleet's devices take, packed; the oldest go first.", ge=2**22, le=2**40),
    ] = 256 * 2**20
    log_format: Annotated[Literal["console", "json"], _help("Log lines for people or for machines.")] = "console"
    log_level: Annotated[Literal["debug", "info", "warning", "error"], _help("The least that is logged.")] = "info"

    @property
    def effective_database_url(self) -> str:
        """With the password from its file and the default filled in; never log it."""
        if not self.database_url:
            return f"sqlite:///{self.data_dir / 'tidegate.db'}"
        from sqlalchemy import make_url  # half of the program's start, and most commands need no database

        url = make_url(self.database_url)
        if self.database_password_file is not None:
            url = url.set(password=first_line(self.database_password_file, "database_password_file"))
        return url.render_as_string(hide_password=False)

    @property
    def effective_seal_key_file(self) -> Path:
        return self.seal_key_file or self.data_dir / "keys" / "seal.key"

    @property
    def effective_console_url(self) -> str:
        return self.console_url or f"https://{self.console_bind}"

    @property
    def effective_enroll_url(self) -> str:
        return self.enroll_url or (f"https://{self.enroll_bind}" if self.enroll_bind else self.effective_console_url)

    @property
    def effective_channel_url(self) -> str:
        return self.channel_url or f"https://{self.device_bind}"


def split_bind(bind: str, name: str = "bind") -> tuple[str, int]:
    """``127.0.0.1:8443`` or ``[::1]:8443`` as host and port.

    Raises:
        Invalid: it is neither; the error names the setting `name`.
    """
    host, separator, port = bind.rpartition(":")
    if separator and host and port.isascii() and port.isdigit() and int(port) <= 65_535:
        if host.startswith("[") and host.endswith("]"):
            host = host[1:-1]
            try:
                ipaddress.IPv6Address(host)
            except ValueError as error:
                raise _wrong(name, f"is no IPv6 address: {host}") from error
            return host, int(port)
        if ":" not in host:
            return host, int(port)
    raise _wrong(name, "must be host:port, such as 127.0.0.1:8443 or [::1]:8443")


def parse(text: str, *, folder: Path) -> Settings:
    """Settings from TOML text; relative paths are taken from `folder`.

    Raises:
        Invalid: not TOML, an unknown key, a wrong type, or a value outside its limits; the error names the key.
    """
    try:
        raw = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Invalid(f"cannot read the settings as TOML: {error}") from error
    try:
        settings = msgspec.convert(raw, Settings, dec_hook=_path)
    except msgspec.ValidationError as error:
        raise Invalid(f"cannot use the settings: {error}") from error
    oidc = settings.oidc
    settings = msgspec.structs.replace(
        settings,
        data_dir=(folder / settings.data_dir).absolute(),
        database_password_file=_from(folder, settings.database_password_file),
        seal_key_file=_from(folder, settings.seal_key_file),
        oidc=None
        if oidc is None
        else msgspec.structs.replace(
            oidc, client_secret_file=_from(folder, oidc.client_secret_file), ca_file=_from(folder, oidc.ca_file)
        ),
    )
    _check(settings)
    return settings


def _from(folder: Path, path: Path | None) -> Path | None:
    return None if path is None else (folder / path).absolute()


def load(path: Path) -> Settings:
    """Settings from a file.

    Raises:
        Invalid: as `parse`, or the file cannot be read.
    """
    try:
        if path.stat().st_size > _MAX_BYTES:
            raise Invalid(f"cannot use the settings: {path} is larger than {_MAX_BYTES} bytes")
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        hint = "make a node with tidegate init, or name its settings file with --config"
        raise Invalid(f"cannot read the settings: there is no {path}; {hint}") from error
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read the settings: {error}") from error
    try:
        return parse(text, folder=path.parent.absolute())
    except Invalid as error:
        raise Invalid(f"{error.detail}, in {path}", error.errors, type=error.type) from error


def render(values: dict[str, str | int]) -> str:
    """A settings file with these keys, for `tidegate init`."""
    lines = [
        "# Settings of this node; every key and its default: docs/reference/settings.md, or `tidegate check-config`."
    ]
    # A JSON string is a TOML basic string as well.
    lines += [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    return "\n".join(lines) + "\n"


def _check(settings: Settings) -> None:
    split_bind(settings.console_bind, "console_bind")
    split_bind(settings.device_bind, "device_bind")
    for name in ("enroll_bind", "metrics_bind"):
        if bind := getattr(settings, name):
            split_bind(bind, name)
    for name in ("console_url", "enroll_url", "channel_url"):
        url = getattr(settings, name)
        if url:
            _check_url(name, url)
    if settings.enroll_url and not settings.enroll_bind:
        raise _wrong("enroll_url", "means nothing without enroll_bind; set console_url")
    if _TRUST_DOMAIN.fullmatch(settings.trust_domain) is None:
        raise _wrong("trust_domain", f"must match {_TRUST_DOMAIN.pattern}")
    if settings.blob_url and _BUCKET.fullmatch(settings.blob_url) is None:
        raise _wrong("blob_url", "must be s3://bucket or s3://bucket/prefix; keys belong into the environment")
    if settings.disk_high_percent > settings.disk_full_percent:
        raise _wrong("disk_high_percent", "must not be more than disk_full_percent")
    for pointer, rule in mistakes(settings.oidc) if settings.oidc is not None else ():
        raise _wrong(pointer, rule)
    if settings.database_url:
        _check_database_url(settings.database_url)
    elif settings.database_password_file is not None:
        raise _wrong("database_password_file", "means nothing without database_url")


def _check_url(name: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        port_ok = parts.port is None or parts.port > 0
    except ValueError:
        port_ok = False
        parts = urlsplit("")
    if not port_ok or parts.scheme != "https" or not parts.hostname or parts.path not in ("", "/") or "@" in url:
        raise _wrong(name, "must be https://host or https://host:port, nothing behind it")


def _check_database_url(text: str) -> None:
    from sqlalchemy.engine import make_url  # as above
    from sqlalchemy.exc import ArgumentError

    try:
        url = make_url(text)
    except (ArgumentError, ValueError) as error:
        raise _wrong("database_url", "must be postgresql://user@host/name") from error
    if url.get_backend_name() not in ("postgresql", "sqlite"):
        raise _wrong("database_url", "must start with postgresql:// (or be left out for SQLite)")
    if url.password is not None:
        raise _wrong("database_url", "must not carry a password; put it into database_password_file")


def first_line(path: Path, name: str) -> str:
    """The secret in a file that the setting `name` names. Raises `Invalid` when it cannot be read."""
    try:
        with path.open(encoding="utf-8") as file:
            return file.readline(_SECRET_MAX).strip()
    except (OSError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot read {name}: {error}") from error


def _wrong(name: str, rule: str) -> Invalid:
    return Invalid(f"cannot use the settings: {name} {rule}", (FieldError(f"/{name}", rule),))


def _path(kind: type[Any], value: Any) -> Any:
    if kind is Path and isinstance(value, str):
        return Path(value)
    raise ValueError(f"expected a path, got {type(value).__name__}")
