"""Documents that are executed: what a runbook or guide says, read out of its Markdown.

Three things in a document are executed, in the order in which they stand:

* Fenced ``console`` blocks: a line after ``$ `` is a command, lines after ``> `` go on with it, all else is what it
  says. `…` stands for any text within a line, alone on a line for any lines. After ``console`` may stand ``again``
  (repeat the command until it says that) and ``exit=N`` (the status it ends with, otherwise 0).
* ``**Console:**`` followed by steps in the browser, as a sentence: the same act as the block before it in the same
  step. See `_ACTIONS` for its words.
* HTML comments that begin with ``scene:``: what happens in the world meanwhile, a sentence a line. A reader sees none
  of it: it is no act of an operator.

What does not fit is a `DocumentError` that names the line: a document cannot lose a step without being noticed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from tidegate.errors import Invalid

_FENCE = re.compile(r"^(\s*)(`{3,}|~{3,})\s*(.*)$")
_CONSOLE = re.compile(r"^(\s*)(?:[-*]\s+|\d+\.\s+)?\*\*Console:\*\*\s*(.*)$")
_BREAK = re.compile(r"^\s*(?:$|[-*]\s|\d+\.\s|#|```|~~~|<!--|\|)")
_STEP = re.compile(r"^(?:#|\d+\.\s)")
_QUOTED = r'"([^"]+)"'

#: The words of a browser step; each group is one argument.
_ACTIONS = {
    "open": re.compile(rf"open {_QUOTED}"),
    "press": re.compile(rf"press {_QUOTED}"),
    "fill": re.compile(rf"fill {_QUOTED} with {_QUOTED}"),
    "fill_from": re.compile(rf"fill {_QUOTED} from the file `([^`]+)`"),
    "choose": re.compile(rf"choose {_QUOTED} in {_QUOTED}"),
    "tick": re.compile(rf"tick {_QUOTED}"),
    "see": re.compile(rf"see {_QUOTED}"),
    "see_no": re.compile(rf"see no {_QUOTED}"),
}
_BETWEEN = re.compile(r"\s*(?:[,;.]\s*)?(?:then\s+|and\s+)?")


class DocumentError(Invalid):
    """A document says something that cannot be executed."""

    type = "document"


@dataclass(frozen=True, slots=True)
class Command:
    """One command and what it must say; `expected` empty: anything."""

    line: int
    text: str
    expected: tuple[str, ...]
    again: bool = False
    exit_status: int = 0


@dataclass(frozen=True, slots=True)
class Action:
    """One act in the browser: a key of `_ACTIONS` with its arguments."""

    word: str
    arguments: tuple[str, ...]

    def __str__(self) -> str:
        return " ".join((self.word.replace("_", " "), *(f'"{argument}"' for argument in self.arguments)))


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its commands, one after another."""

    line: int
    step: int
    commands: tuple[Command, ...]


@dataclass(frozen=True, slots=True)
class Browser:
    """A Console sentence; `instead` of the block before it, when the same step has one."""

    line: int
    step: int
    actions: tuple[Action, ...]
    instead: bool


@dataclass(frozen=True, slots=True)
class Scene:
    line: int
    text: str


Part = Block | Browser | Scene


def read(path: Path) -> tuple[Part, ...]:
    """Everything in the document that is executed, in its order. Raises `DocumentError`."""
    return parse(path.read_text(encoding="utf-8"), path.name)


def parse(text: str, name: str = "document") -> tuple[Part, ...]:
    """Everything in `text` that is executed. Raises `DocumentError`."""
    return tuple(_Parser(text.splitlines(), name).parts())


def way(parts: Sequence[Part], *, browser: bool) -> tuple[Part, ...]:
    """One way through a document: by commands only, or in the browser wherever the document says how."""
    chosen: list[Part] = []
    for part in parts:
        if isinstance(part, Browser):
            if not browser:
                continue
            if part.instead:
                at = max(index for index, before in enumerate(chosen) if isinstance(before, Block))
                del chosen[at]
        chosen.append(part)
    return tuple(chosen)


