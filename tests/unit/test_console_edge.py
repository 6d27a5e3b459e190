"""The console's edge: forged and hostile requests, what a page costs, and when live updates end."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote, urlencode

import pytest
from sqlalchemy import event
from starlette.applications import Starlette

from tidegate.control.api.edge import Edge
from tidegate.control.app import operator_app
from tidegate.control.console import app as console_app
from tidegate.control.console import cookies, guard, live
from tidegate.control.console.pages import PAGES
from tidegate.control.console.streams import Streams
from tidegate.control.services import people, rollouts, secrets, sessions
from tidegate.control.services.node import Node
from tidegate.control.services.pulse import pulse
from tidegate.control.services.rollouts import NewRollout, Target
from tidegate.ids import FleetId
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.fleet import catalog, enroll
from tidegate.testing.node import admin_scope

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

PASSWORD = "correct horse battery staple"
FORM = "application/x-www-form-urlencoded"


class Person:
    """Somebody's browser, as far as headers go."""

    def __init__(self, node: Node, name: str = "admin", role: str = "admin") -> None:
        self.node = node
        self.name = name
        grants = [people.NamedGrant(role, "default")]
        people.create_operator(admin_scope(node), node, name=name, roles=grants, password=PASSWORD)
        self.client = Client(Edge(Starlette(routes=console_app.routes(node)), node, "console"))
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, form: dict[str, str] | None = None, **headers: str) -> Answer:
        sent = {"cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()), **headers}
        if method == "POST":
            sent.setdefault("content-type", FORM)
        return self.client.request(method, path, raw=urlencode(form or {}).encode(), headers=sent)

    def sign_in(self, back: str = "/") -> Answer:
        begun = sessions.sign_in(self.node, self.name, PASSWORD, user_agent="", address="127.0.0.1")
        self.cookies |= {cookies.SESSION_COOKIE: begun.session_secret, cookies.CSRF_COOKIE: begun.csrf_secret}
        return self.ask("GET", back)


@pytest.fixture
def person(node: Node) -> Person:
    someone = Person(node)
    someone.sign_in()
    return someone


@contextmanager
def statements(node: Node) -> Iterator[list[str]]:
    seen: list[str] = []

    def note(*args: object) -> None:
        if args[2] != "BEGIN":  # asks the database nothing
            seen.append(str(args[2]))

    event.listen(node.db.engine, "before_cursor_execute", note)
    try:
        yield seen
    finally:
        event.remove(node.db.engine, "before_cursor_execute", note)


def _address(path: str) -> str:
    return path.replace("{id:int}", "1").replace("{token}", "1").replace("{name}", "x").replace("{version}", "1")


def test_every_posted_form_needs_this_sessions_token_and_this_site(person: Person) -> None:
    posts = [page.path for page in PAGES if page.method == "POST"]
    assert posts
    for path in posts:
        address = _address(path)
        for form in ({}, {"csrf": "guessed"}, {"csrf": "é"}):
            refused = person.ask("POST", address, form)
            assert refused.status == 403, path
            assert b"not of your session" in refused.body
    own = {"csrf": person.cookies[cookies.CSRF_COOKIE]}
    for path in [*map(_address, posts), "/signin", "/signout", "/theme", "/fleet"]:
        for headers in (
            {"origin": "https://elsewhere.example"},
            {"origin": "null"},
            {"origin": "http://["},
            {"sec-fetch-site": "cross-site"},
            {"sec-fetch-site": "same-site"},
        ):
            answer = person.ask("POST", path, own, **headers)
            assert answer.status == 403, (path, headers)
            assert b"another site" in answer.body


def test_blanks_are_part_of_a_password_wherever_it_is_typed(person: Person) -> None:
    chosen = "  blanks at both ends  "
    csrf = {"csrf": person.cookies[cookies.CSRF_COOKIE]}
    changed = person.ask(
        "POST", "/account/password", {**csrf, "current": PASSWORD, "password": chosen, "again": chosen}
    )
    assert changed.status == 303
    signed_in = person.ask("POST", "/signin", {"name": person.name, "password": chosen, "next": "/"})
    assert signed_in.status == 303
    begun = person.ask("POST", "/account/second-factor", {**csrf, "totp_password": chosen})
    assert begun.status == 303


@pytest.mark.parametrize(
    "there",
    ["//[", "//evil.example", "/\\evil.example", "https://evil.example", "/\tx", "javascript:alert(1)", "/a\r\nx: y"],
)
def test_the_way_back_stays_on_this_site(node: Node, there: str) -> None:
    someone = Person(node)
    shown = someone.ask("GET", f"/signin?next={quote(there)}")
    assert shown.status == 200
    assert b'name="next" value="/"' in shown.body
    went = someone.ask("POST", "/signin", {"name": "admin", "password": PASSWORD, "next": there})
    assert (went.status, went.headers["location"]) == (303, "/")


def test_signing_in_begins_a_session_of_its_own_and_ends_the_one_before(node: Node) -> None:
    someone = Person(node)
    someone.cookies[cookies.SESSION_COOKIE] = "tgs_chosen-by-somebody-else"
    first = someone.ask("POST", "/signin", {"name": "admin", "password": PASSWORD})
    cookie = first.headers["set-cookie"]
    for attribute in ("HttpOnly", "Secure", "Path=/", "SameSite=lax", "__Host-"):
        assert attribute in cookie
    begun = sessions.sign_in(node, "admin", PASSWORD, user_agent="", address="")
    someone.cookies[cookies.SESSION_COOKIE] = begun.session_secret
    someone.ask("POST", "/signin", {"name": "admin", "password": PASSWORD})
    assert sessions.session(node, begun.session_secret) is None


def test_every_answer_has_the_policy_and_is_kept_by_nobody(node: Node, person: Person) -> None:
    stranger = Person(node, "stranger", "viewer")
    answers = [person.ask("GET", _address(page.path)) for page in PAGES if page.method == "GET"]
    answers += [person.ask("POST", _address(page.path)) for page in PAGES if page.method == "POST"]
    answers += [stranger.ask("GET", path) for path in ("/", "/signin", "/live?of=/", "/nothing", "/static/x/y")]
    answers += [person.ask("GET", path) for path in ("/live?of=//[", "/live?of=/nothing", "//evil.example/")]
    answers += [person.ask("POST", "/nothing"), person.ask("DELETE", "/devices")]
    for answer in answers:
        assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.status < 500
        if answer.status == 200:
            assert answer.headers["cache-control"] == "no-store"
        assert b"Traceback" not in answer.body


def test_what_is_not_there_is_a_page_to_browsers_and_a_problem_to_programs(node: Node, person: Person) -> None:
    browser = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
    anybody = Client(operator_app(node))
    for path in ("/v1", "/v1/", "/v1/nothing", "/nothing"):
        for headers in ({"accept": "application/json"}, {"accept": "*/*"}, {}):
            answer = anybody.request("GET", path, headers=headers)
            assert (answer.status, answer.headers["content-type"]) == (404, "application/problem+json"), path
            assert answer.json()["detail"] == f"cannot find {path}"
    of_api = anybody.request("GET", "/v1/nothing", headers=browser)
    assert (of_api.status, of_api.headers["content-type"]) == (404, "application/problem+json")
    shown = person.ask("GET", "/nothing", **browser)
    assert shown.status == 404
    assert b"cannot find a page at /nothing" in shown.body
    assert anybody.request("GET", "/nothing", headers=browser).headers["location"].startswith("/signin")


def test_the_fleet_of_a_cookie_is_shown_only_to_who_sees_it(node: Node) -> None:
    someone = Person(node, "viewer", "viewer")
    someone.sign_in()
    for name in ("other", "", "../default", "x" * 5_000):
        someone.cookies[cookies.FLEET_COOKIE] = name
        page = someone.ask("GET", "/devices")
        assert page.status == 200
        assert b"in fleet default" in page.body


def test_a_body_is_not_read_from_who_may_not_send_it(node: Node) -> None:
    someone = Person(node, "viewer", "viewer")
    someone.sign_in()
    refused = someone.ask("POST", "/publish", {}, **{"content-type": "multipart/form-data", "content-length": "9999"})
    assert refused.status == 403
    assert b"artifacts.publish" in refused.body


def test_forms_have_limits(person: Person) -> None:
    csrf = person.cookies[cookies.CSRF_COOKIE]
    many = urlencode([("csrf", csrf), *((f"f{i}", "") for i in range(guard.MAX_FIELDS + 1))]).encode()
    large = urlencode({"csrf": csrf, "tags": "x" * 70_000}).encode()
    cookie = {"cookie": "; ".join(f"{name}={value}" for name, value in person.cookies.items())}
    for raw, kind, status in (
        (many, FORM, 400),
        (large, FORM, 400),
        (b"{}", "application/json", 400),
        (b"--x\r\n", "multipart/form-data", 400),
        (b"--x\r\nContent-Disposition: form-data; name=a" + b"a" * 9_000, "multipart/form-data; boundary=x", 400),
        (b"x" * ((1 << 20) + 1), FORM, 413),
    ):
        answer = person.client.request("POST", "/add-device", raw=raw, headers={**cookie, "content-type": kind})
        assert answer.status == status, (kind, answer.body[:500])


def test_coming_back_does_not_say_again_what_was_done(person: Person) -> None:
    page = person.ask("GET", "/devices?q=a&done=held").body.decode()
    assert "Device held" in page
    assert 'data-live="/devices?q=a"' in page


def test_pages_cost_the_same_statements_at_any_size(node: Node, person: Person) -> None:
    scope = admin_scope(node)
    catalog(node, scope, "model", "1")
    catalog(node, scope, "other", "1")

    def cost(devices: int, rollout: int) -> dict[str, int]:
        spent = {}
        for path in ("/", "/devices", "/rollouts", f"/rollouts/{rollout}", "/devices/d-0000", "/audit", "/artifacts"):
            with statements(node) as seen:
                assert person.ask("GET", path).status == 200
            spent[path.replace(str(rollout), "N")] = len(seen)
        assert f"{devices:,} devices" in person.ask("GET", "/devices").body.decode()
        return spent

    enroll(node, scope, [f"d-{i:04d}" for i in range(10)], "some")
    first = rollouts.create_rollout(scope, node, NewRollout("model", "1", Target(everyone=True), {}))
    few = cost(10, first.id)
    enroll(node, scope, [f"d-{i:04d}" for i in range(10, 1_000)], "most")
    second = rollouts.create_rollout(scope, node, NewRollout("other", "1", Target(everyone=True), {}))
    assert cost(1_000, second.id) == few
    # A page that nothing wakes is drawn once in AGE_SECONDS: less than a statement a second for each stream.
    assert max(few.values()) < live.AGE_SECONDS, few


def test_streams_are_bounded_and_end_together(node: Node) -> None:
    async def scene() -> None:
        fleet = admin_scope(node).fleet_id
        streams = Streams(most=3, most_of_a_session=2)
        first, second = streams.enter(node, "a", fleet), streams.enter(node, "a", fleet)
        assert first is not None
        assert second is not None
        assert streams.enter(node, "a", fleet) is None
        other = streams.enter(node, "b", fleet)
        assert other is not None
        assert streams.enter(node, "c", fleet) is None
        streams.leave(second)
        assert len(streams) == 2
        streams.close()
        assert first.wake.is_set()
        assert other.wake.is_set()
        assert streams.enter(node, "c", fleet) is None
        await asyncio.wait_for(streams.rest(first, 60), 5)

    asyncio.run(scene())


def test_a_fleet_is_watched_once_for_all_of_its_streams(node: Node) -> None:
    """While nothing changes, a hundred streams cost what one costs, and none is woken."""
    fleet = admin_scope(node).fleet_id

    async def scene() -> int:
        streams = Streams(look_seconds=0.02)
        mine = [streams.enter(node, str(i), fleet) for i in range(100)]
        with statements(node) as seen:
            await asyncio.sleep(0.3)
        assert not any(stream.wake.is_set() for stream in mine if stream)
        # A role that was taken away nudges nobody: the mark tells it.
        await asyncio.to_thread(Person, node, "leaver", "viewer")
        assert mine[0] is not None
        await asyncio.wait_for(mine[0].wake.wait(), 5)
        for stream in mine:
            assert stream is not None
            assert stream.wake.is_set()
            stream.wake.clear()
        node.hub.nudge("rollouts", fleet)
        await asyncio.wait_for(mine[0].wake.wait(), 5)
        streams.close()
        return len(seen)

    # At most fifteen looks, three statements each, and what opens and ends a transaction.
    assert asyncio.run(scene()) <= 16 * 12


def test_changed_rights_are_asked_about_at_once_however_long_a_page_rests(node: Node) -> None:
    scope = admin_scope(node)

    async def scene() -> None:
        streams = Streams(look_seconds=3_600)
        stream = streams.enter(node, "a", scope.fleet_id)
        assert stream is not None
        resting = asyncio.create_task(streams.rest(stream, 3_600))
        await asyncio.sleep(0)  # the watch begins to listen
        node.hub.nudge("people", FleetId(0))
        await asyncio.wait_for(resting, 5)
        streams.close()

    asyncio.run(scene())


def test_the_mark_of_a_fleet_changes_with_what_people_do(node: Node) -> None:
    fleet = admin_scope(node).fleet_id
    before = pulse(node, fleet)
    assert pulse(node, fleet) == before
    Person(node, "newcomer", "viewer")
    assert pulse(node, fleet) != before


def test_a_session_is_no_api_key_and_the_cookie_is_checked(node: Node) -> None:
    someone = Person(node)
    for value in ("", "x", secrets.new_secret(secrets.SESSION_PREFIX), "tgs_" + "é" * 50):
        someone.cookies[cookies.SESSION_COOKIE] = value
        answer = someone.ask("GET", "/audit?actor=a")
        assert (answer.status, answer.headers["location"]) == (303, "/signin?next=/audit%3Factor%3Da")
