"""Every operation has a command; every command says what its JSON is, and shows an example that it takes."""

from __future__ import annotations

import shlex
from pathlib import Path

import click
import pytest

from tidegate.cli import main as cli
from tidegate.control.api import names, table
from tidegate.testing import command_calls

SOURCE = Path(cli.__file__).parent
LEAVES = dict(command_calls.leaves())
#: Operations that no command calls, and why.
WITHOUT = {
    "enroll.create": "devices enroll themselves: it is the installer's, with a key that never leaves the device",
    "install.install_sh": "the installer's own download; `token mint` prints the command that fetches it",
    "install.tidegate_agent_pyz": "as the installer's",
    "install.agent_pyz": "as the installer's",
    "install.root_json": "as the installer's; `trust export-root` gives the current root",
    "install.server_ca_pem": "read by `login` before anything is trusted, without the client",
}


def test_every_operation_is_called_by_a_command_of_its_own() -> None:
    operations = {str(name) for name in names.names(table.calls()).values()}
    called = {one for name, command in LEAVES.items() if name != "tidegate api" for one in command_calls.calls(command)}
    assert not operations - called - set(WITHOUT), "give them a command, or say in WITHOUT why they have none"
    assert not set(WITHOUT) & called, "these have a command"
    assert set(WITHOUT) <= operations, "these are no operations any more"


@pytest.mark.parametrize(
    ("command", "operations"),
    [
        ("device show", {"devices.get", "running.devices"}),
        ("artifact upload", {"uploads.create", "uploads.get", "uploads.append"}),  # through the client's upload
        ("rollout watch", {"rollouts.get"}),  # through another module
        ("rollout halt", {"rollouts.halt"}),
        ("completion", set()),
    ],
)
def test_what_a_command_calls_is_read_from_its_code(command: str, operations: set[str]) -> None:
    assert command_calls.calls(LEAVES[f"tidegate {command}"]) == operations


def test_any_call_is_within_reach_of_the_api_command() -> None:
    (method,) = [param for param in LEAVES["tidegate api"].params if param.name == "method"]
    assert isinstance(method.type, click.Choice)
    assert {call.method for call in table.calls()} <= set(method.type.choices)


def test_every_command_declares_its_json_and_says_what_it_does() -> None:
    for name, command in LEAVES.items():
        assert hasattr(command.callback, "gives"), f"{name}: say what --json prints with @gives"
        assert command.help, name
        for param in command.params:
            assert not isinstance(param, click.Option) or param.help, f"{name}: {param.opts[0]} has no help"
            assert not set(param.opts) & set(cli._ANYWHERE), f"{name}: {param.opts[0]} is every command's"


def test_a_shared_option_that_is_empty_takes_nothing_of_what_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """As a script writes it whose variable is not set: --fleet="$FLEET"."""
    given: list[int] = []
    listed = LEAVES["tidegate device list"]
    monkeypatch.setattr(listed, "callback", lambda limit, **_options: given.append(limit))
    cli.program.main(shlex.split("device list --fleet= --limit 7"), prog_name="tidegate", standalone_mode=False)
    assert given == [7]


def test_the_example_in_each_help_is_a_line_that_the_command_takes(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "devices.csv").touch()
    for name, command in LEAVES.items():
        example = getattr(command.callback, "example", "")
        taken: list[str] = []
        with monkeypatch.context() as patch:
            patch.setattr(command, "callback", lambda taken=taken, **_options: taken.append("once"))
            cli.program.main(shlex.split(example), prog_name="tidegate", standalone_mode=False)
        assert taken == ["once"], f"{name}: its example runs something else: {example}"
        shown = command.get_help(click.Context(command, info_name=name.removeprefix("tidegate ")))
        assert f"Example:\n  tidegate {example}" in shown, name


def test_commands_reach_the_node_through_the_client_and_by_its_types() -> None:
    for file in SOURCE.glob("*.py"):
        text = file.read_text()
        assert "urllib3" not in text, file.name
        assert "import requests" not in text, file.name
        assert (".client.call(" in text or ".client.download(" in text) == (file.name == "api.py"), file.name