class _Parser:
    def __init__(self, lines: Sequence[str], name: str) -> None:
        self.lines, self.name, self.at, self.step = lines, name, 0, 0

    def parts(self) -> Iterator[Part]:
        last_block = 0
        while self.at < len(self.lines):
            line = self.lines[self.at]
            if _STEP.match(line):
                self.step += 1
            if fence := _FENCE.match(line):
                block = self._fenced(fence)
                if block is not None:
                    last_block = block.step
                    yield block
            elif line.strip().startswith("<!--"):
                yield from self._comment()
            elif console := _CONSOLE.match(line):
                yield self._browser(console.group(2), instead=last_block == self.step)
                last_block = 0
            else:
                if "**Console:**" in line:
                    raise self._wrong(self.at + 1, "a Console sentence must begin its line")
                self.at += 1

    def _wrong(self, line: int, why: str) -> DocumentError:
        return DocumentError(f"cannot execute {self.name}, line {line}: {why}")

    def _fenced(self, fence: re.Match[str]) -> Block | None:
        begin, indent, marks = self.at + 1, len(fence.group(1)), fence.group(2)
        kind, *options = fence.group(3).split() or [""]
        body: list[str] = []
        self.at += 1
        while self.at < len(self.lines) and self.lines[self.at].strip() != marks:
            body.append(self.lines[self.at][indent:])
            self.at += 1
        if self.at == len(self.lines):
            raise self._wrong(begin, "the block has no end")
        self.at += 1
        if kind != "console":
            return None
        return Block(begin, self.step, tuple(self._commands(begin, body, options)))

    def _commands(self, begin: int, body: Sequence[str], options: Sequence[str]) -> Iterator[Command]:
        again, status = False, 0
        for option in options:
            if option == "again":
                again = True
            elif re.fullmatch(r"exit=\d+", option):
                status = int(option.removeprefix("exit="))
            else:
                raise self._wrong(begin, f"{option} is no option of a console block")
        starts = [index for index, line in enumerate(body) if line.startswith("$ ")]
        if not starts or starts[0] != 0:
            raise self._wrong(begin, 'the block must begin with a command after "$ "')
        for start, end in zip(starts, [*starts[1:], len(body)], strict=True):
            told = start + 1
            text = body[start][2:]
            while told < end and body[told].startswith("> "):
                text += "\n" + body[told][2:]
                told += 1
            expected = tuple(line.rstrip() for line in body[told:end] if line.strip())
            last = end == len(body)
            yield Command(begin + 1 + start, text, expected, again and last, status if last else 0)

    def _comment(self) -> Iterator[Scene]:
        begin = self.at
        while "-->" not in self.lines[self.at]:
            self.at += 1
            if self.at == len(self.lines):
                raise self._wrong(begin + 1, "the comment has no end")
        self.at += 1
        whole = "\n".join(self.lines[begin : self.at]).strip()
        body = whole.removeprefix("<!--").removesuffix("-->").strip()
        if body.startswith("scene:"):
            for sentence in body.removeprefix("scene:").splitlines():
                if sentence.strip():
                    yield Scene(begin + 1, sentence.strip().rstrip("."))

    def _browser(self, text: str, *, instead: bool) -> Browser:
        begin = self.at + 1
        self.at += 1
        while self.at < len(self.lines) and not _BREAK.match(self.lines[self.at]):
            text += " " + self.lines[self.at].strip()
            self.at += 1
        return Browser(begin, self.step, tuple(self._actions(begin, text.strip())), instead)

    def _actions(self, line: int, text: str) -> Iterator[Action]:
        at = 0
        while at < len(text):
            for word, pattern in _ACTIONS.items():
                if found := pattern.match(text, at):
                    yield Action(word, found.groups())
                    break
            else:
                raise self._wrong(line, f"no step of the console: {text[at : at + 60]}")
            between = _BETWEEN.match(text, found.end())
            at = between.end() if between else found.end()
        if at == 0:
            raise self._wrong(line, "the Console sentence says nothing")


def says(expected: Sequence[str], output: str) -> bool:
    """Whether `output` is what was expected; blanks count as one, empty lines as none, `…` as described above."""
    patterns = [_pattern(_plain(line)) for line in expected]
    told = "".join(f"{_plain(line)}\n" for line in output.splitlines() if line.strip())
    return re.fullmatch("".join(patterns), told) is not None


def _pattern(line: str) -> str:
    if line == "…":
        return r"(?:[^\n]*\n)*"
    return ".*".join(re.escape(part) for part in line.split("…")) + "\n"


def _plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()
