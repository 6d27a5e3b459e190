"""A stage for a document: a real node, real agents, a bash, a Chromium; and the scenes that documents may ask for."""

from __future__ import annotations

import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.docs.browser import Console, console
from tests.docs.devices import Device, until
from tests.docs.shell import AGAIN_SECONDS, Shell

from tidegate.testing import runbook
from tidegate.testing.live import Api, LiveNode, initialise, publish, serve
from tidegate.testing.processes import Processes

PROBES = [{"kind": "exec", "name": "check", "attempts": 1, "interval_seconds": 0}]
#: Over several lines where each but the last ends in a backslash, as the console shows it.
_COMMAND = re.compile(r"^\s*(curl -fsSk (?:[^\n]*\\\n)*[^\n]*)$", re.MULTILINE)
_TOKEN = re.compile(r"\btge_\S+")


def environment(folder: Path) -> dict[str, str]:
    """What a terminal has: the programs of this checkout, a home, nothing of who runs the tests."""
    own = {name: value for name, value in os.environ.items() if not name.startswith(("TIDEGATE", "XDG_"))}
    # Unbuffered, so that what is said on both outputs stands in the order in which a terminal shows it.
    return own | {
        "HOME": str(folder), "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "TZ": "UTC",
        "LANG": "C.UTF-8", "PYTHONUNBUFFERED": "1",
    }  # fmt: skip


class Stage:
    """Plays the parts of one document; raises with document, line and what was said when one does not come true."""

    def __init__(self, node: LiveNode, processes: Processes, shell: Shell, console: Console | None, name: str) -> None:
        self.node, self.processes, self.shell, self.console, self.name = node, processes, shell, console, name
        self.api: Api = node.sign_in()
        self.devices: dict[str, Device] = {}
        self.old: dict[str, Device] = {}
        self.told = ""

    def play(self, parts: tuple[runbook.Part, ...]) -> None:
        for part in parts:
            try:
                match part:
                    case runbook.Block(commands=commands):
                        for command in commands:
                            self.told = run(self.shell, command)
                    case runbook.Browser(actions=actions):
                        assert self.console is not None
                        for action in actions:
                            self.console.do(action)
                        self.told = self.console.text()
                    case runbook.Scene(text=text):
                        self.scene(text)
            except AssertionError as error:
                raise AssertionError(f"{self.name}, line {part.line}: {error}\n{self.logs()}") from error

    def logs(self) -> str:
        """What every process said last, and what each device says of itself."""
        logs = [f"--- {log.stem}\n{self.processes.tail(log.stem, 5)}" for log in self.processes.logs.glob("*.log")]
        return "\n".join(logs + [device.status() for device in self.devices.values()])

    def scene(self, text: str) -> None:
        for pattern, act in _SCENES:
            if found := pattern.fullmatch(text):
                act(self, *found.groups())
                return
        raise AssertionError(f"no such scene: {text}")

    # -- scenes -------------------------------------------------------------------------------------------------------

    def arrive(self, names: str) -> None:
        """Enroll and start devices; one after another where their numbers must be the same each time."""
        for name in names.split():
            device = self.devices[name] = Device(name, self.processes.logs.parent / "devices" / name, self.processes)
            device.image()
            minted = self.api.call("POST", "/v1/tokens", {"device_name": name, "tags": {"site": name.split("-")[0]}})
            device.enroll(self.node, minted["secret"], minted["installer"]["root_sha256"])
            device.start()
        with ThreadPoolExecutor(2) as pool:
            list(pool.map(self.comes_online, names.split()))

    def publish(self, name: str, version: str) -> None:
        file = self.processes.logs.parent / f"{name}.onnx"
        file.write_text(f"{name} {version}\n")
        publish(self.api, name, version, file)

    def roll_out(self, name: str, version: str, waves: str, by_hand: str | None) -> None:
        """To everything; with waves by hand the last one needs approve."""
        shape = [{"percent": part.strip()} for part in waves.split(",")]
        if by_hand:
            shape[-1]["approval"] = "manual"
        body = {"artifact": name, "version": version, "target": {"all": True}, "strategy": {"waves": shape},
                "probes": PROBES}  # fmt: skip
        self.api.call("POST", "/v1/rollouts", body)

    def rollout_is(self, number: str, state: str) -> None:
        now = {}

        def reached() -> bool:
            now.update(self.api.call("GET", f"/v1/rollouts/{number}"))
            return bool(now["state"] == state)

        try:
            until(f"rollout {number} is {state}", reached)
        except AssertionError as error:
            raise AssertionError(f"{error}; it is {now['state']}: {now['waiting_on']} {now['counts']}") from error

    def count_is(self, number: str, count: str, state: str) -> None:
        def reached() -> bool:
            counts = self.api.call("GET", f"/v1/rollouts/{number}")["counts"]
            return bool(counts.get(state, 0) == int(count))

        until(f"{count} devices of rollout {number} are {state}", reached)

    def comes_online(self, name: str) -> None:
        def online() -> bool:
            ended = self.processes.exit_code(name)
            assert ended is None, f"the agent of {name} ended with {ended}"
            return self.devices[name].online(self.api)

        until(f"{name} is online", online)

    def goes_offline(self, name: str) -> None:
        until(f"{name} is offline", lambda: not self.devices[name].online(self.api))

    def runs(self, names: str, what: str) -> None:
        wanted = "" if what == "nothing" else what
        artifact = what.split()[0]
        for name in names.replace(" and ", " ").split():
            seen = lambda name=name: self.devices[name].runs(artifact)  # noqa: E731
            until(f"{name} runs {what}", lambda seen=seen: seen() == wanted)

    def install(self, name: str) -> None:
        """Paste what was last printed, in the terminal or in the console, on the device."""
        command, token = _COMMAND.search(self.told), _TOKEN.search(self.told)
        assert command is not None, f"no installer command was printed: {self.told}"
        assert token is not None, f"no token was printed: {self.told}"
        self.devices[name].install(command.group(1), token.group(0))

    def swap(self, name: str) -> None:
        self.old[name] = self.devices[name].swap()

    def each(self, names: str, act: Callable[[Device], None]) -> None:
        for name in names.replace(" and ", " ").split():
            act(self.devices[name])

    def key_is_gone(self, name: str) -> None:
        until(f"{name} has wiped its key", lambda: not self.devices[name].has_key())
        until(f"the agent of {name} has ended", lambda: self.processes.exit_code(name) is not None)
        status = self.processes.exit_code(name)
        assert status == 78, f"the agent of {name} ended with {status}"


