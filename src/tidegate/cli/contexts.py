"""What `tidegate login` keeps: named contexts, each a node with its CA and a session, in a file of mode 0600."""

from __future__ import annotations

import os
from datetime import datetime, timedelta
from pathlib import Path

import msgspec
from msgspec import Struct, field

from tidegate.errors import Invalid, NotFound, Unavailable
from tidegate.trust.tuf.durable import make_folder, write_file


class Context(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """A node. `ca` is PEM text, empty for the system's CAs; `secret` is empty when nobody is signed in there."""

    url: str
    ca: str = ""
    fleet: str = ""
    operator: str = ""
    secret: str = ""
    expires_at: datetime | None = None


class Contexts(Struct, frozen=True, kw_only=True):
    """Everything kept; `current` is the one used where none is named, empty when there is none."""

    current: str = ""
    contexts: dict[str, Context] = field(default_factory=dict)

    def named(self, name: str) -> Context | None:
        """The one of this name, or the current one. Raises `NotFound` for a name that nobody gave."""
        if name and name not in self.contexts:
            known = ", ".join(sorted(self.contexts)) or "none"
            raise NotFound(f"cannot find the context {name}: there are {known}; make it with tidegate login")
        return self.contexts.get(name or self.current)

    def with_one(self, name: str, context: Context) -> Contexts:
        """With `context` as the current one."""
        return Contexts(current=name, contexts={**self.contexts, name: context})

    def without(self, name: str) -> Contexts:
        left = {known: context for known, context in self.contexts.items() if known != name}
        return Contexts(current="" if self.current == name else self.current, contexts=left)


def file() -> Path:
    base = os.environ.get("XDG_CONFIG_HOME") or str(Path.home() / ".config")
    return Path(base) / "tidegate" / "contexts.json"


def load() -> Contexts:
    """Raises `Invalid` for a file that cannot be read, that others may read, or that is damaged."""
    path = file()
    try:
        with path.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if mode & 0o077:
                raise Invalid(f"cannot use {path}: others may read it and the sessions in it; chmod 600 {path}")
            return msgspec.json.decode(opened.read(), type=Contexts)
    except FileNotFoundError:
        return Contexts()
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
    except msgspec.MsgspecError as error:
        raise Invalid(f"cannot use {path}: {error}; remove it and sign in again with tidegate login") from error


def save(kept: Contexts) -> None:
    """Raises `Unavailable` when the file cannot be written."""
    path = file()
    try:
        make_folder(path.parent)
        write_file(path, msgspec.json.format(msgspec.json.encode(kept)) + b"\n", 0o600)
    except OSError as error:
        raise Unavailable(f"cannot keep the session in {path}: {error.strerror}") from error


def in_words(until: datetime, now: datetime) -> str:
    """``in 12 hours``, ``in 3 days``, ``5 minutes ago``."""
    left = until - now
    far = abs(left)
    for unit, size in (("day", timedelta(days=1)), ("hour", timedelta(hours=1)), ("minute", timedelta(minutes=1))):
        count = far // size
        if count >= (2 if unit != "minute" else 1):
            said = f"{count} {unit}{'' if count == 1 else 's'}"
            return f"in {said}" if left > timedelta() else f"{said} ago"
    return "in less than a minute" if left > timedelta() else "a moment ago"
