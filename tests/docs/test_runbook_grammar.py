"""A document cannot lose a step without being noticed: the grammar refuses, and what is not said as told fails."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from tests.docs.shell import Shell
from tests.docs.stage import run

from tidegate.testing.runbook import Block, Browser, Command, DocumentError, Scene, parse, says, way

DOCUMENT = """
# Title

<!-- scene:
the lamp is on
-->

1. First.

   ```console again exit=3
   $ one \\
   > two
   said …
   ```

   **Console:** open "Rollouts", press "Halt rollout", fill "Reason" with "smoke",
   see "halted".

2. Second.

   **Console:** see "nothing, again".

```toml
$ not = "a command"
```
"""


def test_what_is_executed_is_read_in_order() -> None:
    scene, block, browser, only_seen = parse(DOCUMENT)
    assert isinstance(scene, Scene)
    assert scene.text == "the lamp is on"
    assert isinstance(block, Block)
    assert block.commands == (Command(11, "one \\\ntwo", ("said …",), again=True, exit_status=3),)
    assert isinstance(browser, Browser)
    assert [action.word for action in browser.actions] == ["open", "press", "fill", "see"]
    assert browser.actions[2].arguments == ("Reason", "smoke")
    assert browser.instead
    assert isinstance(only_seen, Browser)
    assert not only_seen.instead


def test_there_are_two_ways_through() -> None:
    scene, block, browser, only_seen = parse(DOCUMENT)
    assert way(parse(DOCUMENT), browser=False) == (scene, block)
    assert way(parse(DOCUMENT), browser=True) == (scene, browser, only_seen)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('**Console:** push "Halt rollout"', "no step of the console"),
        ('**Console:** open "Rollouts", and hope', "no step of the console"),
        ("**Console:**", "says nothing"),
        ('In the **Console:** open "Rollouts"', "must begin its line"),
        ("```console\nsaid before any command\n```", "must begin with a command"),
        ("```console sometimes\n$ date\n```", "sometimes is no option"),
        ("```console\n$ date", "has no end"),
        ("<!-- scene: dusk", "has no end"),
    ],
)
def test_what_cannot_be_executed_is_refused(text: str, why: str) -> None:
    with pytest.raises(DocumentError, match=why):
        parse(text)


@pytest.mark.parametrize(
    ("expected", "output", "fits"),
    [
        (["rollout 2 is …"], "rollout 2 is halted\n", True),
        (["id  state", "…", "2  halted"], " id    state\n ────\n 1 running\n\n 2 halted \n", True),
        (["…", "last"], "last\n", True),
        (["first"], "first\nsecond\n", False),
        (["second"], "first\nsecond\n", False),
        (["a.c"], "abc\n", False),
        (["halted"], "not halted\n", False),
    ],
)
def test_what_is_said_is_compared(expected: list[str], output: str, fits: bool) -> None:
    assert says(expected, output) is fits


def test_a_command_that_fails_or_says_otherwise_fails(tmp_path: Path) -> None:
    with Shell(tmp_path, os.environ) as shell:
        assert run(shell, Command(1, "export LAMP=on; cd /; false | true", (), exit_status=1)) == ""
        assert run(shell, Command(1, "echo $LAMP in $PWD; echo more >&2", ("on in /", "more"))) == "on in /\nmore\n"
        with pytest.raises(AssertionError, match="ended with 127 instead of 0"):
            run(shell, Command(1, "tidegate-no-such-program", ()))
        with pytest.raises(AssertionError, match="should have said:\noff"):
            run(shell, Command(1, "echo $LAMP", ("off",)))
