"""Every operation has a command: its noun's own, or `tidegate api`; every command says what its JSON is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import click

from tidegate.cli import main as cli
from tidegate.control.api import names, table

SOURCE = Path(cli.__file__).parent
#: The noun of an operation's name, and the group of commands that it belongs to; what has none of its own is `api`.
GROUPS = {
    "api_keys": "key", "artifacts": "artifact", "audit": "audit", "channels": "channel", "devices": "device",
    "fleets": "fleet", "freeze": "device", "groups": "group", "me": "whoami", "operators": "user", "roles": "role",
    "rollouts": "rollout", "running": "running", "sboms": "artifact", "sessions": "session", "tokens": "token",
    "trust": "trust", "uploads": "artifact",
}  # fmt: skip


def _leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        context = click.Context(command)
        for inner in command.list_commands(context):
            found = command.get_command(context, inner)
            assert found is not None, f"{name} {inner} is listed and not there"
            yield from _leaves(found, f"{name} {inner}")
    else:
        yield name, command


LEAVES = dict(_leaves(cli.program, "tidegate"))


def test_every_noun_of_the_table_has_commands_and_the_rest_is_within_reach() -> None:
    nouns = {name.noun for name in names.names(table.calls()).values()}
    for noun in nouns & set(GROUPS):
        assert any(name.startswith(f"tidegate {GROUPS[noun]}") for name in LEAVES), f"{noun} has no commands"
    assert "tidegate api" in LEAVES
    methods = {
        choice for param in LEAVES["tidegate api"].params if param.name == "method" for choice in param.type.choices
    }
    assert {call.method for call in table.calls()} <= methods


def test_every_command_declares_its_json_and_says_what_it_does() -> None:
    for name, command in LEAVES.items():
        assert hasattr(command.callback, "gives"), f"{name}: say what --json prints with @gives"
        assert command.help, name


def test_commands_reach_the_node_through_the_client_alone() -> None:
    for file in SOURCE.glob("*.py"):
        text = file.read_text()
        assert "urllib3" not in text or file.name in ("login.py",), file.name
        assert "import requests" not in text
