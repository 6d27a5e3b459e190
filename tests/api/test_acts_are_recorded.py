"""Every administrative act leaves an audit record in the same transaction (promise P7), whichever call made it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import sqlalchemy as sa
from tests.api.site import BY_NAME, Site
from tests.api.test_examples import FIRST, MADE_FOR_ONE_CALL, in_order, sent

from tidegate.control.api.examples import BODIES
from tidegate.control.store.schema import audit_records

#: Calls that change nothing that anybody relies on, each with the reason.
NO_ACTS = {
    "rollouts.preview": "reads",
    "uploads.create": "bytes that no version names yet; publishing them is the act",
    "uploads.append": "as uploads.create",
    "uploads.discard": "as uploads.create",
    "me.begin_second_factor": "a secret that counts from its confirmation on",
}
#: Where calls that are no JSON, or need a running clock or a code, are shown to leave their record.
ELSEWHERE = MADE_FOR_ONE_CALL | {
    "devices.import_sheet", "operators.remove_second_factor", "sessions.end", "sessions.end_others",
    "audit.sign_export", "devices.cancel_log",
}  # fmt: skip


QUERY = {"channels.delete": "?reason=moved", "sboms.remove": "?reason=wrong"}


def _group(site: Site, name: str) -> None:
    site.ok("POST", "/v1/groups", {"name": name, "devices": []})
    site.there["group"] = name


def _hold(site: Site) -> None:
    site.ok("PUT", "/v1/devices/cam-2/hold", {"reason": "opened"})
    site.there["device"] = "cam-2"


def _with_session(site: Site) -> None:
    made = site.ok("POST", "/v1/sessions", {"name": "grace", "password": "correct horse battery staple"})
    site.there["session"] = str(made["id"])


def _person(site: Site) -> None:
    body = {"name": "grace", "password": "correct horse battery staple", "roles": [{"role": "viewer"}]}
    if site.call("GET", "/v1/operators/grace").status == 404:
        site.ok("POST", "/v1/operators", body)
    site.there["operator"] = "grace"
    _with_session(site)


#: Calls without a body: what has to be there first.
PREPARED: dict[str, Callable[[Site], Any]] = {
    "operator_sessions.delete": _person,
    "operators.end_sessions": _person,
    "operators.disable": _person,
    "operators.enable": lambda site: site.there.update(operator="grace"),  # just disabled
    "operators.reset_password": _person,
    "api_keys.revoke": lambda site: site.there.update(
        key=str(site.ok("POST", "/v1/api-keys", {"name": "nightly", "role": "viewer"})["id"])
    ),
    "roles.delete": lambda site: (
        site.ok("POST", "/v1/roles", {"name": "night", "permissions": ["devices.read"]}),
        site.there.update(role="night"),
    ),
    "channels.delete": lambda site: None,  # is there
    "sboms.remove": lambda site: None,  # just attached
    "devices.release": _hold,
    "freeze.end": lambda site: site.ok("PUT", "/v1/freeze", {"reason": "storm"}),
    "tokens.revoke": lambda site: site.there.update(token=str(site.ok("POST", "/v1/tokens", {})["id"])),
    "groups.release": lambda site: (
        _group(site, "held"), site.ok("PUT", "/v1/groups/held/hold", {"reason": "moved"})
    ),
    "groups.delete": lambda site: _group(site, "gone"),
}  # fmt: skip


def _records(site: Site) -> int:
    """Of people's acts; what follows from one by itself is recorded as the system's."""
    people = audit_records.c.actor.startswith("user:")
    with site.node.db.read() as tx:
        return int(tx.execute(sa.select(sa.func.count()).select_from(audit_records).where(people)).scalar_one())


def test_every_call_that_changes_something_is_looked_at() -> None:
    changing = {name for name, call in BY_NAME.items() if call.method != "GET"}
    assert changing == set(BODIES) | set(PREPARED) | set(NO_ACTS) | ELSEWHERE


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_an_act_is_one_record(site: Site) -> None:
    walker, known_paths = site.client, dict(site.there)
    unlike = []
    for name in [*in_order(BODIES), *PREPARED]:
        if name in NO_ACTS or name in ELSEWHERE:
            continue
        site.client, site.there = walker, known_paths | {"operator": "ada", "role": "shift-lead"}
        for before in (FIRST.get(name), PREPARED.get(name)):
            if before is not None:
                before(site)
        call, known = BY_NAME[name], _records(site)
        answer = site.call(call.method, site.path(call.path) + QUERY.get(name, ""), sent(site, name))
        made = _records(site) - known
        if answer.status >= 300 or made != 1:
            unlike.append(f"{name}: {answer.status}, {made} records {answer.body!r}")
    assert not unlike, "\n".join(unlike)