def _scene(pattern: str, act: Callable[..., None]) -> tuple[re.Pattern[str], Callable[..., None]]:
    return re.compile(pattern), act


_NAMES = r"(?!the )([a-z0-9-]+(?:(?: and | )[a-z0-9-]+)*)"
_SCENES = (
    _scene(rf"devices arrive: {_NAMES}", Stage.arrive),
    _scene(r"(\S+) (\S+) is published", Stage.publish),
    _scene(r"(\S+) (\S+) is rolled out in waves ([\d,]+)(, the last by hand)?", Stage.roll_out),
    _scene(r"rollout (\d+) is ([a-z_]+)", Stage.rollout_is),
    _scene(r"rollout (\d+) has (\d+) ([a-z_]+)", Stage.count_is),
    _scene(rf"{_NAMES} runs? (nothing|\S+ \S+)", Stage.runs),
    _scene(rf"{_NAMES} (?:is|are) busy", lambda stage, names: stage.each(names, lambda one: one.busy(True))),
    _scene(rf"{_NAMES} (?:is|are) free", lambda stage, names: stage.each(names, lambda one: one.busy(False))),
    _scene(rf"the camera of {_NAMES} fails", lambda stage, names: stage.each(names, lambda one: one.trouble(True))),
    _scene(rf'the camera of {_NAMES} logs "([^"]+)"', lambda stage, name, line: stage.devices[name].logs(line)),
    _scene(rf"the camera of {_NAMES} works", lambda stage, names: stage.each(names, lambda one: one.trouble(False))),
    _scene(rf"{_NAMES} loses? power", lambda stage, names: stage.each(names, Device.stop)),
    _scene(rf"{_NAMES} comes? back", lambda stage, names: stage.each(names, Device.start)),
    _scene(rf"{_NAMES} (?:is|are) wiped", lambda stage, names: stage.each(names, Device.wipe)),
    _scene(r"(\S+) is offline", Stage.goes_offline),
    _scene(r"(\S+) is online", Stage.comes_online),
    _scene(r"(\S+) is replaced", Stage.swap),
    _scene(r"the old (\S+) comes back", lambda stage, name: stage.old[name].start()),
    _scene(r"the command is pasted on (\S+)", Stage.install),
    _scene(r"(\S+) has no key any more", Stage.key_is_gone),
)


def run(shell: Shell, command: runbook.Command) -> str:
    """One command, repeated when the document says so; gives what it said."""
    end = time.monotonic() + AGAIN_SECONDS
    while True:
        status, said = shell.run(command.text)
        right = status == command.exit_status and (not command.expected or runbook.says(command.expected, said))
        if right:
            return said
        told = "\n".join(command.expected)
        if not command.again or time.monotonic() > end:
            raise AssertionError(
                f"$ {command.text}\nended with {status} instead of {command.exit_status} or said otherwise.\n"
                f"It said:\n{said}\nand should have said:\n{told}"
            )
        time.sleep(0.3)  # between two looks at a condition


@contextmanager
def stage(folder: Path, name: str, *, browser: bool) -> Iterator[Stage]:
    """A node of its own with nothing in it; everything is stopped at the end."""
    node = initialise(folder / "node", interval_seconds=2)
    (folder / "admin.password").write_text(node.password)
    with ExitStack() as stack:
        processes = stack.enter_context(Processes(folder / "logs"))
        serve(node, processes)
        known = {"TIDEGATE_URL": node.console_url, "TIDEGATE_CA": str(node.ca)}
        shell = stack.enter_context(Shell(folder, environment(folder) | known))
        if browser:
            # Where the console has no way of its own the commands go on: the person is signed in there as well.
            status, said = shell.run("tidegate login --name admin --password-file admin.password")
            assert status == 0, said
        window = stack.enter_context(console(node.console_url, folder)) if browser else None
        yield Stage(node, processes, shell, window, name)
