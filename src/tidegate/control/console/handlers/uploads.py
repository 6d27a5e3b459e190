"""Uploads under way: how much of each has arrived, how to go on with it, and discarding one."""

from __future__ import annotations

from tidegate.control.console.visit import Go, Outcome, Page, Show, Visit
from tidegate.control.services import uploads

#: An operator who has more of them under way discards some first.
MOST = 100


def shown(visit: Visit) -> Outcome:
    items, total = uploads.listed(visit.scope, visit.node, limit=MOST)
    keep = visit.node.settings.upload_keep_hours
    return Show("uploads.html", "Uploads under way", {"items": items, "total": total, "keep_hours": keep})


def discard(visit: Visit) -> Outcome:
    uploads.discard(visit.scope, visit.node, visit.params["upload"])
    return Go("/uploads", "upload-discarded")


PAGES = (
    Page("GET", "/uploads", "artifacts.publish", shown, nav="artifacts"),
    Page("POST", "/uploads/{upload}/discard", "artifacts.publish", discard, nav="artifacts"),
)
