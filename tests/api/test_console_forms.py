"""Forms of the console as the server writes and takes them: what they begin with, what they say, what they refuse."""

from __future__ import annotations

import asyncio
import re
from html import unescape
from typing import Any
from urllib.parse import urlencode

import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.types import Message

from tidegate.control.console import app as console_app
from tidegate.control.console import cookies, guard
from tidegate.control.console.handlers.new_rollout import Typed, request_of
from tidegate.control.console.strategy_form import fields_of
from tidegate.control.domain.access import EVERY_FLEET, Grant, Scope
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.domain.rollouts.strategy import parse_strategy
from tidegate.control.services import api_keys, devices, fleet_settings, holds, people, rollouts, sessions
from tidegate.control.services.holds import HeldFleet
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.control.store import engine
from tidegate.control.store import people as people_store
from tidegate.errors import Malformed
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.fleet import catalog, enroll
from tidegate.testing.node import admin_scope

on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
PASSWORD = "correct horse battery staple"


class Person:
    """Somebody signed in, who loads pages and sends their forms without a browser."""

    def __init__(self, node: Node, name: str, role: str) -> None:
        people.create_operator(admin_scope(node), node, name=name, roles=[NamedGrant(role, "*")], password=PASSWORD)
        begun = sessions.sign_in(node, name, PASSWORD, user_agent="t", address="192.0.2.7")
        self._client = Client(Starlette(routes=console_app.routes(node)))
        self._csrf = begun.csrf_secret
        self._headers = {
            "cookie": f"{cookies.SESSION_COOKIE}={begun.session_secret}; {cookies.CSRF_COOKIE}={self._csrf}",
            "content-type": "application/x-www-form-urlencoded",
        }

        self._scope = sessions.scope_in(node, begun.operator.identity(), "default")
        self._node = node

    def with_a_key(self) -> Scope:
        """What an API key of theirs acts with."""
        made = api_keys.create_api_key(
            self._scope, self._node, name="ci", role="operator", every_fleet=False, expires_days=None
        )
        return sessions.scope_in(self._node, sessions.authenticate(self._node, f"Bearer {made[1]}"), "default")

    def look(self, path: str) -> str:
        answer = self._client.request("GET", path, headers=self._headers)
        assert answer.status == 200, answer.body
        return unescape(answer.body.decode())

    def send(self, path: str, **fields: object) -> Answer:
        raw = urlencode({"csrf": self._csrf, **fields}, doseq=True).encode()
        return self._client.request("POST", path, raw=raw, headers=self._headers)


def values(html: str, name: str) -> list[str]:
    return re.findall(rf'name="{name}"[^>]*? value="([^"]*)"', html)


def settle(node: Node, **changes: Any) -> None:
    """The fleet's settings, as somebody who administers it sets them."""
    scope = admin_scope(node)
    found = fleet_settings.get(scope, node)
    wanted = {"four_eyes": found.four_eyes, "default_strategy": None} | changes
    fleet_settings.change(scope, node, interval_seconds=found.interval_seconds, device_events_days=None, **wanted)


STRATEGY = {
    "waves": [
        {"group": "lab", "approval": "manual"},
        {"percent": "2.5", "soak_seconds": 5_400},
        {"count": 40, "soak_seconds": 61},
        {"percent": 100, "approval": "manual"},
    ],
    "max_failure_rate": "0.0125",
    "max_in_flight": "7.5%",
    "deadline": "3d",
    "apply_deadline": "90m",
    "offline_after": 3_601,
}


@pytest.mark.parametrize("strategy", [STRATEGY, {"max_in_flight": 25}, {}], ids=["all of it", "a number", "empty"])
def test_a_strategy_as_fields_is_read_back_to_itself(strategy: dict[str, object]) -> None:
    meant = parse_strategy(strategy)
    fields = fields_of(meant)
    form = Typed(artifact="model/1", **{name: getattr(fields, name) for name in type(fields).__dataclass_fields__})
    assert parse_strategy(request_of(form).strategy) == meant


