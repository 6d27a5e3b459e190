"""Enrollment, installer files, devices and groups over HTTP."""

from __future__ import annotations

import hashlib
import shlex

import pytest
from starlette.applications import Starlette

from tidegate.control.api import devices, enrollment, groups
from tidegate.control.api.operations import operations_of, routes
from tidegate.control.domain.access import Scope
from tidegate.control.services.node import Node
from tidegate.testing.asgi import Client
from tidegate.testing.channel import csr, mint, new_key
from tidegate.testing.node import admin_scope, api_key

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def scope(node: Node) -> Scope:
    return admin_scope(node)


@pytest.fixture
def admin(node: Node) -> Client:
    return Client(app(node), bearer=api_key(node))


def app(node: Node) -> Starlette:
    return Starlette(routes=routes(node, operations_of((devices, enrollment, groups))))


def asked(token: str, name: str | None = "cam-1") -> dict[str, object]:
    body = {"token": token, "csr_pem": csr(new_key()), "agent_version": "0.1.0", "hardware": {"arch": "x86_64"}}
    return body if name is None else {**body, "device": name}


def test_a_device_enrolls_with_what_an_operator_minted(node: Node, admin: Client) -> None:
    made = admin.request("POST", "/v1/tokens", body={"device_name": "cam-1", "tags": {"site": "a"}})
    assert made.status == 201
    answer = Client(app(node)).request("POST", "/v1/enroll", body=asked(made.json()["secret"], None))
    assert answer.status == 201
    given = answer.json()
    assert (given["device"], given["fleet"]) == ("cam-1", "default")
    assert given["channel_url"] == node.settings.effective_channel_url
    assert given["ca_bundle_pem"] == node.keyring.server_ca_pem().decode()
    root = Client(app(node)).request("GET", "/install/root.json")
    assert root.body.decode() in given["root_chain"]
    token = admin.request("GET", f"/v1/tokens/{made.json()['id']}").json()
    assert (token["state"], token["uses_left"], token["enrolled"]) == ("spent", 0, ["cam-1"])
    assert made.json()["secret"] not in admin.request("GET", "/v1/tokens").body.decode()


def test_the_printed_command_carries_the_hash_of_every_file_that_is_served(node: Node, admin: Client) -> None:
    made = admin.request("POST", "/v1/tokens", body={"device_name": "cam-1"}).json()
    public = Client(app(node))
    command = made["installer"]["command"]
    words = shlex.split(command)
    for option, file in (
        ("--installer-sha256", "install.sh"),
        ("--ca-sha256", "server-ca.pem"),
        ("--agent-sha256", "tidegate-agent.pyz"),
        ("--root-sha256", "root.json"),
    ):
        served = public.request("GET", f"/install/{file}")
        assert served.status == 200
        assert words[words.index(option) + 1] == hashlib.sha256(served.body).hexdigest()
    assert words[words.index("--name") + 1] == "cam-1"
    assert made["secret"] not in command
    assert command.index("sha256sum -c") < command.index("sudo sh")
    assert public.request("GET", "/install/root.json?fleet=nowhere").status == 404
    assert public.request("GET", "/install/../tidegate.toml").status == 404


@pytest.mark.parametrize(
    ("change", "status", "pointer"),
    [
        ({"csr_pem": "x"}, 422, "/csr_pem"),
        ({"csr_pem": "x" * 8193}, 422, "/csr_pem"),
        ({"device": "Cam 1"}, 422, "/device"),
        ({"colour": "red"}, 422, "/colour"),
        ({"token": "short"}, 422, "/token"),
        ({"hardware": {"ram_bytes": -1}}, 422, "/hardware/ram_bytes"),
    ],
)
def test_bad_input_names_its_field(
    node: Node, scope: Scope, change: dict[str, object], status: int, pointer: str
) -> None:
    answer = Client(app(node)).request("POST", "/v1/enroll", body={**asked(mint(scope, node)), **change})
    assert (answer.status, answer.json()["errors"][0]["pointer"]) == (status, pointer)


def test_failures_are_counted_by_address_and_successes_are_not(node: Node, scope: Scope) -> None:
    here, there = Client(app(node), client="192.0.2.1"), Client(app(node), client="192.0.2.2")
    for n in range(25):
        assert here.request("POST", "/v1/enroll", body=asked(mint(scope, node), f"cam-{n}")).status == 201
    for _ in range(20):
        refused = here.request("POST", "/v1/enroll", body=asked("tge_wrong-wrong-wrong"))
        assert (refused.status, refused.json()["type"]) == (401, "/problems/token-unknown")
    limited = here.request("POST", "/v1/enroll", body=asked(mint(scope, node), "cam-99"))
    assert limited.status == 429
    assert int(limited.headers["retry-after"]) > 0
    assert there.request("POST", "/v1/enroll", body=asked(mint(scope, node), "cam-99")).status == 201


