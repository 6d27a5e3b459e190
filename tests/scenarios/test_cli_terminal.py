"""The command line as a person meets it: signing in at a terminal, shells that complete, watching, pipes that close."""

from __future__ import annotations

import json
import os
import re
import shutil
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.scenarios.terminal import Terminal

from tidegate.testing import live
from tidegate.testing.channel import csr, new_key
from tidegate.testing.live import Api, LiveNode
from tidegate.testing.processes import Processes

pytestmark = pytest.mark.slow
BIN = Path(sys.executable).parent


class Person:
    """An operator's machine: a home of its own, and the programs of this checkout in its PATH."""

    def __init__(self, node: LiveNode, folder: Path) -> None:
        self.node, self.folder = node, folder
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE", "XDG_", "_TIDE"))}
        path = {"PATH": f"{BIN}:{os.environ['PATH']}", "HOME": str(folder), "LANG": "C.UTF-8"}
        self.environment = {**kept, **path, "XDG_CONFIG_HOME": str(folder / "config")}
        self.password = folder / "password"
        self.password.write_text(node.password)

    def run(self, *arguments: str, **more: Any) -> subprocess.CompletedProcess[str]:
        command = [str(BIN / "tidegate"), *arguments]
        given = {"env": self.environment, "stdin": subprocess.DEVNULL, **more}
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False, **given)

    def terminal(self, *command: str, **more: Any) -> Terminal:
        return Terminal(command, self.environment, **more)

    def sign_in(self) -> None:
        ca = ("--ca", str(self.node.ca), "--url", self.node.console_url)
        done = self.run(*ca, "login", "--name", self.node.admin, "--password-file", str(self.password))
        assert done.returncode == 0, done.stderr

    @property
    def contexts(self) -> Path:
        return self.folder / "config" / "tidegate" / "contexts.json"


@pytest.fixture(scope="module")
def processes(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    with Processes(tmp_path_factory.mktemp("logs")) as made:
        yield made


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory, processes: Processes) -> LiveNode:
    folder = tmp_path_factory.mktemp("terminal")
    made = live.initialise(folder / "node")
    live.serve(made, processes)
    api = made.sign_in()
    for name in ("cam-1", "cam-2", "boat-1"):
        minted = api.call("POST", "/v1/tokens", {"device_name": name})
        body = {"token": minted["secret"], "device": name, "csr_pem": csr(new_key()), "agent_version": "1"}
        api.call("POST", "/v1/enroll", body)
    model = folder / "vad.onnx"
    model.write_bytes(b"weights")
    live.publish(api, "vad", "1", model)
    return made


@pytest.fixture
def person(node: LiveNode, tmp_path: Path) -> Person:
    return Person(node, tmp_path)


def _waiting(api: Api) -> int:
    body = {"artifact": "vad", "version": "1", "target": {"all": True},
            "strategy": {"waves": [{"percent": 100, "approval": "manual"}]}}  # fmt: skip
    return int(api.call("POST", "/v1/rollouts", body)["id"])


# -- signing in -------------------------------------------------------------------------------------------------------


def _fingerprint(ca: Path) -> str:
    made = subprocess.run(
        ["openssl", "x509", "-in", str(ca), "-noout", "-fingerprint", "-sha256"],
        capture_output=True, text=True, check=True,
    )  # fmt: skip
    return made.stdout.partition("=")[2].strip()


def test_a_ca_is_pinned_once_its_fingerprint_was_confirmed(person: Person, node: LiveNode) -> None:
    login = [str(BIN / "tidegate"), "--url", node.console_url, "login", "--name", node.admin]
    wanted = _fingerprint(node.ca).replace(":", "").lower()
    with person.terminal(*login) as terminal:
        assert wanted in terminal.until("Trust this node from now on?")
        terminal.type("n\n")
        assert terminal.ended() == 1
    assert not person.contexts.exists()
    with person.terminal(*login) as terminal:
        terminal.until("Trust this node from now on?")
        terminal.type("y\n")
        terminal.until("Password:")
        terminal.type(node.password + "\n")
        said = terminal.until("signed in as admin until ")
        assert re.search(r"UTC, in \d+ (hours|days)", said)
        assert node.password not in said
        assert terminal.ended() == 0
    assert stat.S_IMODE(person.contexts.stat().st_mode) == 0o600
    assert json.loads(person.run("--json", "whoami").stdout)["actor"] == "user:admin"
    assert json.loads(person.run("context", "list", "--json").stdout)[0]["url"] == node.console_url


