"""Logs of one device: ask for the end of a source, see what came, read it or save it."""

from __future__ import annotations

from urllib.parse import quote

from starlette.responses import Response

from tidegate.control.console.views import Slice
from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit, typed
from tidegate.control.domain.logs import tail
from tidegate.control.services import devices, logs
from tidegate.errors import Conflict, Refused, TidegateError
from tidegate.wire.operator.logs import NewLogRequest

SIZE = 20
#: Shown on the page; the whole is there to be saved.
READ_BYTES = 24 << 10
AMOUNTS = ((65_536, "64 KiB"), (1 << 20, "1 MiB"), (4 << 20, "4 MiB"), (16 << 20, "16 MiB"))


def shown(visit: Visit) -> Outcome:
    return _page(visit, None)


def _page(visit: Visit, problem: TidegateError | None) -> Show:
    name = visit.params["name"]
    device = devices.get(visit.scope, visit.node, name).view.device
    offset = visit.offset()
    found = logs.listed(visit.scope, visit.node, name, limit=SIZE, offset=offset)
    return Show(
        "device_logs.html",
        f"Logs of {name}",
        {
            "device": device,
            "requests": found.items,
            "slice": Slice(offset, len(found.items), found.total, SIZE),
            "sources": [(source, source) for source in device.log_sources],
            "amounts": AMOUNTS,
            "kept_days": visit.node.settings.log_bundles_days,
            "asked": {
                "source": visit.text("source") if problem else "",
                "max_bytes": visit.text("max_bytes") if problem else "1048576",
            },
        },
        problem=problem,
        live_at=f"/devices/{quote(name)}/logs" if problem else "",
    )


def ask(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        wanted = typed({key: visit.text(key) for key in ("source", "max_bytes")}, NewLogRequest)
        logs.ask(visit.scope, visit.node, name, wanted.source, wanted.max_bytes)
    except Refused as error:
        return _page(visit, error)
    return Go(f"/devices/{quote(name)}/logs", "logs-asked")


def cancel(visit: Visit) -> Outcome:
    name = visit.params["name"]
    try:
        logs.cancel(visit.scope, visit.node, name, visit.integer("request"))
    except Conflict as error:
        return _page(visit, error)
    return Go(f"/devices/{quote(name)}/logs", "logs-cancelled")


def read(visit: Visit) -> Outcome:
    """The last lines of one bundle."""
    name, number = visit.params["name"], visit.integer("request")
    request = logs.get(visit.scope, visit.node, name, number)
    text = tail(logs.bundle(visit.scope, visit.node, name, number), READ_BYTES)
    context = {"name": name, "request": request, "text": text, "whole": len(text.encode()) >= (request.size_bytes or 0)}
    return Show("device_log.html", f"Log {request.source} of {name}", context)


def save(visit: Visit) -> Outcome:
    """The bundle as the device sent it."""
    name, number = visit.params["name"], visit.integer("request")
    request = logs.get(visit.scope, visit.node, name, number)
    data = logs.bundle(visit.scope, visit.node, name, number)
    return Response(data, headers=logs.headers(name, request), media_type="application/gzip")


PAGES = (
    Page("GET", "/devices/{name}/logs", "devices.read", shown, nav="devices", live=True),
    Page("POST", "/devices/{name}/logs", "devices.write", ask, nav="devices"),
    Page("GET", "/devices/{name}/logs/{request}", "devices.write", read, nav="devices"),
    Page("GET", "/devices/{name}/logs/{request}/bundle", "devices.write", save, nav="devices"),
    Page("POST", "/devices/{name}/logs/{request}/cancel", "devices.write", cancel, nav="devices"),
)