@on_sqlite
def test_creating_a_rollout_begins_with_the_fleets_default_strategy(node: Node) -> None:
    catalog(node, admin_scope(node), "model", "1")
    enroll(node, admin_scope(node), ["d1"])
    person = Person(node, "ona", "operator")
    page = person.look("/rollouts/new")
    assert values(page, "to") == ["10 %", "50 %", "100 %"]
    assert "a suggestion: fleet default sets no default strategy" in page
    default = {"waves": [{"percent": 20, "soak_seconds": 600}, {"percent": 100}], "max_failure_rate": "0.02"}
    settle(node, default_strategy=default)
    page = person.look("/rollouts/new")
    assert (values(page, "to"), values(page, "soak")) == (["20 %", "100 %"], ["10 min", "none"])
    assert values(page, "max_failure_rate") == ["2 %"]
    assert "the default strategy of fleet default" in page
    waves = {"to": ["30 %", "100 %"], "approval": ["auto", "auto"], "soak": ["none", "none"]}
    changed = person.send("/rollouts/new/preview", artifact="model/1", target="everyone", **waves).body.decode()
    assert values(changed, "to") == ["30 %", "100 %"]  # what was typed stays, and is nobody's default
    assert "the default strategy of fleet" not in changed


@on_sqlite
def test_a_device_that_reported_nothing_says_so_once(node: Node) -> None:
    """Not once for each column: as cards, at 360 px, that was four lines of nothing."""
    enroll(node, admin_scope(node), ["silent"])
    page = Person(node, "ona", "viewer").look("/running")
    row = next(one for one in re.findall(r"<tr>.*?</tr>", page, re.DOTALL) if "silent" in one)
    assert re.sub(r"<[^>]+>", " ", row).split() == ["silent", "nothing", "reported", "has", "never", "called"]


@on_sqlite
def test_roles_from_sign_on_are_shown_as_such_and_cannot_be_set(node: Node) -> None:
    issuer = "https://sso.example"
    with node.db.write() as tx:
        olga = people_store.insert_operator(tx, "olga", "", engine.now(tx), sign_on=(issuer, "sub-1"))
        people_store.replace_grants(tx, olga, [Grant("operator", EVERY_FLEET)])
    person = Person(node, "ona", "admin")
    page = person.look("/users/olga")
    section = page[page.index('<section class="panel" aria-labelledby="roles-h"') :].partition("</section>")[0]
    assert re.sub(r"<[^>]+>", "", section).split()[:6] == ["Roles", "operator", "in", "every", "fleet", "from"]
    assert f"from what {issuer} says and the setting" in section.replace("\n", " ")
    assert "<form" not in section
    assert re.search(r'aria-disabled="true" aria-describedby="why-reset"', page)
    refused = person.send("/users/olga/roles", role="admin", fleet="*")
    assert refused.status == 409
    assert b"who signs on through a provider" in refused.body
    own = person.look("/users/ona")
    assert "from sign-on" not in own
    assert "Set roles of ona" in own


def rolling(node: Node, approval: str = "auto", scope: Scope | None = None) -> int:
    """A rollout to four devices in two waves."""
    scope = scope or admin_scope(node)
    catalog(node, scope, "model", "1")
    enroll(node, scope, ["d1", "d2", "d3", "d4"])
    strategy = {"waves": [{"percent": 50, "approval": approval}, {"percent": 100}]}
    made = rollouts.create_rollout(
        scope, node, NewRollout(artifact="model", version="1", target=Target(everyone=True), strategy=strategy)
    )
    plan_all(node)
    return made.id


def command(node: Node, rollout: int, verb: Verb) -> None:
    rollouts.command_rollout(admin_scope(node), node, rollout, verb, reason="somebody else")


