"""What pages say in words of their own: an act's data, a rollout's timeline, the node's settings, urgency."""

from __future__ import annotations

import re
from datetime import timedelta
from urllib.parse import quote

import pytest
from starlette.applications import Starlette

from tidegate.control.console import acts, app, cookies
from tidegate.control.console.handlers.settings import SUBJECTS, of_node
from tidegate.control.domain.access import Scope
from tidegate.control.domain.rollouts.model import Verb
from tidegate.control.services import fleet_settings, groups, rollouts, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.people import NamedGrant, create_operator
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.control.services.rollouts.planning import plan_all
from tidegate.testing.asgi import Client
from tidegate.testing.fleet import catalog, enroll
from tidegate.testing.node import admin_scope

PASSWORD = "correct horse battery staple"
on_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


class Looker:
    """Somebody signed in who looks at pages."""

    def __init__(self, node: Node, scope: Scope) -> None:
        create_operator(scope, node, name="desk", roles=[NamedGrant("admin", "*")], password=PASSWORD)
        begun = sessions.sign_in(node, "desk", PASSWORD, user_agent="", address="127.0.0.1")
        self.client = Client(Starlette(routes=app.routes(node)))
        self.cookie = f"{cookies.SESSION_COOKIE}={begun.session_secret}; {cookies.CSRF_COOKIE}={begun.csrf_secret}"

    def page(self, path: str) -> str:
        return self.client.request("GET", path, headers={"cookie": self.cookie}).body.decode()


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ('{"reason":"spare part","until":null}', [("reason", "spare part"), ("until", "none")]),
        ('{"until":"2026-11-24T00:08:14.942Z"}', [("until", "2026-11-24 00:08:14")]),
        ('{"until":"2026-11-24T02:08:14+02:00"}', [("until", "2026-11-24 00:08:14")]),
        ('{"counts":{"healthy":3000,"open":1}}', [("counts", "healthy 3,000, open 1")]),
        ('{"stop_workloads":false,"waves":[3,12],"groups":[],"tags":{}}',
         [("stop_workloads", "false"), ("waves", "3, 12"), ("groups", "none"), ("tags", "none")]),
        ('{"rate":"0.05","share":0.5}', [("rate", "0.05"), ("share", "0.5")]),
        ("{}", []),
    ],
)  # fmt: skip
def test_an_acts_data_is_read_as_names_and_values(data: str, words: list[tuple[str, str]]) -> None:
    assert acts.told(data) == words


def test_a_long_value_is_cut_and_the_name_stays() -> None:
    [(name, value)] = acts.told('{"reason":"' + "x" * 5_000 + '"}')
    assert name == "reason"
    assert len(value) <= acts.VALUE_MAX + 1


@pytest.mark.parametrize(
    ("kind", "data", "words"),
    [
        ("rollout.release", {"wave": 2, "devices": 1}, "Wave 2 released to 1 device"),
        ("rollout.soak", {"wave": 1, "devices": 9}, "Wave 1 complete, soaking"),
        ("rollout.wait", {"wave": 2}, "waiting_for_approval"),
        ("rollout.halt", {}, "Halted"),
        ("rollout.not-known-here", {}, "rollout.not-known-here"),
    ],
)
def test_acts_on_a_rollout_are_said_in_words(kind: str, data: dict[str, object], words: str) -> None:
    assert acts.done(kind, data) == words


@on_sqlite
def test_a_record_is_shown_as_it_was_hashed_and_the_list_in_words(node: Node) -> None:
    scope = admin_scope(node)
    looker = Looker(node, scope)
    enroll(node, scope, ["told-1"])
    groups.create(scope, node, "told", ["told-1"])
    page = looker.page("/audit?action=group.*")
    address = re.search(r'href="(/audit[^"]+)#record"', page)
    assert address is not None
    assert "RFC 8785" not in page
    shown = looker.page(address[1].replace("&amp;", "&"))
    assert "canonical form (RFC 8785)" in shown
    assert "&#34;action&#34;:&#34;group.create&#34;" in shown
    assert "&#34;" not in page.partition("<tbody>")[2].partition("</tbody>")[0]


@on_sqlite
def test_every_setting_of_the_node_stands_under_one_subject(node: Node) -> None:
    found = fleet_settings.of_node(admin_scope(node), node)
    told = of_node(found)
    listed = [one.name for _, lines in told.subjects for one in lines]
    assert sorted(listed) == sorted(one.name for one in found)
    assert [subject for subject, _ in told.subjects] == [subject for subject, _ in SUBJECTS if subject != "Others"]
    values = {one.name: one.value for _, lines in told.subjects for one in lines}
    assert values["upload_max_bytes"] == "64 GiB"
    assert values["max_held"] == "10,000"


@on_sqlite
def test_what_waits_for_a_person_comes_first_on_the_overview(node: Node) -> None:
    scope = admin_scope(node)
    looker = Looker(node, scope)
    enroll(node, scope, [f"urgent-{number}" for number in range(4)])
    made = []
    for name in ("first", "second", "third"):
        catalog(node, scope, name, "1")
        starts = node.clock.now() + timedelta(hours=1) if name == "third" else None
        request = NewRollout(artifact=name, version="1", target=Target(everyone=True), start_at=starts)
        made.append(rollouts.create_rollout(scope, node, request).id)
    rollouts.command_rollout(scope, node, made[0], Verb.HALT, reason="look")
    rows = re.findall(r'id="row-(\d+)"', looker.page("/"))
    assert [int(one) for one in rows] == [made[0], made[1], made[2]]


@on_sqlite
def test_a_rollout_says_what_was_just_done_and_what_was_done_before(node: Node) -> None:
    scope = admin_scope(node)
    looker = Looker(node, scope)
    enroll(node, scope, ["said-1"])
    catalog(node, scope, "said", "1")
    made = rollouts.create_rollout(scope, node, NewRollout(artifact="said", version="1", target=Target(everyone=True)))
    page = looker.page(f"/rollouts/{made.id}?done=created")
    assert 'class="toast' in page
    assert "Wave 1 released to 1 device by system:planner" in page


@on_sqlite
def test_a_wave_that_rounding_left_empty_is_passed_over(node: Node) -> None:
    scope = admin_scope(node)
    looker = Looker(node, scope)
    fleet = enroll(node, scope, [f"round-{number}" for number in range(4)])
    catalog(node, scope, "round", "1")
    waves = [{"percent": 1}, {"percent": 10}, {"percent": 100}]
    request = NewRollout(artifact="round", version="1", target=Target(everyone=True), strategy={"waves": waves})
    made = rollouts.create_rollout(scope, node, request)
    for _ in range(3):
        plan_all(node)
        for device in fleet:
            device.seen()
            device.tick()
    page = looker.page(f"/rollouts/{made.id}")
    assert "passed over" in page
    assert "open since never" not in page


@on_sqlite
def test_forms_offer_the_groups_that_may_be_chosen(node: Node) -> None:
    scope = admin_scope(node)
    looker = Looker(node, scope)
    groups.create(scope, node, "by-hand")
    groups.create(scope, node, "computed", selector='arch == "arm64"')
    assert groups.names(scope, node) == ["by-hand", "computed"]
    offered = {path: set(re.findall(r"<option[^>]*>(by-hand|computed)</option>", looker.page(path)))
               for path in ("/add-device", "/devices", "/running?" + quote("show=all", safe="="))}  # fmt: skip
    assert offered["/add-device"] == {"by-hand"}
    assert offered["/devices"] == {"by-hand", "computed"}