def test_where_nobody_can_confirm_the_fingerprint_must_be_given(person: Person, node: LiveNode) -> None:
    login = ("--url", node.console_url, "login", "--name", node.admin, "--password-file", str(person.password))
    asked = person.run(*login)
    assert asked.returncode == 6
    assert "--fingerprint" in asked.stderr
    other = person.run(*login, "--fingerprint", "0" * 64)
    assert (other.returncode, "not the one given" in other.stderr) == (6, True)
    assert person.run(*login, "--fingerprint", "short").returncode == 1
    assert not person.contexts.exists()
    assert person.run(*login, "--fingerprint", _fingerprint(node.ca)).returncode == 0
    assert person.run("whoami").returncode == 0


def test_a_session_ends_on_the_node_when_one_signs_out(person: Person, node: LiveNode) -> None:
    person.sign_in()
    (kept,) = json.loads(person.contexts.read_text())["contexts"].values()
    assert person.run("logout").returncode == 0
    assert kept["secret"] not in person.contexts.read_text()
    with pytest.raises(live.ApiError, match="unauthenticated"):
        Api(node.console_url, node.ca, kept["secret"]).call("GET", "/v1/me")
    out = person.run("device", "list")
    assert (out.returncode, "tidegate login" in out.stderr) == (4, True)
    # The node stays pinned: signing in again asks nothing.
    login = ("--url", node.console_url, "login", "--name", node.admin, "--password-file", str(person.password))
    assert person.run(*login).returncode == 0


def test_sessions_that_ended_and_files_that_others_may_read_are_said(person: Person) -> None:
    person.sign_in()
    kept = json.loads(person.contexts.read_text())
    (context,) = kept["contexts"].values()
    context["expires_at"] = "2020-01-01T00:00:00Z"
    person.contexts.write_text(json.dumps(kept))
    ended = person.run("whoami")
    assert ended.returncode == 4
    assert re.search(r"it ended \d+ days ago; sign in with tidegate login", ended.stderr)
    person.contexts.chmod(0o644)
    assert "chmod 600" in person.run("whoami").stderr
    person.contexts.chmod(0o600)
    person.contexts.write_text("{")
    assert "sign in again with tidegate login" in person.run("whoami").stderr
    nowhere = person.run("--context", "nowhere", "whoami")
    assert nowhere.returncode in (1, 3)


# -- shells -----------------------------------------------------------------------------------------------------------


