"""Words that came from somewhere else, made fit for one line of a log, a terminal or a heartbeat."""

from __future__ import annotations

WORDS_MAX = 1024


def plain(text: str, limit: int = WORDS_MAX) -> str:
    """`text` on one line, without control characters (a terminal obeys them), at most `limit` characters."""
    cut = text[: limit * 2]
    return " ".join("".join(one if one.isprintable() else " " for one in cut).split())[:limit]
