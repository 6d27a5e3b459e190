"""What documents point at is there: files, headings, and every command with its options."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlsplit

import click
import pytest

from tidegate.agent import run as agent
from tidegate.cli.main import program

PROJECT = Path(__file__).parents[2]
DOCUMENTS = sorted([*PROJECT.glob("*.md"), *(PROJECT / "docs").rglob("*.md")])
#: It says what Tidegate is to be as a whole, later commands included; all else says what there is.
ALL_OF_IT = PROJECT / "docs" / "specification.md"

_LINK = re.compile(r"!?\[[^\]]*\]\(<?([^)\s>]+)>?(?:\s+\"[^\"]*\")?\)")
_FENCED = re.compile(r"^[ \t]*(```|~~~)(.*?)\n(.*?)^[ \t]*\1[ \t]*$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")
#: Not the user or the unit of that name, as `sudo -u tidegate`.
_CALL = re.compile(
    r"""(?<![\w./-])(?<!-[ugo] )(tidegate(?:-agent)?)((?:[ \t]+(?!\d?>)(?:'[^']*'|"[^"]*"|[^\s|>&;)'"])+)+)"""
)


def ids(path: Path) -> str:
    return str(path.relative_to(PROJECT))


def _prose(path: Path) -> str:
    return _FENCED.sub("", path.read_text(encoding="utf-8"))


def _anchors(path: Path) -> set[str]:
    """As forges make them of headings: small letters, blanks as hyphens, nothing else but letters, digits, _ and -."""
    headings = re.findall(r"^#+\s+(.*?)\s*#*$", _prose(path), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=ids)
def test_links_lead_somewhere(path: Path) -> None:
    wrong = []
    for target in _LINK.findall(_INLINE.sub("", _prose(path))):
        parts = urlsplit(target)
        if parts.scheme or parts.netloc:
            continue
        there = (path.parent / unquote(parts.path)).resolve() if parts.path else path
        if not there.exists() or (parts.fragment and there.suffix == ".md" and parts.fragment not in _anchors(there)):
            wrong.append(target)
    assert wrong == []


def calls(text: str) -> Iterator[tuple[str, list[str]]]:
    """Every call of our programs in a piece of shell, whatever stands around it."""
    for name, rest in _CALL.findall(text.replace("\\\n", " ")):
        try:
            yield name, shlex.split(rest, comments=True)
        except ValueError:  # a quote that began before the call
            yield name, rest.split()


def _command(words: list[str]) -> tuple[click.Command, list[str]]:
    """The command that is named, and the words after its name."""
    found: click.Command = program
    context = click.Context(program)
    while isinstance(found, click.Group):
        parser = found.make_parser(context)
        parser.allow_interspersed_args = False
        _, words, _ = parser.parse_args(list(words))
        if not words:
            break
        below = found.get_command(context, words[0])
        if below is None:
            raise click.UsageError(f"there is no command {words[0]}")
        context = click.Context(below, info_name=words[0], parent=context)
        found, words = below, words[1:]
    return found, words


def _check_whole(words: list[str]) -> None:
    """A call as it is typed: options exist, nothing required is missing, no argument too many."""
    command, rest = _command(words)
    assert not isinstance(command, click.Group), "a command is missing"
    given, left, _ = command.make_parser(click.Context(command)).parse_args(list(rest))
    assert not left, f"one argument too many: {left}"
    for parameter in command.params:
        unlimited = isinstance(parameter, click.Argument) and parameter.nargs == -1
        if parameter.required and not unlimited and not getattr(parameter, "prompt", None):
            assert isinstance(given.get(str(parameter.name)), str | bool | tuple | list), f"{parameter.name} is missing"


def _check_mention(words: list[str]) -> None:
    """A call that prose talks about: the command and the options that are named exist."""
    command, rest = _command([word for word in words if word != "…" and not word.isupper()])
    known = {name for parameter in command.params for name in parameter.opts + parameter.secondary_opts} | {"--help"}
    unknown = [word for word in rest if word.startswith("--") and word.split("=")[0] not in known]
    assert not unknown, f"no such option: {unknown}"


def _check_agent(words: list[str], *, whole: bool) -> None:
    parser = agent._parser()
    if whole:
        parser.parse_args(words)
        return
    verbs = next(action for action in parser._actions if action.dest == "verb").choices or {}
    plain = [word for word in words if not word.startswith("-")]
    assert not plain or plain[0] in verbs, f"no such verb: {plain[0]}"


def _wrong(text: str, *, whole: bool) -> Iterator[str]:
    for name, words in calls(text):
        try:
            if name == "tidegate-agent":
                _check_agent(words, whole=whole)
            else:
                _check_whole(words) if whole else _check_mention(words)
        except (click.ClickException, AssertionError, SystemExit) as error:
            yield f"{name} {shlex.join(words)}: {error}"


@pytest.mark.parametrize("path", [path for path in DOCUMENTS if path != ALL_OF_IT], ids=ids)
def test_commands_are_there(path: Path) -> None:
    wrong = []
    for _, kind, body in _FENCED.findall(path.read_text(encoding="utf-8")):
        if kind.split()[:1] == ["console"]:
            typed = [line[2:] for line in (one.strip() for one in body.splitlines()) if line[:2] in ("$ ", "> ")]
            wrong += list(_wrong("\n".join(typed), whole=True))
    for mention in _INLINE.findall(_prose(path)):
        wrong += list(_wrong(mention, whole=False))
    assert wrong == []


def test_what_does_not_exist_is_noticed() -> None:
    assert list(_wrong("tidegate rollout halt 3 --because x", whole=True))
    assert list(_wrong("tidegate rollout halt", whole=True))
    assert list(_wrong("tidegate rollout stop 3", whole=False))
    assert list(_wrong("tidegate-agent reboot", whole=False))
    assert not list(_wrong("x=$(tidegate --json rollout show 3 | jq .id)", whole=True))
    assert not list(_wrong("tidegate artifact publish --sign KEY", whole=False))
