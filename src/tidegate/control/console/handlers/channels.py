"""Channels: where each points, moving and deleting one, and its history."""

from __future__ import annotations

from urllib.parse import quote

from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import artifacts, channels
from tidegate.errors import NotFound, Refused, TidegateError
from tidegate.wire.operator.artifacts import ListArtifacts

SIZE = 50
#: Versions offered in a form; an older one can be typed.
OFFERED = 50


def listed(visit: Visit) -> Outcome:
    return _list(visit)


def _list(visit: Visit, problem: TidegateError | None = None) -> Show:
    artifact, offset = visit.ask("artifact")[:128], visit.offset()
    page = channels.listed(visit.scope, visit.node, artifact=artifact, limit=SIZE, offset=offset)
    asked = [("artifact", artifact)]
    typed = {name: visit.text(name) for name in ("to", "channel", "reason")} if problem else {}
    offered = artifacts.listed(visit.scope, visit.node, ListArtifacts(state="available", name=artifact, limit=OFFERED))
    context = {
        "items": page.items,
        "slice": Slice(offset, len(page.items), page.total, SIZE, asked),
        "artifact": artifact,
        "typed": {"to": "", "channel": "", "reason": "", **typed},
        "offered": [f"{one.name}/{one.version}" for one in offered.items],
    }
    return Show("channels.html", "Channels", context, problem=problem)


def create(visit: Visit) -> Outcome:
    """A new channel, or one that exists moved: the form names artifact, version and channel."""
    artifact, slash, version = visit.text("to").partition("/")
    name = visit.text("channel")
    try:
        if not slash:
            raise wrong("to", "must be an artifact and its version, such as vad/5")
        channels.move(visit.scope, visit.node, artifact, name, version, visit.text("reason"))
    except Refused as error:
        return _list(visit, error)
    return Go(f"/channels/{quote(artifact)}/{quote(name)}", "channel-moved")


def shown(visit: Visit) -> Outcome:
    return _show(visit)


def _show(visit: Visit, problem: TidegateError | None = None) -> Show:
    artifact, name, offset = visit.params["artifact"], visit.params["channel"], visit.offset()
    moves = channels.history(visit.scope, visit.node, artifact, name, limit=SIZE, offset=offset)
    try:
        channel = channels.get(visit.scope, visit.node, artifact, name)
    except NotFound:
        channel = None  # deleted: its history is still there to read
    available = ListArtifacts(state="available", name=artifact, limit=OFFERED)
    offered = artifacts.listed(visit.scope, visit.node, available).items
    context = {
        "channel": channel,
        "artifact": artifact,
        "name": name,
        "moves": moves.items,
        "slice": Slice(offset, len(moves.items), moves.total, SIZE),
        "path": f"/channels/{quote(artifact)}/{quote(name)}",
        "offered": [one.version for one in offered],
    }
    return Show("channel.html", f"{artifact} {name}", context, problem=problem)


def move(visit: Visit) -> Outcome:
    artifact, name = visit.params["artifact"], visit.params["channel"]
    try:
        version, seen = visit.text("version"), visit.text("seen")
        channels.move(visit.scope, visit.node, artifact, name, version, visit.text("reason"), seen=seen)
    except Refused as error:
        return _show(visit, error)
    return Go(f"/channels/{quote(artifact)}/{quote(name)}", "channel-moved")


def delete(visit: Visit) -> Outcome:
    artifact, name = visit.params["artifact"], visit.params["channel"]
    try:
        channels.delete(visit.scope, visit.node, artifact, name, visit.text("reason"))
    except NotFound:
        raise
    except Refused as error:
        return _show(visit, error)
    return Go("/channels", "channel-deleted")


_ONE = "/channels/{artifact}/{channel}"
PAGES = (
    Page("GET", "/channels", "artifacts.read", listed, nav="channels", live=True),
    Page("POST", "/channels", "artifacts.publish", create, nav="channels"),
    Page("GET", _ONE, "artifacts.read", shown, nav="channels", live=True),
    Page("POST", f"{_ONE}/move", "artifacts.publish", move, nav="channels"),
    Page("POST", f"{_ONE}/delete", "artifacts.publish", delete, nav="channels"),
)
