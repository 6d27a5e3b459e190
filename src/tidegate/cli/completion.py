"""`tidegate completion`: what a shell needs to complete commands, options and the names of things on the node."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Leaf, gives
from tidegate.errors import Defect

_VARIABLE = "_TIDEGATE_COMPLETE"
_WHERE = {
    "bash": 'eval "$(tidegate completion bash)" in ~/.bashrc',
    "zsh": 'eval "$(tidegate completion zsh)" in ~/.zshrc, after compinit',
    "fish": "tidegate completion fish > ~/.config/fish/completions/tidegate.fish",
}


@click.command("completion", cls=Leaf)
@click.argument("shell", type=click.Choice(sorted(_WHERE)))
@pass_cli
@gives(None, "completion bash")
def commands(cli: Cli, shell: str) -> None:
    """Print the completion script of a shell.

    \b
    bash: put into ~/.bashrc                eval "$(tidegate completion bash)"
    zsh:  put into ~/.zshrc after compinit  eval "$(tidegate completion zsh)"
    fish: run once                          tidegate completion fish > ~/.config/fish/completions/tidegate.fish

    Names of devices, groups, artifacts and rollouts are asked from the node that is signed in to; without one, or when
    it does not answer within a second, only commands and options are completed.
    """
    found = get_completion_class(shell)
    root = click.get_current_context().find_root().command
    if found is None:
        raise Defect(f"no completion for {shell}")
    made = found(root, {}, "tidegate", _VARIABLE)
    # Not `made.source()`: it starts a bash to see how old it is.
    click.echo(made.source_template % made.source_vars())
    cli.out.say(f"# {_WHERE[shell]}")
