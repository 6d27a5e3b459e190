"""One request of one signed-in person, and what a page answers with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeVar

import msgspec
from starlette.datastructures import FormData, QueryParams
from starlette.responses import Response

from tidegate.control import problems
from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.control.services.sessions import Session
from tidegate.errors import FieldError, Invalid, NotFound, TidegateError

T = TypeVar("T")

FIELD_MAX = 16_384
FORM_MAX_BYTES = 1 << 20


@dataclass(frozen=True, slots=True)
class Visit:
    """`scope` has the permission that the page declares. `theme` is "", "light" or "dark"."""

    node: Node
    scope: Scope
    session: Session
    csrf: str
    fleets: tuple[str, ...]
    theme: str
    path: str
    params: Mapping[str, str]
    query: QueryParams
    form: FormData
    now: datetime

    def ask(self, name: str, default: str = "") -> str:
        """A value of the query, shortened to what any field may hold."""
        return self.query.get(name, default)[:FIELD_MAX]

    def text(self, name: str, default: str = "") -> str:
        """A field of the form, without the blanks around it.

        Raises:
            Invalid: it is a file, or longer than any field may be.
        """
        return self.secret(name, default).strip().replace("\r\n", "\n")

    def secret(self, name: str, default: str = "") -> str:
        """As `text`, but as it was typed: blanks are part of a password, here as on the sign-in page."""
        value = self.form.get(name, default)
        if not isinstance(value, str) or len(value) > FIELD_MAX:
            raise wrong(name, f"must be text of at most {FIELD_MAX:,} characters")
        return value

    def texts(self, name: str) -> list[str]:
        """Every value of a field that may be given several times. Raises `Invalid` as `text` does."""
        values = self.form.getlist(name)
        if any(not isinstance(value, str) or len(value) > FIELD_MAX for value in values):
            raise wrong(name, f"must be text of at most {FIELD_MAX:,} characters")
        return [value.strip() for value in values if isinstance(value, str)]

    def ticked(self, name: str) -> bool:
        return bool(self.form.get(name))

    def integer(self, name: str) -> int:
        """A part of the path as a number; what is no number is not found."""
        value = self.params[name]
        if not (value.isascii() and value.isdigit() and len(value) <= 18):
            raise NotFound(f"cannot find {name} {value[:64]}")
        return int(value)

    def offset(self, largest: int = 10_000) -> int:
        """Where a list begins; nonsense begins at its start."""
        value = self.query.get("offset", "0")
        return min(int(value), largest) if value.isascii() and value.isdigit() and len(value) < 9 else 0


def typed(values: Mapping[str, Any], kind: type[T]) -> T:
    """What a form says, as the struct that the API takes for the same act.

    Raises:
        Invalid: naming the field and its rule.
    """
    try:
        return msgspec.convert(values, kind, strict=False)
    except msgspec.ValidationError as error:
        raise problems.invalid_from(error, "form") from error


def wrong(name: str, rule: str) -> Invalid:
    """One field of a form breaks one rule."""
    return Invalid(f"cannot accept {name}: {rule}", (FieldError(f"/{name}", rule),))


@dataclass(frozen=True, slots=True)
class Show:
    """A page. `problem`: what was refused just now; the form is shown again with what was typed. `live_at`: the address
    whose updates fit this page, where its own has none (the answer to a posted form)."""

    template: str
    title: str
    context: dict[str, Any] = field(default_factory=dict)
    problem: TidegateError | None = None
    live_at: str = ""


@dataclass(frozen=True, slots=True)
class Go:
    """On to another page after something was done; `done` names a sentence of DONE."""

    to: str
    done: str = ""


Outcome = Show | Go | Response
Handler = Callable[[Visit], Outcome]


@dataclass(frozen=True, slots=True)
class Page:
    """One row of the console's table. `permission` is empty for what anybody signed in may do.

    `nav` is the entry of the navigation it belongs to; `live`: it keeps itself up to date; `presence`: it shows how
    long ago devices called;
    `uploads`: its form may carry an artifact's file; `file_bytes`: another, of at most so many bytes. `secret`: it may
    show one besides that of its forms whenever it is looked at, so it is never compressed (packing.py).
    """

    method: str
    path: str
    permission: str
    handler: Handler
    nav: str = ""
    live: bool = False
    presence: bool = False
    uploads: bool = False
    file_bytes: int = 0
    secret: bool = False

    def most_bytes(self, node: Node) -> int:
        """The largest form that may be posted here."""
        return (node.settings.upload_max_bytes if self.uploads else self.file_bytes) + FORM_MAX_BYTES


#: What the toast says after an act: fixed sentences, so that nothing in an address is ever shown as ours.
DONE: dict[str, tuple[str, str]] = {
    "approved": ("good", "Approved."),
    "halted": ("bad", "Rollout halted. Devices already applying finish."),
    "resumed": ("good", "Rollout resumed. The failures known until now are acknowledged."),
    "aborted": ("quiet", "Rollout aborted."),
    "created": ("good", "Rollout created."),
    "published": ("good", "Version published: signed, stored and recorded in one act."),
    "withdrawn": ("wait", "Version withdrawn. It is never assigned again."),
    "decommissioned": ("quiet", "Device decommissioned. Every request with its identity is refused from now on."),
    "held": ("wait", "Device held. It is not served and gets no leave."),
    "many-held": ("wait", "Devices held. None of them is served or gets leave."),
    "many-released": ("good", "Holds released."),
    "many-tagged": ("good", "Tags changed."),
    "many-grouped": ("good", "Devices added to the group."),
    "frozen": ("wait", "Fleet frozen. Nothing is served and no leave is given until it is released."),
    "thawed": ("good", "Freeze released. Open rollouts go on where they stood."),
    "released": ("good", "Hold released."),
    "group-created": ("good", "Group created."),
    "group-changed": ("good", "Group changed."),
    "group-deleted": ("quiet", "Group deleted. Its devices stay."),
    "group-held": ("wait", "Group held. None of its devices is served or gets leave."),
    "logs-asked": ("good", "Asked. The device sends the log when it is told, with its next heartbeat."),
    "logs-cancelled": ("quiet", "Cancelled. The device is not asked any more."),
    "channel-moved": ("good", "Channel moved. The next rollout created from it takes the version."),
    "channel-deleted": ("quiet", "Channel deleted. Its history stays."),
    "sbom-attached": ("flow", "SBOM received. It is checked now; the verdict appears here by itself."),
    "sbom-removed": ("quiet", "SBOM removed. It stays in the version's history."),
    "upload-discarded": ("quiet", "Upload discarded."),
    "revoked": ("quiet", "Enrollment token revoked."),
    "verified": ("good", "Audit chain verified."),
    "password-changed": ("good", "Password changed. Every other session of yours has ended."),
    "settings-changed": ("good", "Settings changed. They count from now on; the audit log has what they were."),
    "second-factor-removed": ("wait", "Second factor removed. A password alone is enough until another is set up."),
    "session-ended": ("quiet", "Session ended. Whoever used it has to sign in again."),
    "sessions-ended": ("quiet", "Sessions ended. Whoever used them has to sign in again."),
    "user-disabled": ("wait", "Operator disabled. Their sessions have ended and their API keys do nothing."),
    "user-enabled": ("good", "Operator enabled. They may sign in, and their API keys work again."),
    "roles-set": ("good", "Roles set. They count from the next request on."),
    "role-created": ("good", "Role created. Nobody holds it yet."),
    "role-changed": ("good", "Role changed. Whoever holds it may do this from their next request on."),
    "role-deleted": ("quiet", "Role deleted. Nobody held it."),
    "key-revoked": ("quiet", "API key revoked. Its next request is refused."),
    "fleet-created": ("good", "Fleet created, with a trust domain and keys of its own."),
}