@on_sqlite
@pytest.mark.parametrize(
    ("begun", "verb", "meanwhile"),
    [
        ("auto", "halt", [Verb.HALT, Verb.RESUME]),
        ("manual", "approve", [Verb.HALT, Verb.RESUME]),
        ("halted", "resume", [Verb.RESUME, Verb.HALT]),
        ("auto", "abort", [Verb.HALT]),
    ],
)
def test_what_was_said_of_another_state_of_the_rollout_is_refused(
    node: Node, begun: str, verb: str, meanwhile: list[Verb]
) -> None:
    """The verb is possible again, but the counts that the person confirmed are those of before."""
    rollout = rolling(node, "auto" if begun == "halted" else begun)
    if begun == "halted":
        command(node, rollout, Verb.HALT)
    person = Person(node, "ona", "admin")
    page = f"/rollouts/{rollout}" + ("/abort" if verb == "abort" else "")
    typed = {"reason": "what I typed", "policy": "keep", "confirm": "model"}
    seen = values(person.look(page), "generation")[0]
    for one in meanwhile:
        command(node, rollout, one)
    before = rollouts.get_rollout(admin_scope(node), node, rollout).state
    assert person.send(f"/rollouts/{rollout}/{verb}", **typed).status == 409  # a form that does not say what was seen
    refused = person.send(f"/rollouts/{rollout}/{verb}", generation=seen, **typed)
    assert refused.status == 409
    assert b"it changed since you looked; look again" in refused.body
    assert rollouts.get_rollout(admin_scope(node), node, rollout).state == before
    if verb == "abort":
        assert b"what I typed" in refused.body
    again = values(refused.body.decode(), "generation")[0]
    assert person.send(f"/rollouts/{rollout}/{verb}", generation=again, **typed).status == 303


@on_sqlite
def test_a_sheet_of_a_device_that_was_enrolled_anew_decommissions_nothing(node: Node) -> None:
    enroll(node, admin_scope(node), ["d1"])
    person = Person(node, "ona", "admin")
    seen = values(person.look("/devices/d1"), "enrolled_at")[0]
    devices.decommission(admin_scope(node), node, "d1")
    enroll(node, admin_scope(node), ["d1"])
    refused = person.send("/devices/d1/decommission", confirm="d1", enrolled_at=seen)
    assert refused.status == 409
    assert b"it was enrolled anew since you looked" in refused.body
    assert devices.get(admin_scope(node), node, "d1").view.device.active
    again = values(refused.body.decode(), "enrolled_at")[0]
    assert person.send("/devices/d1/decommission", confirm="d1", enrolled_at=again).status == 303


@on_sqlite
def test_a_freeze_of_somebody_else_is_neither_replaced_nor_released_unseen(node: Node) -> None:
    scope = admin_scope(node)
    person = Person(node, "ona", "admin")
    seen = values(person.look("/freeze"), "seen")[0]
    holds.hold(scope, node, HeldFleet(), "fire in hall 2")
    refused = person.send("/freeze", reason="stocktaking", hours="1", seen=seen)
    assert refused.status == 409
    assert b"it is held now: fire in hall 2; look again" in refused.body
    seen = values(person.look("/freeze"), "seen")[0]
    holds.hold(scope, node, HeldFleet(), "fire in hall 3")
    assert person.send("/freeze/release", seen=seen).status == 409
    found = holds.freeze(scope, node)
    assert found is not None
    assert found.reason == "fire in hall 3"
    assert person.send("/freeze/release", seen=found.mark).status == 303
    assert holds.freeze(scope, node) is None


@on_sqlite
def test_four_eyes_name_the_reason_at_the_dashed_button_for_ones_own_key_too(node: Node) -> None:
    settle(node, four_eyes=True)
    ona, mia = Person(node, "ona", "admin"), Person(node, "mia", "approver")
    rollout = rolling(node, "manual", ona.with_a_key())
    page = ona.look(f"/rollouts/{rollout}")
    assert re.search(r'aria-disabled="true" aria-describedby="why-approve">.*?Approve wave 1', page)
    assert "Approve: you, or an API key of yours, created it; four_eyes asks for another person" in page
    refused = ona.send(f"/rollouts/{rollout}/approve", generation=1)
    assert refused.status == 403
    assert b"four_eyes asks for another person" in refused.body
    seen = values(mia.look(f"/rollouts/{rollout}"), "generation")[0]
    assert mia.send(f"/rollouts/{rollout}/approve", generation=seen).status == 303


def test_a_browser_that_leaves_while_it_sends_is_nobodys_defect() -> None:
    async def left() -> Message:
        return {"type": "http.disconnect"}

    headers = [(b"content-length", b"9"), (b"content-type", b"application/x-www-form-urlencoded")]
    request = Request({"type": "http", "method": "POST", "path": "/", "headers": headers}, left)
    with pytest.raises(Malformed, match="the browser left before its end"):
        asyncio.run(guard.read_form(request, most_bytes=100))
