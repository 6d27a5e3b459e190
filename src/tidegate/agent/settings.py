"""What the device's owner decides: `agent.toml`, fragments in `agent.d/*.toml`, `TIDEGATE_*` variables, flags.

Later ones win; lists of an allowlist add up. Unknown keys are refused. When a file is invalid, the last good settings
(kept in the state folder) stay in force and the problem is reported: a typing mistake never takes a device away, and
never widens what it allows.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from tidegate.agent import durable
from tidegate.errors import Invalid
from tidegate.wire.config import Argv, UnitName, below, path_fault
from tidegate.wire.device import Tags

FILE_MAX_BYTES = 256 * 1024
FRAGMENTS_MAX = 64
LAST_GOOD = "settings.json"
#: Workloads of other users must reach `models/` through it; what is private in it is so by itself.
STATE_FOLDER = 0o711

EntryName = Annotated[str, Meta(pattern="^[a-z0-9][a-z0-9._-]{0,62}$")]
AbsolutePath = Annotated[str, Meta(pattern="^/[^\\x00]*$", max_length=1024)]
#: A file, or the journal of one unit.
LogTarget = Annotated[
    str, Meta(pattern=r"^(/[^\x00]*|unit:[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,254})$(?!\n)", max_length=1024)
]
Port = Annotated[int, Meta(ge=1, le=65_535)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True):
    pass


class ExecEntry(Strict, frozen=True):
    """One program a probe may run: its whole argument vector, never a shell; `user` is for an agent run by root."""

    argv: Argv
    user: Annotated[str, Meta(max_length=64)] = ""


class Allow(Strict, frozen=True):
    """The allowlists. Empty means: refused. They belong to the device's owner; no signed payload widens them.

    `path_prefixes` is what file probes may look at, `destination_prefixes` where configs may be written.
    """

    exec: Annotated[dict[EntryName, ExecEntry], Meta(max_length=256)] = {}
    destination_prefixes: Annotated[tuple[AbsolutePath, ...], Meta(max_length=256)] = ()
    path_prefixes: Annotated[tuple[AbsolutePath, ...], Meta(max_length=256)] = ()
    probe_ports: Annotated[tuple[Port, ...], Meta(max_length=256)] = ()
    units: Annotated[tuple[UnitName, ...], Meta(max_length=256)] = ()
    reload_argvs: Annotated[tuple[Argv, ...], Meta(max_length=256)] = ()
    log_sources: Annotated[dict[EntryName, LogTarget], Meta(max_length=256)] = {}
    volume_prefixes: Annotated[tuple[AbsolutePath, ...], Meta(max_length=256)] = ()
    container_devices: Annotated[tuple[AbsolutePath, ...], Meta(max_length=256)] = ()


class Settings(Strict, frozen=True):
    """`state_dir` is durable and private, `run_dir` may vanish at boot; while `inhibit_file` exists, updates wait."""

    state_dir: AbsolutePath
    run_dir: AbsolutePath
    inhibit_file: Annotated[str, Meta(pattern="^(/[^\\x00]*)?$", max_length=1024)] = ""
    declared_tags: Annotated[Tags, Meta(max_length=64)] = {}
    keep_free_bytes: Annotated[int, Meta(ge=0, le=2**50)] = 64 * 1024 * 1024
    request_timeout_seconds: Annotated[int, Meta(ge=1, le=300)] = 30
    backoff_max_seconds: Annotated[int, Meta(ge=1, le=3600)] = 300
    allow: Allow = Allow()

    @property
    def inhibit_path(self) -> Path:
        return Path(self.inhibit_file) if self.inhibit_file else Path(self.run_dir) / "inhibit"


_STATE_DIR_LINE = re.compile(rb"""^\s*state_dir\s*=\s*["'](/[^"'\\\x00\n]*)["']""", re.MULTILINE)

#: Where the agent lives is said in agent.toml, a variable or a flag: a fragment that moved it would lose the last good.
NOT_IN_FRAGMENTS = frozenset({"state_dir", "run_dir"})
FROM_ENVIRONMENT = frozenset(
    {"state_dir", "run_dir", "inhibit_file", "keep_free_bytes", "request_timeout_seconds", "backoff_max_seconds"}
)


@dataclass(frozen=True, slots=True)
class Source:
    """Where settings come from: `overrides` are flags, by key, already parsed to text."""

    file: Path
    environment: Mapping[str, str]
    overrides: Mapping[str, str]

    @property
    def fragments(self) -> Path:
        return self.file.parent / "agent.d"


@dataclass(frozen=True, slots=True)
class Loaded:
    """`problem` is empty, or says which file is wrong and which settings are in force instead."""

    settings: Settings
    problem: str
    stamp: tuple[tuple[str, int, int], ...]


def default_file(environment: Mapping[str, str], uid: int) -> Path:
    """`/etc/tidegate/agent.toml` for root, the user's configuration folder otherwise; `TIDEGATE_CONFIG` wins."""
    if named := environment.get("TIDEGATE_CONFIG"):
        return Path(named)
    if uid == 0:
        return Path("/etc/tidegate/agent.toml")
    home = Path(environment.get("XDG_CONFIG_HOME") or Path(environment.get("HOME", "/")) / ".config")
    return home / "tidegate" / "agent.toml"


