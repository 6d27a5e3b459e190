"""The navigation: every list of the console in its section, and of them only what exists and may be seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tidegate.control.console.chrome import Chrome
from tidegate.control.console.pages import PAGES
from tidegate.control.domain.access import Scope


@dataclass(frozen=True, slots=True)
class Entry:
    """One line. `key` is what pages of it name as their `nav`, and its icon; `count` stands beside it."""

    key: str
    path: str
    label: str
    count: Callable[[Chrome], int | None] = lambda _: None


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    entries: tuple[Entry, ...]


SECTIONS = (
    Section(
        "Fleet",
        (
            Entry("overview", "/", "Overview"),
            Entry("rollouts", "/rollouts", "Rollouts", lambda chrome: chrome.open_rollouts),
            Entry("devices", "/devices", "Devices", lambda chrome: chrome.devices),
            Entry("groups", "/groups", "Groups", lambda chrome: chrome.groups),
        ),
    ),
    Section(
        "Catalog",
        (
            Entry("artifacts", "/artifacts", "Artifacts", lambda chrome: chrome.artifacts),
            Entry("channels", "/channels", "Channels"),
            Entry("running", "/running", "What runs where"),
        ),
    ),
    Section("Trust", (Entry("trust", "/trust", "Trust Center"), Entry("audit", "/audit", "Audit"))),
    Section(
        "Administration",
        (
            Entry("users", "/users", "Users"),
            Entry("roles", "/roles", "Roles"),
            Entry("keys", "/api-keys", "API keys"),
            Entry("sessions", "/sessions", "Sessions"),
            Entry("fleets", "/fleets", "Fleets"),
            Entry("settings", "/settings", "Settings"),
        ),
    ),
)
#: The permission of each page that has an address of its own.
_PERMISSIONS = {page.path: page.permission for page in PAGES if page.method == "GET"}


def sections(scope: Scope) -> list[Section]:
    """What `scope` may open, sections without anything left out."""

    def open_to(entry: Entry) -> bool:
        permission = _PERMISSIONS.get(entry.path)
        return permission is not None and (not permission or scope.allows(permission))

    found = (Section(section.name, tuple(filter(open_to, section.entries))) for section in SECTIONS)
    return [section for section in found if section.entries]
