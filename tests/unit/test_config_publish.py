"""Publishing a config: the rules of its fields, over the service, the form and the page that shows it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from tests.unit.test_console_edge import Person
from urllib3 import encode_multipart_formdata

from tidegate.control.console import cookies
from tidegate.control.services import artifacts, uploads
from tidegate.control.services.node import Node
from tidegate.errors import Invalid
from tidegate.testing.asgi import Answer
from tidegate.testing.node import admin_scope
from tidegate.wire import descriptor
from tidegate.wire.config import CONFIG_MAX_BYTES
from tidegate.wire.operator.artifacts import PublishArtifact

pytestmark = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)

OPTIONS = {
    "destination": "/etc/app/app.conf",
    "mode": "0640",
    "reload": {"kind": "unit", "unit": "app@main.service"},
}


def publish(node: Node, options: Any, data: bytes = b"level = 3\n", **more: Any) -> artifacts.Artifact:
    scope = admin_scope(node)
    upload = uploads.upload_stream(scope, node, "app.conf", len(data), iter([data]))
    body = {"name": "app", "version": "1", "kind": "config", "files": [{"name": "app.conf", "upload": upload.id}]}
    body |= {} if options is None else {"config": options}
    return artifacts.publish(scope, node, msgspec.convert(body | more, PublishArtifact))


def test_what_is_published_is_what_the_signed_descriptor_says(node: Node) -> None:
    artifact = publish(node, OPTIONS)
    signed = descriptor.decode(artifact.descriptor.encode())
    assert (signed.kind, msgspec.to_builtins(signed.config)) == ("config", OPTIONS)
    assert signed.manifest is None


def test_a_config_needs_nothing_but_its_file(node: Node) -> None:
    assert descriptor.decode(publish(node, None).descriptor.encode()).config is None


@pytest.mark.parametrize(
    ("options", "more", "pointer"),
    [
        ({"destination": "/etc/../root/x"}, {}, "/config/destination"),
        ({"destination": "/proc/self/mem"}, {}, "/config/destination"),
        ({"mode": "0600"}, {}, "/config/mode"),
        ({"reload": {"kind": "program", "argv": ["nginx"]}}, {}, "/config/reload/argv/0"),
        (None, {"manifest": {"framework": "onnx"}}, "/manifest"),
        (None, {"data": b"x" * (CONFIG_MAX_BYTES + 1)}, "/files/0/upload"),
        (OPTIONS, {"kind": "model", "manifest": {"framework": "onnx"}}, "/config"),
    ],
)
def test_what_breaks_a_rule_is_refused_at_its_field_and_nothing_is_published(
    node: Node, options: Any, more: dict[str, Any], pointer: str
) -> None:
    with pytest.raises(Invalid) as refused:
        publish(node, options, **more)
    assert [error.pointer for error in refused.value.errors] == [pointer]
    publish(node, OPTIONS)  # the version is still free


@pytest.mark.parametrize(
    "options",
    [
        {"mode": "4755"},
        {"mode": "0888"},
        {"mode": "644"},
        {"reload": {"kind": "unit", "unit": "-f"}},
        {"reload": {"kind": "unit", "unit": "app"}},
        {"reload": {"kind": "unit", "unit": "../app.service"}},
        {"reload": {"kind": "unit", "unit": "app.service\n"}},
        {"reload": {"kind": "program", "argv": []}},
        {"reload": {"kind": "shell", "text": "true"}},
        {"owner": "root"},
    ],
)
def test_what_is_of_no_known_shape_is_not_even_read(node: Node, options: Any) -> None:
    with pytest.raises(msgspec.ValidationError):
        publish(node, options)


class Form(Person):
    def post(self, fields: dict[str, str], data: bytes) -> Answer:
        self.sign_in()
        told = fields | {"csrf": self.cookies[cookies.CSRF_COOKIE]}
        body, kind = encode_multipart_formdata({**told, "file": ("app.conf", data, "text/plain")})
        sent = {
            "cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "content-type": kind,
        }
        return self.client.request("POST", "/publish", raw=body, headers=sent)


FIELDS = {
    "kind": "config",
    "name": "app",
    "version": "1",
    "destination": "/etc/app/app.conf",
    "mode": "0600",
    "reload_program": "/usr/sbin/app\n-s\nreload\n",
}


def test_the_form_publishes_and_the_page_shows_where_it_goes(node: Node, tmp_path: Path) -> None:
    form = Form(node)
    assert "Destination" in form.sign_in("/publish?kind=config").body.decode()
    done = form.post(FIELDS, b"level = 3\n")
    assert (done.status, done.headers["location"].partition("?")[0]) == (303, "/artifacts/app/1")
    page = form.ask("GET", "/artifacts/app/1").body.decode()
    for said in ("/etc/app/app.conf", "0600", "/usr/sbin/app -s reload"):
        assert said in page
    assert "Framework" not in page


@pytest.mark.parametrize(
    ("field", "value", "rule"),
    [
        ("destination", "/etc//app.conf", "must not end with / or have // in it"),
        ("mode", "rw", "regex"),
        ("reload_unit", "app.service", "must be empty where a unit is given"),
        ("reload_program", "app", "must be an absolute path"),
    ],
)
def test_a_mistake_is_told_at_its_field_and_what_was_typed_stays(node: Node, field: str, value: str, rule: str) -> None:
    page = Form(node).post(FIELDS | {field: value}, b"level = 3\n").body.decode()
    assert 'aria-invalid="true"' in page
    assert rule in page
    assert 'value="/etc/app/app.conf"' in page or field == "destination"
