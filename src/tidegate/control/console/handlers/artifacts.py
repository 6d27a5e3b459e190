"""Artifacts: the list, one version, and withdrawing it."""

from __future__ import annotations

from urllib.parse import quote

from tidegate.control.console.views import Chip, Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, wrong
from tidegate.control.services import artifacts
from tidegate.errors import NotFound, Refused, TidegateError
from tidegate.wire.operator.artifacts import ListArtifacts

SIZE = 50
_STATES = (("", "All"), ("available", "available"), ("withdrawn", "withdrawn"))


def listed(visit: Visit) -> Outcome:
    return _list(visit, "")


def versions(visit: Visit) -> Outcome:
    """Every version of one name."""
    shown = _list(visit, visit.params["name"])
    if not shown.context["items"] and not visit.ask("state"):
        raise NotFound(f"cannot find an artifact named {visit.params['name'][:128]}")
    return shown


def _list(visit: Visit, name: str) -> Show:
    state = visit.ask("state") if visit.ask("state") in ("available", "withdrawn") else ""
    search, offset = visit.ask("q").strip()[:128], visit.offset()
    query = ListArtifacts(search=search, name=name, state=state, limit=SIZE, offset=offset)  # type: ignore[arg-type]
    page = artifacts.listed(visit.scope, visit.node, query)
    path = f"/artifacts/{quote(name)}" if name else "/artifacts"
    asked = [("q", search), ("state", state)]
    chips = [Chip(label, f"{path}?state={key}" if key else path, key == state) for key, label in _STATES]
    context = {
        "items": page.items,
        "slice": Slice(offset, len(page.items), page.total, SIZE, asked),
        "chips": chips,
        "path": path,
        "name": name,
        "search": search,
        "state": state,
    }
    return Show("artifacts.html", name or "Artifacts", context)


def shown(visit: Visit) -> Outcome:
    return _show(visit)


def _show(visit: Visit, problem: TidegateError | None = None) -> Show:
    view = artifacts.find(visit.scope, visit.node, visit.params["name"], visit.params["version"])
    title = f"{view.artifact.name} {view.artifact.version}"
    return Show("artifact.html", title, {"view": view, "artifact": view.artifact}, problem=problem)


def withdraw(visit: Visit) -> Outcome:
    """The version is typed once more, since nobody can take this back."""
    name, version = visit.params["name"], visit.params["version"]
    try:
        if visit.text("confirm") != version:
            raise wrong("confirm", f"must be the version, {version}")
        artifacts.withdraw(visit.scope, visit.node, name, version, visit.text("reason"))
    except NotFound:
        raise
    except Refused as error:
        return _show(visit, error)
    return Go(f"/artifacts/{quote(name)}/{quote(version)}", "withdrawn")


PAGES = (
    Page("GET", "/artifacts", "artifacts.read", listed, nav="artifacts"),
    Page("GET", "/artifacts/{name}", "artifacts.read", versions, nav="artifacts"),
    Page("GET", "/artifacts/{name}/{version}", "artifacts.read", shown, nav="artifacts", live=True),
    Page("POST", "/artifacts/{name}/{version}/withdraw", "artifacts.publish", withdraw, nav="artifacts"),
)