def default_folders(environment: Mapping[str, str], uid: int) -> dict[str, str]:
    if uid == 0:
        return {"state_dir": "/var/lib/tidegate", "run_dir": "/run/tidegate"}
    home = environment.get("HOME", "/")
    state = environment.get("XDG_STATE_HOME") or f"{home}/.local/state"
    state_dir = f"{state}/tidegate"
    runtime = environment.get("XDG_RUNTIME_DIR")
    return {"state_dir": state_dir, "run_dir": f"{runtime}/tidegate" if runtime else f"{state_dir}/run"}


def load(source: Source, uid: int | None = None) -> Loaded:
    """Read, merge and check everything; remember it as the last good, or fall back to the last good.

    Raises:
        Invalid: variables or flags are wrong, or a file is and there are no last good settings to fall back to.
    """
    uid = os.getuid() if uid is None else uid
    on_top = _from_environment(source.environment) | {
        k: _scalar(k, v, f"flag --{k.replace('_', '-')}") for k, v in source.overrides.items()
    }
    beneath = default_folders(source.environment, uid)
    try:
        taken = stamp(source)
        from_files = _read_files(source)
        settings = _convert(beneath | from_files | on_top, f"the settings of {source.file}")
        _refuse_own_logs(settings, f"the settings of {source.file}")
    except Invalid as error:
        last_good = _last_good(Path(str((beneath | _said_state_dir(source.file) | on_top)["state_dir"])) / LAST_GOOD)
        if last_good is None:
            raise
        settings = _convert(beneath | last_good | on_top, "the last good settings")
        return Loaded(settings, f"{error.detail}; the last good settings stay in force", stamp(source))
    return Loaded(settings, _remember(settings, from_files), taken)


def changed(source: Source, loaded: Loaded) -> bool:
    """Whether a file was changed, added or removed since."""
    return stamp(source) != loaded.stamp


def _files(source: Source) -> list[Path]:
    fragments = sorted(source.fragments.glob("*.toml")) if source.fragments.is_dir() else []
    return [source.file, *fragments]


def stamp(source: Source) -> tuple[tuple[str, int, int], ...]:
    """Which files there are, how large and how old: equal stamps, equal settings."""
    found = []
    for path in _files(source):
        try:
            facts = path.stat()
        except FileNotFoundError:
            continue
        except OSError as error:
            # Reading it will say so; here it only has to be told apart from what it was and will be.
            found.append((str(path), -1, error.errno or 0))
            continue
        found.append((str(path), facts.st_mtime_ns, facts.st_size))
    return tuple(found)


def _read_files(source: Source) -> dict[str, Any]:
    first, *fragments = _files(source)
    if fragments and source.fragments.stat().st_mode & stat.S_IWOTH:
        raise Invalid(f"cannot use {source.fragments}: everybody may put files there")
    if len(fragments) > FRAGMENTS_MAX:
        raise Invalid(f"cannot use {source.fragments}: more than {FRAGMENTS_MAX} fragments")
    merged = _read(first) if os.path.lexists(first) else {}
    for path in fragments:
        found = _read(path)
        if misplaced := NOT_IN_FRAGMENTS & found.keys():
            raise Invalid(f"cannot use {path}: {sorted(misplaced)[0]} belongs in {source.file.name}, not in a fragment")
        merged = _merge(merged, found, path)
    return merged


