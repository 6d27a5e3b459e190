"""Watching a rollout until it ends: live bars on a terminal, a line for each change elsewhere."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, get_args

import click
from rich.console import Console
from rich.live import Live
from rich.text import Text

from tidegate.cli.client import Cli
from tidegate.cli.output import OK, REFUSED, plain
from tidegate.cli.rollout_show import bars
from tidegate.errors import TooMany, Unavailable
from tidegate.wire.operator.rollouts import RolloutInfo, State

ENDED = ("completed", "aborted")
STATES = get_args(State)
_PAUSE = threading.Event()  # never set: waiting on it is a pause that an interrupt ends

Tell = Callable[[str, tuple[str, ...]], None]


def options(function: Callable[..., Any]) -> Callable[..., Any]:
    """What `rollout watch` takes and every command with `--watch`."""
    for option in (
        click.option("--timeout-seconds", default=0.0, help="Give up watching after this long; 0: never."),
        click.option(
            "--interval-seconds",
            default=2.0,
            show_default=True,
            type=click.FloatRange(0.2, 60),
            help="Between two looks.",
        ),
        click.option(
            "--until",
            "states",
            multiple=True,
            type=click.Choice(STATES),
            help="Stop in this state; exit with 1 where it ends in another. Without it: completed.",
        ),
    ):
        function = option(function)
    return function


def watch(cli: Cli, rollout: int, states: tuple[str, ...], interval_seconds: float, timeout_seconds: float) -> int:
    """Tell what the rollout waits on until it ends; gives the exit code: 1 where it ends otherwise than asked for.

    A node that restarts or is busy is not the end of a watch.

    Raises:
        Unavailable: `timeout_seconds` are over.
    """
    client = cli.connect(retries=0, timeout_seconds=30)
    give_up = time.monotonic() + timeout_seconds if timeout_seconds else None
    found: RolloutInfo | None = None
    with _telling(cli) as tell:
        while True:
            try:
                found = client.rollouts.get(rollout)
            except (Unavailable, TooMany) as error:
                if give_up is not None and time.monotonic() > give_up:
                    raise
                tell(f"{error.detail}; trying again", tuple(bars(found)) if found else ())
            else:
                tell(f"{found.state}: {found.waiting_on}", tuple(bars(found)))
                if found.state in (*ENDED, *states):
                    break
                if give_up is not None and time.monotonic() > give_up:
                    raise Unavailable(
                        f"cannot wait longer: rollout {rollout} is {found.state}. {found.waiting_on}",
                        type="still-going",
                    )
            _PAUSE.wait(interval_seconds)
    cli.out.data(found, f"rollout {rollout} is {found.state}")
    return OK if found.state in (states or ("completed",)) else REFUSED


@contextmanager
def _telling(cli: Cli) -> Iterator[Tell]:
    """Bars drawn over themselves where standard error is a terminal; else lines, when they say something new."""
    if sys.stderr.isatty() and not cli.out.as_json:
        console = Console(file=sys.stderr, highlight=False)
        with Live(console=console, auto_refresh=False) as live:

            def draw(said: str, lines: tuple[str, ...]) -> None:
                text = Text("\n".join(plain(line) for line in (said, *lines)), no_wrap=True, overflow="ellipsis")
                live.update(text, refresh=True)

            yield draw
        return
    last = ""

    def say(said: str, lines: tuple[str, ...]) -> None:
        nonlocal last
        if said != last:
            for line in (said, *lines):
                cli.out.say(line)
            last = said

    yield say