def _bash(person: Person, line: str) -> str:
    words = line.split(" ")
    script = (
        'eval "$(tidegate completion bash 2>/dev/null)"\n'
        f"COMP_WORDS=({line}) COMP_CWORD={len(words) - 1}\n"
        f'_tidegate_completion tidegate "{words[-1]}" && printf "%s\\n" "${{COMPREPLY[@]}}"'
    )
    made = subprocess.run(
        ["bash", "--norc", "-c", script],
        env=person.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert made.stderr == ""
    return made.stdout


def _fish(person: Person, line: str) -> str:
    script = f"tidegate completion fish 2>/dev/null | source; complete -C {json.dumps(line)}"
    made = subprocess.run(
        ["fish", "--no-config", "-c", script],
        env=person.environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert made.stderr == ""
    return made.stdout


def _zsh(person: Person, line: str) -> str:
    """Typed at a prompt, as zsh completes nowhere else."""
    with person.terminal("zsh", "-f", "-i") as terminal:
        terminal.type(
            "autoload -U compinit && compinit -u -D; setopt no_beep list_ambiguous; zstyle ':completion:*' menu no\n"
        )
        terminal.type('eval "$(tidegate completion zsh 2>/dev/null)"; PS1=; echo rea""dy\n')
        terminal.until("ready\n")
        terminal.type(line + "\t")
        # One that is left is put into the line, several are listed below it.
        return terminal.until("cam-2" if line.endswith("cam-") else "rollout")


SHELLS = {"bash": _bash, "fish": _fish, "zsh": _zsh}


@pytest.mark.parametrize("shell", SHELLS)
def test_shells_complete_commands_and_names(person: Person, shell: str) -> None:
    assert shutil.which(shell), f"{shell} is not installed: make system"
    person.sign_in()
    ask = SHELLS[shell]
    assert "rollout" in ask(person, "tidegate roll")
    found = ask(person, "tidegate device show cam-")
    assert "cam-1" in found
    assert "cam-2" in found
    assert "boat-1" not in found


def test_without_a_node_completion_is_quick_and_silent(person: Person) -> None:
    assert _bash(person, "tidegate device show ca").strip() == ""
    person.environment["TIDEGATE_URL"] = "https://127.0.0.1:9"
    (person.folder / "key").write_text("tg_nothing")
    person.environment["TIDEGATE_KEY_FILE"] = str(person.folder / "key")
    started = time.monotonic()
    assert _bash(person, "tidegate device show ca").strip() == ""
    assert time.monotonic() - started < 15, "the program's own start, twice, and not the wait for a node"
    assert "device" in _bash(person, "tidegate dev")


# -- what is said -----------------------------------------------------------------------------------------------------


def test_what_is_not_found_is_answered_with_similar_names(person: Person) -> None:
    person.sign_in()
    missed = person.run("device", "show", "cam-11")
    assert missed.returncode == 3
    assert "cannot find" in missed.stderr
    assert "did you mean cam-1" in missed.stderr
    refusal = json.loads(person.run("device", "show", "cam-11", "--json").stderr)
    assert (refusal["exit_code"], "cam-1" in refusal["suggestions"]) == (3, True)
    assert "did you mean" not in person.run("device", "show", "entirely-else").stderr


def test_refusals_are_sentences(person: Person, node: LiveNode) -> None:
    person.sign_in()
    for arguments, said in (
        (("--url", "https://127.0.0.1:9", "--key-file", "password", "whoami"), "connection refused"),
        (("--url", "https://nowhere.invalid", "--key-file", "password", "whoami"), "its name is not known"),
        (("--key-file", "nothing", "whoami"), "no such file or directory"),
        (("artifact", "publish", "vad", "9", "nothing.onnx", "--framework", "onnx"), "no such file or directory"),
        (("rollout", "create", "vad", "1", "--all", "--strategy", str(person.folder), "--yes"), "is a directory"),
        (("trust", "export-root", "/nothing/root.json"), "no such file or directory"),
    ):
        done = person.run(*arguments, cwd=person.folder)
        assert done.returncode not in (0, 70), arguments
        assert done.stdout == ""
        assert said in done.stderr.lower(), done.stderr
        assert not re.search(r"Errno|Connection\(|Pool|object at|Traceback", done.stderr), done.stderr


def test_tables_have_no_trailing_spaces_and_fit_narrow_terminals(person: Person) -> None:
    person.sign_in()
    piped = person.run("device", "list").stdout
    assert "cam-1" in piped
    assert not [line for line in piped.splitlines() if line != line.rstrip()]
    assert "\x1b" not in piped
    person.environment["NO_COLOR"] = "1"
    with person.terminal(str(BIN / "tidegate"), "device", "list", columns=40) as terminal:
        assert terminal.ended() == 0
        assert not re.search(r"\x1b\[[0-9;]*3[0-9]m", terminal.raw), "a colour although NO_COLOR is set"
        assert re.search(r"^name: +cam-1$", terminal.said, re.MULTILINE)
        assert max(len(line) for line in terminal.said.splitlines()) <= 40


def test_a_pipe_that_closes_ends_quietly(person: Person) -> None:
    person.sign_in()
    line = "tidegate device list | true; echo ${PIPESTATUS[0]}"
    made = subprocess.run(
        ["bash", "-c", line], env=person.environment, capture_output=True, text=True, timeout=60, check=True
    )
    assert made.stdout.strip() in ("141", "0")  # 0 where everything was written before `true` had ended
    assert made.stderr == ""


# -- watching: the last of it restarts the node -----------------------------------------------------------------------


def test_a_watch_draws_bars_and_ends_by_ctrl_c(person: Person, node: LiveNode) -> None:
    person.sign_in()
    number = _waiting(node.sign_in())
    with person.terminal(
        str(BIN / "tidegate"), "rollout", "watch", str(number), "--interval-seconds", "0.2"
    ) as terminal:
        terminal.until("waiting_for_approval")
        terminal.until("wave 1")
        terminal.interrupt()
        assert terminal.ended() == 130
        assert "Traceback" not in terminal.said
    node.sign_in().call("POST", f"/v1/rollouts/{number}/abort", {})


def test_a_watch_outlives_the_node_and_ends_with_the_outcome(
    person: Person, node: LiveNode, processes: Processes
) -> None:
    person.sign_in()
    number = _waiting(node.sign_in())
    with person.terminal(
        str(BIN / "tidegate"), "--json", "rollout", "watch", str(number), "--interval-seconds", "0.2"
    ) as terminal:
        terminal.until("waiting_for_approval")
        processes.stop("node")
        terminal.until("trying again")
        live.serve(node, processes, "again")
        node.sign_in().call("POST", f"/v1/rollouts/{number}/abort", {"reason": "enough"})
        assert terminal.ended() == 1
        assert '"state": "aborted"' in terminal.said