def _read(path: Path) -> dict[str, Any]:
    """One file as plain values, checked on its own, so that a mistake names its file."""
    try:
        # Not blocking: a pipe in place of a file must not hold the agent up.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            raise Invalid(f"cannot use {path}: it is not a file")
        with os.fdopen(descriptor, "rb") as file:
            data = file.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
    if facts.st_mode & stat.S_IWOTH:
        raise Invalid(f"cannot use {path}: everybody may write to it")
    if facts.st_uid not in (0, os.geteuid()):
        raise Invalid(f"cannot use {path}: it belongs to another user than root and the agent's")
    if len(data) > FILE_MAX_BYTES:
        raise Invalid(f"cannot use {path}: larger than {FILE_MAX_BYTES} bytes")
    import msgspec.toml

    try:
        found = msgspec.toml.decode(data, type=dict[str, Any])
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise Invalid(f"cannot use {path}: {error}") from error
    _convert({"state_dir": "/", "run_dir": "/"} | found, str(path))
    return found


def _merge(base: dict[str, Any], added: dict[str, Any], path: Path) -> dict[str, Any]:
    """Scalars replace, allowlists add up; one name means one thing."""
    merged = base | added
    if "declared_tags" in base and "declared_tags" in added:
        merged["declared_tags"] = base["declared_tags"] | added["declared_tags"]
    allow = dict(base.get("allow", {}))
    for key, value in added.get("allow", {}).items():
        before = allow.get(key)
        if before is None:
            allow[key] = value
        elif isinstance(value, dict):
            if twice := before.keys() & value.keys():
                raise Invalid(f"cannot use {path}: allow.{key}.{sorted(twice)[0]} is already defined in another file")
            allow[key] = before | value
        else:
            allow[key] = [*before, *(item for item in value if item not in before)]
    if allow:
        merged["allow"] = allow
    return merged


def _convert(values: Mapping[str, Any], what: str) -> Settings:
    try:
        settings = msgspec.convert(values, type=Settings, strict=True)
    except msgspec.ValidationError as error:
        raise Invalid(f"cannot use {what}: {error}") from error
    for name, entry in settings.allow.exec.items():
        if not entry.argv[0].startswith("/"):
            raise Invalid(f"cannot use {what}: allow.exec.{name}.argv must start with an absolute path")
    for argv in settings.allow.reload_argvs:
        if not argv[0].startswith("/"):
            raise Invalid(f"cannot use {what}: each of allow.reload_argvs must start with an absolute path")
    for prefix in settings.allow.destination_prefixes:
        if rule := path_fault(prefix):
            raise Invalid(f"cannot use {what}: allow.destination_prefixes: {prefix!r} {rule}")
    return settings


def _refuse_own_logs(settings: Settings, what: str) -> None:
    """The device's key lies in the state folder, and never leaves the device, whatever the owner allows."""
    for name, target in settings.allow.log_sources.items():
        ways = (os.path.normpath, os.path.realpath) if target.startswith("/") else ()
        if any(below(way(target), way(settings.state_dir)) for way in ways):
            raise Invalid(f"cannot use {what}: allow.log_sources.{name} must not lie in {settings.state_dir}")


def _from_environment(environment: Mapping[str, str]) -> dict[str, Any]:
    """Variables of other programs of ours share the prefix, so only the known keys are looked at."""
    return {
        key: _scalar(key, environment[name], name)
        for key in sorted(FROM_ENVIRONMENT)
        if (name := f"TIDEGATE_{key.upper()}") in environment
    }


def _scalar(key: str, text: str, what: str) -> Any:
    if not key.endswith(("_bytes", "_seconds")):
        return text
    try:
        return int(text)
    except ValueError as error:
        raise Invalid(f"cannot use {what}: it must be a whole number") from error


def _said_state_dir(file: Path) -> dict[str, str]:
    """The `state_dir` line of a file that is otherwise wrong: the last good settings are found there."""
    try:
        with file.open("rb") as opened:
            found = _STATE_DIR_LINE.search(opened.read(FILE_MAX_BYTES))
    except OSError:
        return {}
    return {"state_dir": found[1].decode("utf-8", "replace")} if found else {}


def _last_good(path: Path) -> dict[str, Any] | None:
    """What `_remember` wrote; a damaged copy counts as none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, Any])
    except (OSError, msgspec.DecodeError):
        return None


def _remember(settings: Settings, from_files: dict[str, Any]) -> str:
    """Keep what the files said; gives back what to report when that cannot be kept (the settings are good anyway)."""
    path = Path(settings.state_dir) / LAST_GOOD
    data = msgspec.json.encode(from_files, order="deterministic")
    try:
        if path.exists() and path.read_bytes() == data:
            return ""
        durable.make_folder(path.parent, STATE_FOLDER)
        durable.write(path, data)
    except OSError as error:
        return f"cannot keep a copy of the settings in {path}: {error.strerror}"
    return ""
