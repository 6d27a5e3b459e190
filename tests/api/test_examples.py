"""Every example of the OpenAPI document is sent as it stands there, and answered as the document says."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from typing import Any

import jsonschema_rs
import pytest
from tests.api.site import BY_NAME, Site

from tidegate.control.api import openapi, table
from tidegate.control.api.examples import BODIES
from tidegate.control.api.operations import Operation
from tidegate.testing.asgi import Client

#: What cannot be shown as it is sent: each is good for one key, one half minute, or one signer elsewhere.
MADE_FOR_ONE_CALL = {
    "enroll.create", "me.confirm_second_factor", "me.renew_recovery_codes", "me.remove_second_factor", "trust.renew",
}  # fmt: skip
ADMIN = {"name": "admin", "password": "correct horse battery staple"}


def _sign_in(site: Site) -> None:
    if site.call("GET", "/v1/operators/admin").status == 404:
        site.ok("POST", "/v1/operators", {**ADMIN, "roles": [{"role": "admin"}]})


def _as_admin(site: Site) -> None:
    _sign_in(site)
    site.client = Client(site.app, bearer=site.ok("POST", "/v1/sessions", ADMIN)["secret"])


def _rollout(site: Site, **strategy: Any) -> None:
    body = {"artifact": "vad", "version": "2", "target": {"all": True}, "strategy": strategy}
    site.there["rollout"] = str(site.ok("POST", "/v1/rollouts", body)["id"])


def _halted(site: Site) -> None:
    _rollout(site)
    site.ok("POST", f"/v1/rollouts/{site.there['rollout']}/halt", {"reason": "fan noise"})


#: What has to be there before an example makes sense.
FIRST: dict[str, Callable[[Site], object]] = {
    "sessions.create": _sign_in,
    "me.change_password": _as_admin,
    "me.begin_second_factor": _as_admin,
    "rollouts.halt": _rollout,
    "rollouts.resume": _halted,
    "rollouts.approve": lambda site: _rollout(site, approval="manual"),
    "rollouts.abort": _rollout,
}


def in_order(names: Iterable[str]) -> list[str]:
    """What changes the most for the others comes last."""
    last = ("groups.change", "freeze.begin", "me.change_password", "devices.decommission", "settings.replace")
    return sorted(names, key=lambda name: (name in last, name))


def sent(site: Site, name: str, label: str = "") -> Any:
    """The (first) example with what only this node can know: an upload's number, a rollout's generation."""
    examples = BODIES.get(name)
    if examples is None:
        return None
    text = json.dumps(examples[label or next(iter(examples))])
    if "0123456789abcdef0123456789abcdef" in text:
        text = text.replace("0123456789abcdef0123456789abcdef", site.upload())
    said = json.loads(text)
    if "generation" in said:
        said["generation"] = site.ok("GET", f"/v1/rollouts/{site.there['rollout']}")["generation"]
    return said


def test_every_call_with_a_body_has_an_example() -> None:
    taken = {name for name, call in BY_NAME.items() if isinstance(call, Operation) and call.body is not None}
    assert taken - MADE_FOR_ONE_CALL == set(BODIES)


def _wrong(document: Any, described: Any, body: bytes) -> list[str]:
    """What of an answer is not as the document says, formats included."""
    content = described.get("content")
    if content is None:
        return [] if body == b"" else ["a body where none is described"]
    schema = {**content["application/json"]["schema"], "components": document["components"]}
    held = jsonschema_rs.Draft202012Validator(schema, validate_formats=True)
    return [error.message for error in held.iter_errors(json.loads(body))]


@pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)
def test_every_example_is_answered_as_documented(site: Site) -> None:
    document = json.loads(json.dumps(openapi.document(table.calls())))
    walker = site.client
    site.there |= {"operator": "ada", "role": "shift-lead"}  # made by the examples that create
    for name in in_order(BODIES):
        call = BY_NAME[name]
        described = document["paths"][call.path][call.method.lower()]
        for label in described["requestBody"]["content"]["application/json"]["examples"]:
            site.client = walker
            if name in FIRST:
                FIRST[name](site)
            answer = site.call(call.method, site.path(call.path), sent(site, name, label))
            done = next(status for status in described["responses"] if status.startswith("2"))
            assert answer.status == int(done), f"{name} {label!r}: {answer.status} {answer.body!r}"
            assert _wrong(document, described["responses"][done], answer.body) == [], f"{name} {label!r}"
