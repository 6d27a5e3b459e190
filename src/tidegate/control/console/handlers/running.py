"""What runs where: a picture and a table by artifact, device by device below, and the whole of it as a file."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain, repeat
from urllib.parse import urlencode

from markupsafe import Markup
from starlette.responses import StreamingResponse

from tidegate.control.console.gauges import bar
from tidegate.control.console.views import Chip, Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.services import groups, runs
from tidegate.control.services.runs import Wanted
from tidegate.control.store.runs import Show as ShowRuns
from tidegate.control.store.runs import VersionCount

SIZE = 50
#: Versions that the pictures show; the table is told to be narrowed when there are more.
MOST_VERSIONS = 200
MEDIA_TYPES = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
_SHOWN: tuple[tuple[ShowRuns, str, str], ...] = (
    ("all", "All devices", ""),
    ("drifted", "drifted", "drifted"),
    ("withdrawn", "run a withdrawn version", "withdrawn"),
    ("unreported", "have reported none", "never"),
)
#: Steps of one tone, the most frequent version first, then one for all others; what is withdrawn has a tone of its own.
_SHADES = ("v-0", "v-1", "v-2", "v-3", "v-x")


@dataclass(frozen=True, slots=True)
class Picture:
    """One artifact name: its versions, the most frequent first, and their shares as a bar."""

    artifact: str
    devices: int
    versions: tuple[tuple[VersionCount, str], ...]  # each with the class of its share
    bar: Markup


def _wanted(visit: Visit) -> Wanted:
    show: ShowRuns = next((key for key, _, _ in _SHOWN if key == visit.ask("show")), "all")
    return Wanted(
        artifact=visit.ask("artifact")[:128],
        version=visit.ask("version")[:128],
        group=visit.ask("group")[:128],
        show=show,
    )


def _asked(wanted: Wanted, **other: str) -> list[tuple[str, str]]:
    values = {"artifact": wanted.artifact, "version": wanted.version, "group": wanted.group, "show": wanted.show}
    return [(name, value) for name, value in (values | other).items() if value and (name, value) != ("show", "all")]


def _address(wanted: Wanted, path: str = "/running", **other: str) -> str:
    asked = urlencode(_asked(wanted, **other))
    return f"{path}?{asked}" if asked else path


def shown(visit: Visit) -> Outcome:
    wanted, offset = _wanted(visit), visit.offset()
    whole = runs.totals(visit.scope, visit.node, wanted)
    counted = runs.versions(visit.scope, visit.node, wanted, limit=MOST_VERSIONS)
    page = runs.listed(visit.scope, visit.node, wanted, limit=SIZE, offset=offset)
    counts: dict[ShowRuns, int] = {
        "all": whole.devices, "drifted": whole.drifted, "withdrawn": whole.withdrawn, "unreported": whole.unreported,
    }  # fmt: skip
    context = {
        "wanted": wanted,
        "whole": whole,
        "pictures": pictures(counted.items),
        "more_versions": counted.total - len(counted.items),
        "items": page.items,
        "slice": Slice(offset, len(page.items), page.total, SIZE, _asked(wanted)),
        "chips": [
            Chip(f"{label} {counts[key]:,}", _address(wanted, show=key), key == wanted.show, state)
            for key, label, state in _SHOWN
        ],
        "groups": [("", "every group"), *((name, name) for name in groups.names(visit.scope, visit.node))],
        "csv": _address(wanted, "/running/export", format="csv"),
        "jsonl": _address(wanted, "/running/export", format="jsonl"),
        "narrowed": bool(_asked(wanted)),
    }
    return Show("running.html", "What runs where", context)


def pictures(counted: list[VersionCount]) -> list[Picture]:
    """One for each artifact name, in the order given."""
    by_name: dict[str, list[VersionCount]] = {}
    for one in counted:
        by_name.setdefault(one.artifact, []).append(one)
    return [_picture(name, sorted(found, key=lambda one: -one.devices)) for name, found in by_name.items()]


def _picture(name: str, versions: list[VersionCount]) -> Picture:
    devices = sum(one.devices for one in versions)
    shades = chain(_SHADES, repeat(_SHADES[-1]))
    shown = [(one, "d-failed" if one.withdrawn else next(shades)) for one in versions]
    said = ", ".join(f"{one.version}: {one.devices:,}" for one in versions[:5])
    rest = f" and {len(versions) - 5} more versions" if len(versions) > 5 else ""
    return Picture(
        name, devices, tuple(shown), bar([(one.devices, shade) for one, shade in shown], f"{name}: {said}{rest}")
    )


def export(visit: Visit) -> Outcome:
    """The same rows, all of them, as a file."""
    format_ = visit.ask("format")
    if format_ not in MEDIA_TYPES:
        return Go("/running")
    pieces = runs.export(visit.scope, visit.node, _wanted(visit), "csv" if format_ == "csv" else "jsonl")
    headers = {"Content-Disposition": f'attachment; filename="running-{visit.scope.fleet}.{format_}"'}
    return StreamingResponse(pieces, headers=headers, media_type=MEDIA_TYPES[format_])


PAGES = (
    Page("GET", "/running", "devices.read", shown, nav="running", live=True),
    Page("GET", "/running/export", "devices.read", export, nav="running"),
)
