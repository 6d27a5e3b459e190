"""The operator's commands against a real node: answers, exit codes, talk on standard error, and no secret anywhere."""

from __future__ import annotations

import json
import re
import ssl
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
import pytest
import urllib3

from tidegate.cli import main as cli
from tidegate.cli import output
from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.testing.live import LiveNode
from tidegate.testing.processes import Processes

OK, REFUSED, USAGE, NOT_FOUND, PERMISSION, UNAVAILABLE, UNTRUSTED = range(7)


@dataclass
class Real:
    """A served node, and everything that must appear neither in its log nor in a problem."""

    node: LiveNode
    log: Path
    secrets: dict[str, str] = field(default_factory=dict)
    problems: list[bytes] = field(default_factory=list)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Real]:
    folder = tmp_path_factory.mktemp("operator")
    made = live.initialise(folder / "data")
    with (made.data_dir / "tidegate.toml").open("a") as file:
        file.write('log_level = "debug"\nlog_format = "json"\n')
    with Processes(folder / "logs") as processes:
        live.serve(made, processes)
        yield Real(made, folder / "logs" / "node.log", {"password": made.password})


@dataclass(frozen=True)
class Done:
    code: int
    out: str
    err: str

    @property
    def data(self) -> Any:
        assert self.code == OK, self.err
        return json.loads(self.out)


class Operator:
    """Runs commands in this process, with a home of its own."""

    def __init__(self, real: Real, capsys: pytest.CaptureFixture[str]) -> None:
        self._reach = ("--url", real.node.console_url, "--ca", str(real.node.ca))
        self._capsys = capsys

    def __call__(self, *arguments: str) -> Done:
        self._capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main([*self._reach, *arguments])
        said = self._capsys.readouterr()
        assert isinstance(ended.value.code, int)
        if ended.value.code not in (OK, UNTRUSTED):
            assert said.out == "", "a refusal is talk, not data"
            assert said.err
        return Done(ended.value.code, said.out, said.err)

    def json(self, *arguments: str) -> Any:
        return self("--json", *arguments).data


