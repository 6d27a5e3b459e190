"""What pages about people say: browsers, grants, and what each permission lets somebody do."""

from __future__ import annotations

import re

from tidegate.control.domain.access import PERMISSIONS

#: By noun, in the order of the navigation; each permission with what it lets somebody do.
PERMISSION_WORDS: dict[str, dict[str, str]] = {
    "Devices": {
        "devices.read": "See devices, their hardware, tags and history",
        "devices.write": "Tag, hold and decommission devices, ask for their logs",
        "tokens.write": "Mint and revoke enrollment tokens, recover devices",
    },
    "Groups": {"groups.read": "See groups", "groups.write": "Make, change, hold and delete groups"},
    "Artifacts": {
        "artifacts.read": "See artifacts, channels and what runs where",
        "artifacts.publish": "Publish and withdraw versions, move channels",
    },
    "Rollouts": {
        "rollouts.read": "See rollouts and why devices run what they run",
        "rollouts.write": "Create, halt and abort rollouts, freeze the fleet",
        "rollouts.approve": "Approve, resume, override gates",
    },
    "Assurance": {
        "trust.read": "See keys, expiries and warnings",
        "trust.manage": "Import signed metadata, rotate keys",
        "audit.read": "Read the audit log",
        "audit.export": "Export the audit log with its signature",
        "compliance.read": "Read findings, incidents and reports",
        "compliance.write": "Dismiss findings, handle incidents",
    },
    "Administration": {
        "users.manage": "Operators, their roles and sessions; for all fleets also own roles",
        "keys.manage": "Create and revoke API keys",
        "settings.manage": "Settings; for all fleets also new fleets",
        "integrations.read": "See registry connections and webhooks",
        "integrations.manage": "Change registry connections and webhooks",
    },
}

_PROGRAMS = (
    ("tidegate/", "tidegate command line"),
    ("Edg/", "Edge"),
    ("OPR/", "Opera"),
    ("Firefox/", "Firefox"),
    ("HeadlessChrome/", "Chrome"),
    ("Chrome/", "Chrome"),
    ("Safari/", "Safari"),
    ("curl/", "curl"),
)
_SYSTEMS = (
    ("Android", "Android"),
    ("iPhone", "iOS"),
    ("iPad", "iPadOS"),
    ("Windows", "Windows"),
    ("Mac OS X", "macOS"),
    ("CrOS", "ChromeOS"),
    ("Linux", "Linux"),
)
_VERSION = re.compile(r"0\.\d{1,6}|\d{1,6}")


def every_permission() -> frozenset[str]:
    """What the words above speak of; a test holds it against the list that decides."""
    return frozenset(name for group in PERMISSION_WORDS.values() for name in group) & PERMISSIONS


def browser(user_agent: str) -> str:
    """``Firefox 143 on Linux``: what a browser says of itself, as far as it is known; nobody vouches for it."""
    program = next(((mark, name) for mark, name in _PROGRAMS if mark in user_agent), None)
    if program is None:
        return user_agent[:60] or "unknown"
    version = _VERSION.match(user_agent.partition(program[0])[2])
    system = next((name for mark, name in _SYSTEMS if mark in user_agent), "")
    return program[1] + (f" {version[0]}" if version else "") + (f" on {system}" if system else "")


def where(fleet: str) -> str:
    """A grant's fleet in words."""
    return "in every fleet" if fleet == "*" else f"in fleet {fleet}"
