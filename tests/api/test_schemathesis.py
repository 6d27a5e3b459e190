"""Calls that nobody here thought of: made by schemathesis from the OpenAPI document, sent to a running node.

Every operation of the table, as an administrator, as a viewer and as nobody: no answer is a server error, each is in
the document (status, content type, body), none takes long, and what breaks a rule of the document is refused.

A seed that is always the same and few examples, so that it ends soon; TIDEGATE_SCHEMATHESIS=200 asks 200 questions an
operation and shrinks what fails.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hypothesis
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis import Case, GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    negative_data_rejection,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from tidegate.control.api import names, openapi, table
from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.testing.processes import Processes

pytestmark = pytest.mark.slow

EXAMPLES = int(os.environ.get("TIDEGATE_SCHEMATHESIS", "0"))
SEED = 20260
#: No call may take longer, on a machine that does other things as well.
SECONDS = 15
CHECKS = [
    not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance,
    response_headers_conformance,
]  # fmt: skip
#: Sends the credential of whoever asks away, so that the next question would be another.
NOT_ASKED = {("DELETE", "/v1/sessions/{session}")}
CALLS = [call for call in table.calls() if (call.method, call.path) not in NOT_ASKED]
NAMES = names.names(table.calls())


@dataclass(frozen=True)
class Asked:
    """A running node with something of everything, and who asks it."""

    url: str
    schema: Any
    callers: dict[str, requests.Session]


@pytest.fixture(scope="module")
def asked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Asked]:
    folder = tmp_path_factory.mktemp("schemathesis")
    node = live.initialise(folder / "node", log_format="json")
    with Processes(folder / "logs") as processes:
        live.serve(node, processes)
        api = node.sign_in()
        secrets = {"admin": api.call("POST", "/v1/sessions", {"name": node.admin, "password": node.password})["secret"]}
        api.call("POST", "/v1/api-keys", {"name": "spare", "role": "viewer"})  # what key 1 is, and may be revoked
        secrets["viewer"] = api.call("POST", "/v1/api-keys", {"name": "viewer", "role": "viewer"})["secret"]
        _furnish(api, folder)
        document = json.loads(json.dumps(openapi.document(table.calls())))
        schema = schemathesis.openapi.from_dict(document)
        yield Asked(node.console_url, schema, {name: _session(node.ca, secrets.get(name)) for name in _CALLERS})
        assert processes.exit_code("node") is None, processes.tail("node")
        log = (folder / "logs" / "node.log").read_text()
        assert "unforeseen error" not in log
        assert '"defect"' not in log


_CALLERS = ("admin", "viewer", "nobody")


def _session(ca: Path, secret: str | None) -> requests.Session:
    session = requests.Session()
    session.trust_env = False
    session.verify = str(ca)
    if secret:
        session.headers["Authorization"] = f"Bearer {secret}"
    return session


def _furnish(api: live.Api, folder: Path) -> None:
    """One of everything that a path can name."""
    minted = api.call("POST", "/v1/tokens", {"device_name": "cam-1", "tags": {"site": "a"}})
    body = {"token": minted["secret"], "device": "cam-1", "csr_pem": csr(new_key()), "agent_version": "1"}
    api.call("POST", "/v1/enroll", body)
    api.call("POST", "/v1/groups", {"name": "lab", "devices": ["cam-1"]})
    api.call("POST", "/v1/operators", {"name": "ada"})
    model = folder / "vad.onnx"
    model.write_bytes(b"weights")
    for version in ("1", "2"):
        live.publish(api, "vad", version, model)
    api.call("POST", "/v1/uploads", {"file_name": "late.onnx", "length": 10})
    rollout = {"artifact": "vad", "version": "1", "target": {"all": True}}
    api.call("POST", "/v1/rollouts", rollout)


_THERE = {
    "device": "cam-1", "group": "lab", "operator": "ada", "name": "vad", "artifact": "vad", "version": "1",
    "rollout": 1, "token": 1, "key": 1, "fleet": "default", "role": "viewer", "channel": "stable",
    "file": "timestamp.json",
}  # fmt: skip


def _ask(asked: Asked, caller: str, case: Case, *, there: bool, checks: list[Any]) -> requests.Response:
    """Send one case, most often to things that are there and in the fleet that is there."""
    if there:
        case.path_parameters.update({name: _THERE[name] for name in case.path_parameters if name in _THERE})
        case.query.pop("fleet", None)
        case.query.pop("cursor", None)
    session = asked.callers[caller]
    sent = {"session": session, "verify": session.verify, "timeout": SECONDS, "allow_redirects": False}
    response = case.call(base_url=asked.url, **sent)
    case.validate_response(response, checks=checks)
    return response


def _settings(examples: int) -> settings:
    deep = bool(EXAMPLES)
    return settings(
        max_examples=EXAMPLES or examples, database=None,
        phases=[Phase.generate, Phase.shrink] if deep else [Phase.generate], suppress_health_check=list(HealthCheck),
    )  # fmt: skip


@pytest.mark.parametrize("call", CALLS, ids=lambda call: str(NAMES[call.method, call.path]))
def test_every_operation(asked: Asked, call: Any) -> None:
    operation = asked.schema[call.path][call.method]
    right = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    wrong = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)
    inputs = bool(call.query or "{" in call.path or getattr(call, "body", None))

    @hypothesis.seed(SEED)
    @_settings(6 if inputs else 1)
    @given(case=right, there=st.sampled_from([True, True, False]))
    def as_described(case: Case, there: bool) -> None:
        _ask(asked, "admin", case, there=there, checks=CHECKS)

    @hypothesis.seed(SEED)
    @_settings(5)
    @given(case=wrong)
    def against_the_rules(case: Case) -> None:
        _ask(asked, "admin", case, there=False, checks=[*CHECKS, negative_data_rejection])

    @hypothesis.seed(SEED)
    @_settings(1)
    @given(case=right)
    def without_leave(case: Case) -> None:
        seen = _ask(asked, "viewer", case, there=True, checks=CHECKS)
        assert seen.status_code != 401 or call.public, "a viewer is somebody"
        if not call.public:
            refused = _ask(asked, "nobody", case, there=True, checks=CHECKS)
            # An address with U+0000 is not read far enough to ask who sends it.
            assert refused.status_code in (401, 400), refused.text

    as_described()
    if inputs or not call.public:
        against_the_rules()
    without_leave()