@pytest.fixture
def run(real: Real, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Operator:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    (tmp_path / "password").write_text(real.node.password + "\n")
    run = Operator(real, capsys)
    assert run("login", "--name", real.node.admin, "--password-file", str(tmp_path / "password")).code == OK
    kept = json.loads((tmp_path / "tidegate" / "contexts.json").read_text())["contexts"].popitem()[1]
    real.secrets[f"session {len(real.secrets)}"] = kept["secret"]
    return run


def _enroll(real: Real, secret: str, name: str) -> Any:
    body = {"token": secret, "device": name, "csr_pem": csr(new_key()), "agent_version": "1"}
    return live.Api(real.node.console_url, real.node.ca).call("POST", "/v1/enroll", body)


def test_tokens_and_devices(real: Real, run: Operator) -> None:
    minted = run("token", "mint", "--tag", "site=a", "--uses", "2")
    secret = minted.out.strip()
    real.secrets["token"] = secret
    assert re.fullmatch(r"tge_[A-Za-z0-9_-]{32}", secret), "the secret alone is the data"
    assert "install.sh" in minted.err
    assert secret not in minted.err
    assert _enroll(real, secret, "cam-1")["device"] == "cam-1"
    (token,) = run.json("token", "list", "--live")["items"]
    assert (token["uses_left"], token["tags"]) == (1, {"site": "a"})
    assert run.json("token", "show", str(token["id"]))["enrolled"] == ["cam-1"]
    assert run("token", "revoke", str(token["id"])).code == OK
    again = run("token", "revoke", str(token["id"]))
    assert (again.code, "revoked before" in again.err) == (REFUSED, True)
    assert run("token", "show", "999").code == NOT_FOUND
    assert run("token", "mint", "--tag", "no-equals-sign").code == REFUSED
    assert run("token", "mint", "--uses", "0").code == USAGE

    listed = run("device", "list", "--tag", "site=a")
    assert "cam-1" in listed.out
    assert "site=a" in listed.out
    assert [one["name"] for one in run.json("device", "list")["items"]] == ["cam-1"]
    assert run.json("device", "tag", "cam-1", "ring=2", "site-")["device"]["tags"] == {"ring": "2"}
    assert run("device", "tag", "cam-1", "neither").code == REFUSED
    assert run("device", "show", "nobody").code == NOT_FOUND
    assert "cam-1" in run("device", "show", "cam-1").out
    assert run.json("device", "hold", "cam-1", "--reason", "bench")["reason"] == "bench"
    row = next(line for line in run("device", "list").out.splitlines() if "cam-1" in line)
    assert ("bench" in row, re.search(r"\dT\d", row)) == (True, None), "why it is held, and times as people read them"
    wrong = run("device", "hold", "cam-1", "--reason", "bench", "--until", "2020-01-01T00:00:00Z")
    assert (wrong.code, "  --until: must" in wrong.err) == (REFUSED, True)
    assert run("device", "release", "cam-1").code == OK
    assert run("device", "release", "cam-1").code == REFUSED
    assert run("fleet", "freeze", "--reason", "holiday").code == OK
    assert run("fleet", "release").code == OK
    recovered = run.json("device", "recover", "cam-1")
    assert recovered["recovers"] is True
    real.secrets["recovery token"] = recovered["secret"]
    assert run("device", "decommission", "cam-1", "--yes").code == OK
    assert run("device", "decommission", "cam-1", "--yes").code == REFUSED
    assert run.json("device", "list", "--state", "decommissioned")["total"] == 1


def test_groups(run: Operator) -> None:
    made = run("group", "create", "lab", "cam-9")
    assert (made.code, "no device is called cam-9" in made.err) == (OK, True)
    assert run("group", "create", "lab").code == REFUSED
    assert "lab" in run("group", "list").out
    assert run.json("group", "list", "--search", "la")["total"] == 1
    assert run.json("group", "add", "lab", "cam-9")["unknown"] == ["cam-9"]
    assert run.json("group", "remove", "lab", "cam-9")["changed"] == 0
    assert run("group", "hold", "lab", "--reason", "bench").code == OK
    held = run("group", "delete", "lab")
    assert (held.code, "while it is held" in held.err) == (REFUSED, True)
    assert run("group", "release", "lab").code == OK
    assert run("group", "delete", "lab").code == OK
    assert run("group", "delete", "lab").code == NOT_FOUND
    assert run("group", "create", "Not A Name").code == REFUSED


def test_artifacts(run: Operator, tmp_path: Path) -> None:
    model = tmp_path / "model.onnx"
    model.write_bytes(b"weights")
    publish = ("artifact", "publish", "vad", "1", str(model), "--framework", "onnx")
    assert run.json(*publish)["version"] == "1"
    again = run(*publish)
    assert (again.code, again.out) == (REFUSED, "")
    assert "vad" in run("artifact", "list").out
    assert run.json("artifact", "show", "vad", "1")["artifact"]["kind"] == "model"
    assert run("artifact", "show", "vad", "2").code == NOT_FOUND
    assert run.json("artifact", "withdraw", "vad", "1", "--reason", "bad")["withdrawn_reason"] == "bad"
    assert run("artifact", "withdraw", "vad", "1", "--reason", "bad").code == REFUSED


def test_trust(run: Operator, tmp_path: Path) -> None:
    status = run("trust", "status")
    assert "timestamp" in status.out
    assert "keys lie on this node" in status.err
    root = tmp_path / "root.json"
    shown = run.json("trust", "export-root", str(root))
    assert len(shown["sha256"]) == 64
    assert run.json("trust", "verify", "--root", str(root))["verified"] is True
    signed = json.loads(root.read_text())
    signed["signed"]["version"] = 7
    root.write_text(json.dumps(signed))
    assert run("trust", "verify", "--root", str(root)).code == UNTRUSTED
    assert run("trust", "verify", "--root", str(tmp_path / "nothing")).code == REFUSED


def test_people_and_keys(real: Real, run: Operator, tmp_path: Path) -> None:
    created = run.json("user", "create", "bob", "--role", "viewer@default")
    real.secrets["bob"] = created["password"]
    assert run("user", "create", "bob").code == REFUSED
    assert "viewer@default" in run("user", "list").out
    assert run.json("user", "set-roles", "bob", "--role", "operator")["roles"] == [{"role": "operator"}]  # for all
    assert run("user", "set-roles", "bob", "--role", "king").code == REFUSED
    assert run("user", "disable", "bob").code == OK
    assert run("user", "enable", "bob").code == OK
    real.secrets["bob again"] = run.json("user", "reset-password", "bob")["password"]
    last = run("user", "disable", real.node.admin)
    assert (last.code, "last admin" in last.err) == (REFUSED, True)
    (tmp_path / "weak").write_text("short")
    weak = run("user", "change-password", "--current-file", str(tmp_path / "password"), "--password-file",
               str(tmp_path / "weak"))  # fmt: skip
    assert (weak.code, "--password-file" in weak.err) == (REFUSED, True)

    kept = tmp_path / "key"
    made = run.json("key", "create", "ci", "--role", "viewer", "--output", str(kept))
    assert "secret" not in made
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    real.secrets["API key"] = kept.read_text().strip()
    assert run("key", "create", "ci", "--role", "viewer").code == REFUSED
    assert "ci" in run("key", "list").out
    makers = {one["created_by"] for noun in ("key", "token") for one in run.json(noun, "list")["items"]}
    assert makers == {f"user:{real.node.admin}"}, "one spelling of who made a thing"
    as_key = ("--key-file", str(kept))
    assert run.json(*as_key, "whoami")["actor"] == "apikey:ci"
    denied = run(*as_key, "group", "create", "mine")
    assert (denied.code, "groups.write" in denied.err) == (PERMISSION, True)
    assert run(*as_key, "--fleet", "other", "device", "list").code == NOT_FOUND
    assert run("key", "revoke", str(made["id"])).code == OK
    assert run(*as_key, "whoami").code == PERMISSION
    assert run("key", "revoke", "999").code == NOT_FOUND


def test_roles_sessions_and_a_second_fleet(run: Operator) -> None:
    assert (
        run("role", "create", "night", "--permission", "rollouts.read", "--permission", "rollouts.fly").code == REFUSED
    )
    made = run.json("role", "create", "night", "--permission", "rollouts.read", "--description", "looks")
    assert (made["permissions"], made["fixed"]) == (["rollouts.read"], False)
    run.json("user", "create", "nia", "--role", "night@default")
    assert [one["actor"] for one in run.json("role", "show", "night")["holders"]] == ["user:nia"]
    refused = run("role", "delete", "night")
    assert refused.code == REFUSED
    assert "user:nia" in refused.err
    run.json("user", "set-roles", "nia")
    assert run("role", "delete", "night").code == OK

    run.json("fleet", "create", "plant-7")
    assert {"default", "plant-7"} <= {one["name"] for one in run.json("fleet", "list")["items"]}
    assert run.json("--fleet", "plant-7", "device", "list")["total"] == 0
    assert run.json("--fleet", "plant-7", "trust", "status")["fleet"] == "plant-7"

    everybody = run.json("session", "list", "--everybody")["items"]
    own = run.json("session", "list")["items"]
    assert {one["id"] for one in own} <= {one["id"] for one in everybody}
    run.json("session", "end-others")
    assert [one["current"] for one in run.json("session", "list")["items"]] == [True]


def test_what_is_mistyped_or_left_out_is_answered_with_what_there_is(run: Operator) -> None:
    for words, code, said in (
        (("devise", "list"), USAGE, "Did you mean 'device'?"),
        (("fleet", "unfreeze"), USAGE, "No such command 'unfreeze'"),
        (("fleet", "freeze", "--reason", "x", "--until", "2027-01-01"), USAGE, "'--until': '2027-01-01' does not say"),
        (("group", "create", "UPPER"), REFUSED, "cannot accept this: NAME must be 1 to 63 lower-case letters"),
        (("group", "change", "lab"), USAGE, "give --rename or --selector"),
        (("api", "GET", "/nope"), NOT_FOUND, "cannot find /nope"),
        (("api", "GET", "/devices"), NOT_FOUND, "it is a page of the console"),
        (("device", "list", "--fleet", "nowhere"), NOT_FOUND, "cannot find the fleet nowhere"),
        (("device", "list", "--fleet=nowhere"), NOT_FOUND, "cannot find the fleet nowhere"),
        (("device", "list", "--every", "--cursor", "x"), USAGE, "--every or --cursor"),
    ):
        done = run(*words)
        assert (done.code, said in done.err) == (code, True), (words, done.err)


def test_a_whole_list_is_walked_over_all_its_pages(run: Operator) -> None:
    for number in range(3):
        run("group", "create", f"page-{number}")
    page = run.json("group", "list", "--search", "page-", "--limit", "2")
    assert (len(page["items"]), page["total"]) == (2, 3)
    assert page["next_cursor"]
    whole = run.json("group", "list", "--search", "page-", "--limit", "2", "--every")
    assert [one["name"] for one in whole["items"]] == ["page-0", "page-1", "page-2"]
    assert (whole["total"], whole["next_cursor"]) == (3, None)


def test_the_fleet_and_the_node_say_how_they_are(run: Operator) -> None:
    frozen = run.json("fleet", "freeze", "--reason", "storm", "--until", "2090-01-01T01:00:00+01:00")
    assert frozen["hold"]["until"] == "2090-01-01T00:00:00Z"
    shown = run.json("fleet", "show")
    assert (shown["name"], shown["hold"]["reason"]) == ("default", "storm")
    assert shown["devices"] == run.json("device", "counts")
    assert run("fleet", "release").code == OK
    assert run.json("fleet", "show")["hold"] is None
    status = run.json("node", "status")
    assert status["ready"] is True
    assert "convenience-trust-domain" in {one["kind"] for one in status["warnings"]}
    assert json.loads(run("node", "openapi").out)["openapi"].startswith("3.")
    assert run.json("audit", "key")["public_key"].startswith("-----BEGIN PUBLIC KEY-----")
    assert run.json("user", "show", "admin")["name"] == "admin"


def test_audit(run: Operator, tmp_path: Path) -> None:
    assert "session.begin" in run("audit", "list", "--node").out
    assert all(one["action"].startswith("session.") for one in
               run.json("audit", "list", "--node", "--action", "session.*")["items"])  # fmt: skip
    assert run("audit", "list", "--since", "yesterday").code == USAGE
    assert run.json("audit", "verify", "--node")["verified"] is True
    assert run("audit", "verify", "--node").out.endswith("\n")
    export = tmp_path / "export.jsonl"
    assert run.json("audit", "export", "--node", str(export))["records"] > 0
    assert run("audit", "export", "--node", str(export)).code == REFUSED
    assert run("audit", "verify", str(export), "--signature", f"{export}.sig").code == OK
    export.write_bytes(export.read_bytes().replace(b"user:admin", b"user:nobody", 1))
    broken = run("audit", "verify", str(export))
    assert (broken.code, "first broken record" in broken.err) == (UNTRUSTED, True)


def test_words_of_others_do_nothing_to_the_terminal() -> None:
    assert output.text("\x1b]0;owned\x07\x9b2J ok\tyes") == "\\x1b]0;owned\\x07\\x9b2J ok\tyes"


def _commands(command: click.Command, name: str = "tidegate") -> Iterator[tuple[str, click.Command]]:
    yield name, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None
            yield from _commands(found, f"{name} {inner}")


def test_no_command_takes_a_secret_as_an_argument() -> None:
    walked = list(_commands(cli.program))
    assert len(walked) > 40
    for name, command in walked:
        assert command.help or command.callback is None, name
        for parameter in command.params:
            said = parameter.name or ""
            if re.search(r"password|secret|(^|_)token$|(^|_)key$|csr", said):
                assert said.endswith("_file") or said in ("public_key",), f"{name} takes {said} on the command line"


# -- last: after all of the above was done to this node ---------------------------------------------------------------


def _provoke(real: Real) -> None:
    """Mistakes of every kind, with secrets where they do not belong."""
    pool = urllib3.PoolManager(ca_certs=str(real.node.ca), cert_reqs=ssl.CERT_REQUIRED, retries=False)
    session = live.Api(real.node.console_url, real.node.ca).call(
        "POST", "/v1/sessions", {"name": real.node.admin, "password": real.node.password}
    )["secret"]
    real.secrets["API session"] = session
    bearer = {"authorization": f"Bearer {session}", "content-type": "application/json"}
    password = real.node.password
    for method, path, headers, body in (
        ("POST", "/v1/sessions", {}, {"name": password[:64], "password": password}),
        ("POST", "/v1/sessions", {}, {"name": real.node.admin, "password": [password]}),
        ("POST", "/v1/sessions", {}, {"name": real.node.admin, "password": "x" + password}),
        ("GET", f"/v1/me?token={session}", {}, None),
        ("GET", "/v1/me", {"authorization": f"Bearer {session}x"}, None),
        ("GET", "/v1/me", {"authorization": f"Basic {session}"}, None),
        ("GET", "/v1/devices", {**bearer, "cookie": f"__Host-tidegate={session}"}, None),
        ("GET", "/v1/nothing", bearer, None),
        ("POST", "/v1/enroll", {}, {"token": password[:64], "csr_pem": "x", "agent_version": ""}),
        ("POST", "/v1/me/password", bearer, {"current": "x" + password, "password": password}),
        ("POST", "/v1/operators", bearer, {"name": "carol", "password": session[:5]}),
        ("POST", "/v1/rollouts", bearer, {"artifact": "vad", "version": "1", "target": {"devices": ["nobody"]}}),
        ("PATCH", "/v1/uploads/0", bearer, {}),
    ):  # fmt: skip
        sent = {"content-type": "application/json", **headers}
        answer = pool.request(
            method, real.node.console_url + path, headers=sent, body=None if body is None else json.dumps(body)
        )
        if answer.status >= 400:
            real.problems.append(answer.data)


def _private(folder: Path) -> dict[str, str]:
    """A line of each private key that no other file has."""
    found = {}
    for path in (*folder.rglob("*.pem"), *folder.rglob("*.key")):
        text = path.read_text()
        if "PRIVATE KEY" in text:
            found[path.name] = text.splitlines()[1][-40:]
    return found


def test_no_secret_is_in_the_log_or_in_a_problem(real: Real) -> None:
    _provoke(real)
    assert len(real.problems) > 8
    keys = _private(real.node.data_dir)
    assert len(keys) >= 6
    log = real.log.read_text()
    assert '"path": "/v1/me"' in log, "the log is not the one of this node"
    told = log + b"\n".join(real.problems).decode()
    for name, secret in {**real.secrets, **keys}.items():
        assert len(secret) >= 20
        assert secret not in told, f"{name} is in the log or in a problem"
    assert "Traceback" not in log
