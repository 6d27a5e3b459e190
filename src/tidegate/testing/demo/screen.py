"""What the demo shows: steps with their outcome, a bar per wave, a line per device; plain lines without a terminal."""

from __future__ import annotations

from dataclasses import dataclass, field
from types import TracebackType
from typing import Literal

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

Outcome = Literal["doing", "done", "failed"]
_MARK = {"doing": ("▸", "cyan"), "done": ("✓", "green"), "failed": ("✗", "red")}
_STYLE = {
    "healthy": "green", "reverted": "green", "running": "cyan", "rolled_back": "dark_orange",
    "reverting": "dark_orange",
    "failed": "red", "revert_failed": "red", "halted": "red", "waiting_for_approval": "yellow", "completed": "green",
    "pending": "bright_black", "skipped": "bright_black", "offline": "bright_black", "aborted": "bright_black",
}  # fmt: skip


@dataclass(slots=True)
class WaveLine:
    number: int
    percent: str
    size: int
    healthy: int
    back: int
    reverted: int
    failed: int
    released: bool


@dataclass(slots=True)
class DeviceLine:
    name: str
    tags: str
    runs: str
    state: str
    detail: str


@dataclass(slots=True)
class Picture:
    """What is on the screen now; the story changes it, the screen draws it."""

    title: str = ""
    state: str = ""
    waiting_on: str = ""
    waves: list[WaveLine] = field(default_factory=list)
    devices: list[DeviceLine] = field(default_factory=list)


class Screen:
    def __init__(self) -> None:
        self.console = Console()
        self.picture = Picture()
        self.steps: list[tuple[Outcome, str]] = []
        self._live = Live(console=self.console, refresh_per_second=5, get_renderable=self._draw, transient=True)

    def __enter__(self) -> Screen:
        if self.console.is_terminal:
            self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if self.console.is_terminal:
            self._live.stop()

    def doing(self, words: str) -> None:
        self.steps.append(("doing", words))
        if not self.console.is_terminal:
            self.console.print(f"  {words} …", highlight=False)

    def done(self, words: str) -> None:
        self._finish("done", words)

    def failed(self, words: str) -> None:
        self._finish("failed", words)

    def _finish(self, outcome: Outcome, words: str) -> None:
        if self.steps and self.steps[-1][0] == "doing":
            self.steps.pop()
        self.steps.append((outcome, words))
        mark, style = _MARK[outcome]
        self.console.print(Text.assemble((f"{mark} ", style), words))

    def _draw(self) -> RenderableType:
        parts: list[RenderableType] = []
        if self.steps and self.steps[-1][0] == "doing":
            parts.append(Text(f"▸ {self.steps[-1][1]}", style="cyan"))
        if self.picture.title:
            parts += [self._heading(), self._waves()]
        if self.picture.devices:
            parts.append(self._devices())
        return Group(*parts)

    def _heading(self) -> Text:
        picture = self.picture
        state = (picture.state, _STYLE.get(picture.state, "cyan"))
        return Text.assemble("\n", (picture.title, "bold"), "  ", state, "\n", (picture.waiting_on, "italic"))

    def _waves(self) -> Table:
        grid = Table.grid(padding=(0, 1))
        for wave in self.picture.waves:
            style = "red" if wave.failed + wave.back else "green"
            bar = ProgressBar(total=max(wave.size, 1), width=36,
                              completed=wave.healthy + wave.back + wave.reverted + wave.failed,
                              complete_style=style, finished_style=style)  # fmt: skip
            words = f"{wave.healthy} of {wave.size} healthy"
            if wave.back:
                words += f", {wave.back} rolled_back"
            if wave.reverted:
                words += f", {wave.reverted} reverted"
            if wave.failed:
                words += f", {wave.failed} failed"
            grid.add_row(f"wave {wave.number} to {wave.percent} %", bar, words if wave.released else "not released")
        return grid

    def _devices(self) -> Table:
        table = Table(box=None, pad_edge=False, header_style="bright_black")
        for head in ("device", "tags", "runs", "state", ""):
            table.add_column(head, no_wrap=True, overflow="ellipsis")
        for device in self.picture.devices:
            state = Text(device.state, style=_STYLE.get(device.state, "cyan"))
            table.add_row(device.name, Text(device.tags, style="bright_black"), device.runs, state, device.detail[:60])
        return table
