"""Import and export: a sheet is chosen, what it would change is shown, and only then it is imported."""

from __future__ import annotations

from typing import get_args

from starlette.datastructures import UploadFile
from starlette.responses import StreamingResponse

from tidegate.control.console.visit import Outcome, Page, Show, Visit, wrong
from tidegate.control.domain.device_import import Unknown
from tidegate.control.domain.sheet import MAX_BYTES, rows
from tidegate.control.services import device_sheet
from tidegate.control.services.device_sheet import Document, Figures
from tidegate.control.services.devices import Search
from tidegate.errors import Refused, TidegateError, TooLarge

CHOICES = (
    ("refuse", "refuse the whole file"),
    ("skip", "leave them out"),
    ("enroll", "mint an enrollment token for each, shown once"),
)


def begin(visit: Visit) -> Outcome:
    return _page(visit, "refuse")


def preview(visit: Visit) -> Outcome:
    """What the file would change; it is remembered for its person, so that nobody chooses it twice."""
    chosen = visit.text("unknown", "refuse")
    try:
        unknown, raw = _unknown(visit), _chosen(visit)
        document = device_sheet.read(raw)
        found = device_sheet.preview(visit.scope, visit.node, document, unknown)
        if not found.wrong:
            device_sheet.keep(visit.scope, visit.node, document, raw)
    except Refused as error:
        return _page(visit, chosen, problem=error)
    return _page(visit, chosen, found=found)


def carry_out(visit: Visit) -> Outcome:
    chosen = visit.text("unknown", "refuse")
    document: Document | None = None
    try:
        unknown = _unknown(visit)
        document = device_sheet.kept(visit.scope, visit.node, visit.text("sha256"))
        done = device_sheet.carry_out(visit.scope, visit.node, document, unknown)
    except Refused as error:
        found = device_sheet.preview(visit.scope, visit.node, document, unknown) if document else None
        return _page(visit, chosen, found=found, problem=error)
    tokens = rows([("name", "token", "expires_at"), *((one.name, one.secret, f"{one.expires_at:%Y-%m-%dT%H:%M:%SZ}")
                                                      for one in done.tokens)])  # fmt: skip
    return _page(visit, chosen, found=done, tokens=tokens if done.tokens else "", done=True)


def export(visit: Visit) -> Outcome:
    """The whole fleet, or what the Devices page was asked for."""
    search = Search(selector=visit.ask("selector").strip(), group=visit.ask("group") or None)
    pieces = device_sheet.export(visit.scope, visit.node, search)
    name = f"devices-{visit.scope.fleet}.csv"
    headers = {"content-disposition": f'attachment; filename="{name}"'}
    return StreamingResponse(pieces, headers=headers, media_type="text/csv; charset=utf-8")


def _unknown(visit: Visit) -> Unknown:
    chosen = visit.text("unknown", "refuse")
    for known in get_args(Unknown):
        if known == chosen:
            return known  # type: ignore[no-any-return]
    raise wrong("unknown", "must be one of the choices")


def _chosen(visit: Visit) -> bytes:
    file = visit.form.get("file")
    if not isinstance(file, UploadFile) or not file.filename:
        raise wrong("file", "choose a CSV file")
    raw = file.file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise TooLarge(f"cannot import a file of more than {MAX_BYTES >> 20} MiB; split it")
    return raw


def _page(
    visit: Visit,
    unknown: str,
    *,
    found: Figures | None = None,
    problem: TidegateError | None = None,
    tokens: str = "",
    done: bool = False,
) -> Show:
    return Show(
        "import_devices.html",
        "Import devices",
        {
            "unknown": unknown,
            "choices": [one for one in CHOICES if one[0] != "enroll" or visit.scope.allows("tokens.write")],
            "found": found,
            "tokens": tokens,
            "imported": done,
        },
        problem=problem,
    )


PAGES = (
    Page("GET", "/import-devices", "devices.write", begin, nav="devices"),
    Page("POST", "/import-devices/preview", "devices.write", preview, nav="devices", file_bytes=MAX_BYTES),
    Page("POST", "/import-devices", "devices.write", carry_out, nav="devices"),
    Page("GET", "/export-devices", "devices.read", export, nav="devices"),
)
