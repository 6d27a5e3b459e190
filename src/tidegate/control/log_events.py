"""Every event that the node logs, with its fields: docs/reference/logs.md is written from it.

A test compares it with the calls in the code, so that an operator's filters can rely on it.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class LogEvent:
    """`fields`: names besides `event`, `level`, `timestamp` and, inside a request, `request_id`."""

    event: str
    level: str
    fields: tuple[str, ...]
    meaning: str


def _event(event: str, level: str, meaning: str, *fields: str) -> LogEvent:
    return LogEvent(event, level, tuple(sorted(fields)), meaning)


EVENTS = (
    _event("serving", "info", "The node listens; its addresses.", "console", "channel"),
    _event("stopping", "info", "The node was told to stop."),
    _event("worker did not finish in time", "warning", "At the stop a worker was still busy.", "worker"),
    _event("request", "info", "One request of the console listener, answered.", "method", "path", "status", "ms"),
    _event("connection closed", "info", "A connection that broke a limit.", "reason", "client"),
    _event("cannot answer at once", "error", "A heartbeat took the ordinary way because of a defect."),
    _event("defect", "error", "A state that our own code must never reach; please report it.", "error", "exc_info"),
    _event("unforeseen error", "error", "An error that nothing expected; please report it.", "error", "exc_info"),
    _event("two acts at once", "info", "One of two acts on the same thing was refused.", "error"),
    _event("value refused by the database", "warning", "An input that no rule of ours caught.", "error"),
    _event("database unavailable", "error", "The database does not answer or has no room.", "error"),
    _event("not ready", "warning", "A check of `/readyz` failed.", "check", "error"),
    _event("cannot look", "warning", "A warning could not be looked into.", "warning", "error"),
    _event("worker round failed", "warning", "A worker goes on with its next round.", "worker", "error"),
    _event("signed again", "info", "Metadata of a fleet were renewed before they expire.", "fleet"),
    _event("cannot keep metadata fresh", "warning", "They will expire unless this is mended.", "fleet", "reason"),
    _event("audit checkpoint", "info", "The end of an audit chain was signed.", "chain", "sequence"),
    _event("audit chain broken", "critical", "Somebody altered the audit log.", "reason"),
    _event("cannot write presence", "warning", "Who was heard is written later.", "devices", "error"),
    _event("cannot read identities", "warning", "Changes of certificates are seen later.", "error"),
    _event("cannot look at a change", "warning", "Devices learn of a change later.", "fleet", "error"),
    _event("cannot look for changes", "warning", "Devices learn of changes later.", "error"),
    _event("cannot note the use of a credential", "warning", "When it was last used is written later.", "error"),
    _event("sign-in refused", "warning", "A wrong name, password or second factor.", "operator", "known", "address"),
    _event(
        "logs of devices made room for newer ones",
        "info",
        "A fleet's oldest bundles went, see `log_bundles_max_bytes`.",
        "fleet",
        "dropped",
    ),
    _event("enrollment refused", "warning", "A token or request was not accepted.", "kind", "device", "client"),
    _event(
        "the setting oidc.roles names a fleet that is not there", "warning", "The mapping does nothing there.", "fleet"
    ),
    _event("the setting oidc.roles names a role that is not there", "warning", "The mapping gives nothing.", "role"),
)
