"""A node that is asked in this process, with something of everything that a path can name."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

from starlette.applications import Starlette

from tidegate.control.api import names, parameters, problems, table
from tidegate.control.api.operations import routes
from tidegate.control.domain.access import EVERY_FLEET, Grant
from tidegate.control.services import secrets
from tidegate.control.services.node import Node
from tidegate.control.store import engine, people, sessions
from tidegate.testing.asgi import Answer, Client
from tidegate.testing.channel import csr, new_key

NAMES = {key: str(name) for key, name in names.names(table.calls()).items()}
BY_NAME = {NAMES[call.method, call.path]: call for call in table.calls()}


@dataclass
class Site:
    """A node in this process, asked as an administrator, and something of everything that a path can name."""

    node: Node
    app: Starlette
    secret: str
    client: Client
    made: int = 0
    there: dict[str, str] = field(default_factory=dict)
    #: What was made ahead, by a name that the test gives it.
    remaining: dict[str, list[str]] = field(default_factory=dict)

    def call(self, method: str, path: str, body: Any = None) -> Answer:
        return self.client.request(method, path, body=body)

    def ok(self, method: str, path: str, body: Any = None) -> Any:
        answer = self.call(method, path, body)
        assert answer.status < 300, f"{method} {path}: {answer.status} {answer.body!r}"
        return answer.json() if answer.body else None

    def new(self) -> str:
        self.made += 1
        return f"n{self.made:04}"

    def enroll(self, name: str) -> str:
        minted = self.ok("POST", "/v1/tokens", {"device_name": name})
        self.ok("POST", "/v1/enroll", {"token": minted["secret"], "device": name, "csr_pem": csr(new_key()),
                                       "agent_version": "1", "hardware": {"arch": "arm64"}})  # fmt: skip
        return name

    def upload(self, data: bytes = b"x") -> str:
        made = self.ok("POST", "/v1/uploads", {"file_name": "m.onnx", "length": len(data)})["id"]
        self.client.request("PATCH", f"/v1/uploads/{made}?offset=0", raw=data)
        return str(made)

    def artifact(self, name: str, version: str = "1") -> Any:
        file = {"name": "m.onnx", "upload": self.upload()}
        body = {"name": name, "version": version, "files": [file], "manifest": {"framework": "onnx"}}
        return self.ok("POST", "/v1/artifacts", body)

    def path(self, path: str) -> str:
        return path.format(**{name: self.there.get(name, "999999") for name in parameters.of_path(path)})


def session(node: Node, name: str) -> str:
    """The session of a new administrator."""
    with node.db.write() as tx:
        now = engine.now(tx)
        operator = people.insert_operator(tx, name, "x", now)
        people.replace_grants(tx, operator, [Grant("admin", EVERY_FLEET)])
        secret = secrets.new_secret(secrets.SESSION_PREFIX)
        record = sessions.SessionRecord(
            secret_sha256=secrets.digest(secret), operator_id=operator, csrf_sha256=secrets.digest("c"), created_at=now,
            expires_at=now + timedelta(days=1), last_used_at=now, user_agent="",
        )  # fmt: skip
        sessions.insert_session(tx, record)
    return secret


def furnished(node: Node) -> Site:
    handlers: Any = {404: problems.on_http_exception, 405: problems.on_http_exception}
    app = Starlette(routes=routes(node, table.calls()), exception_handlers=handlers)
    secret = session(node, "walker")
    made = Site(node, app, secret, Client(app, bearer=secret))
    for name in ("cam-1", "cam-2", "cam-3"):
        made.enroll(name)
    made.artifact("vad")
    made.artifact("vad", "2")
    made.ok("POST", "/v1/groups", {"name": "lab", "devices": ["cam-1"]})
    made.ok("PUT", "/v1/channels/vad/stable", {"version": "1", "reason": "first"})
    rollout = made.ok("POST", "/v1/rollouts", {"artifact": "vad", "version": "1", "target": {"all": True}})
    made.there = {"device": "cam-1", "group": "lab", "name": "vad", "artifact": "vad", "version": "1",
                  "channel": "stable", "rollout": str(rollout["id"])}  # fmt: skip
    return made