def test_devices_are_found_counted_tagged_held_and_ended(node: Node, scope: Scope, admin: Client) -> None:
    public = Client(app(node))
    for n in range(5):
        token = mint(scope, node, tags={"site": "a" if n < 3 else "b"})
        assert public.request("POST", "/v1/enroll", body=asked(token, f"cam-{n}")).status == 201
    page = admin.request("GET", "/v1/devices?limit=2").json()
    assert ([one["name"] for one in page["items"]], page["total"]) == (["cam-0", "cam-1"], 5)
    following = admin.request("GET", f"/v1/devices?limit=2&cursor={page['next_cursor']}").json()
    assert [one["name"] for one in following["items"]] == ["cam-2", "cam-3"]
    assert admin.request("GET", "/v1/devices?tags=site=b").json()["total"] == 2
    assert admin.request("GET", "/v1/devices?search=m-4").json()["total"] == 1
    assert admin.request("GET", "/v1/devices?search=%25").json()["total"] == 0
    assert admin.request("GET", "/v1/devices?presence=never").json()["total"] == 5
    assert admin.request("GET", "/v1/devices?drifted=true").json()["total"] == 0
    assert admin.request("GET", "/v1/devices?group=lab").status == 404
    assert admin.request("GET", "/v1/devices?tags=site").json()["errors"][0]["pointer"] == "/tags"
    tagged = admin.request("PATCH", "/v1/devices/cam-0/tags", body={"put": {"ring": "1"}, "remove": ["site"]})
    assert tagged.json()["device"]["tags"] == {"ring": "1"}
    assert admin.request("PATCH", "/v1/devices/cam-0/tags", body={"put": {"x": "1"}, "remove": ["x"]}).status == 422
    assert admin.request("PUT", "/v1/devices/cam-1/hold", body={"reason": "in repair"}).status == 200
    assert [one["name"] for one in admin.request("GET", "/v1/devices?held=true").json()["items"]] == ["cam-1"]
    assert (
        admin.request("PUT", "/v1/devices/cam-1/hold", body={"reason": "x", "until": "2020-01-01T00:00:00Z"}).status
        == 422
    )
    assert admin.request("DELETE", "/v1/devices/cam-1/hold").status == 204
    assert admin.request("DELETE", "/v1/devices/cam-1/hold").status == 409
    wrong = admin.request("POST", "/v1/devices/cam-4/decommission", body={"confirm": "cam-3"})
    assert (wrong.status, wrong.json()["errors"][0]["pointer"]) == (422, "/confirm")
    assert admin.request("POST", "/v1/devices/cam-4/decommission", body={"confirm": "cam-4"}).status == 204
    assert admin.request("GET", "/v1/device-counts").json() == {
        "total": 4, "online": 0, "offline": 0, "never": 4, "held": 0, "decommissioned": 1, "drifted": 0, "conflict": 0,
    }  # fmt: skip
    assert admin.request("POST", "/v1/devices/cam-3/recover", body={}).json()["recovers"]
    assert admin.request("POST", "/v1/devices/nobody/recover", body={}).status == 404


def test_groups_take_names_and_report_the_unknown(node: Node, scope: Scope, admin: Client) -> None:
    for n in range(3):
        assert Client(app(node)).request("POST", "/v1/enroll", body=asked(mint(scope, node), f"cam-{n}")).status == 201
    made = admin.request("POST", "/v1/groups", body={"name": "lab", "devices": ["cam-0", "cam-9", "cam-0"]})
    assert made.status == 201
    assert (made.json()["changed"], made.json()["unknown"], made.json()["group"]["size"]) == (1, ["cam-9"], 1)
    assert admin.request("POST", "/v1/groups", body={"name": "lab"}).status == 409
    assert admin.request("POST", "/v1/groups", body={"name": "Lab"}).status == 422
    added = admin.request("POST", "/v1/groups/lab/add", body={"devices": ["cam-0", "cam-1", "cam-2"]}).json()
    assert (added["changed"], added["group"]["size"]) == (2, 3)
    taken = admin.request("POST", "/v1/groups/lab/remove", body={"devices": ["cam-2", "nobody"]}).json()
    assert (taken["changed"], taken["unknown"], taken["group"]["size"]) == (1, ["nobody"], 2)
    assert admin.request("GET", "/v1/devices?group=lab").json()["total"] == 2
    assert admin.request("PUT", "/v1/groups/lab/hold", body={"reason": "moving house"}).status == 200
    assert admin.request("GET", "/v1/devices/cam-0").json()["holds"][0]["subject"] == "group lab"
    assert admin.request("DELETE", "/v1/groups/lab").status == 409
    assert admin.request("DELETE", "/v1/groups/lab/hold").status == 204
    assert admin.request("DELETE", "/v1/groups/lab").status == 204
    assert admin.request("GET", "/v1/groups/lab").status == 404
    assert admin.request("PUT", "/v1/freeze", body={"reason": "holidays"}).json()["hold"]["reason"] == "holidays"
    assert admin.request("GET", "/v1/devices/cam-0").json()["holds"][0]["subject"] == "fleet default"
    assert admin.request("DELETE", "/v1/freeze").status == 204
    assert admin.request("GET", "/v1/freeze").json()["hold"] is None
