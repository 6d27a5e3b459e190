"""Structured logs: one line per event, for people or as JSON, on standard error; secrets never reach them."""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import MutableMapping
from typing import Any, TextIO

import structlog
from structlog.typing import EventDict, Processor

_SECRET_NAME = re.compile(r"password|secret|authorization|cookie|csrf|private|(^|_)token$|(^|_)key$", re.IGNORECASE)
_SECRET_VALUE = re.compile(
    r"\b(tg[a-z]?_)[A-Za-z0-9_-]{16,}"  # API keys, sessions, enrollment tokens
    r"|(://[^:/@\s]+:)[^@/\s]+(?=@)"  # a password in a URL
    r"|-----BEGIN [A-Z ]*PRIVATE KEY-----.*?(?:-----END [A-Z ]*PRIVATE KEY-----|\Z)",
    re.DOTALL,
)
HIDDEN = "[hidden]"
#: Longer text in a log line is cut: what others send must not fill the disk.
MAX_TEXT = 4_000
_MAX_TRACEBACK = 32_000
# A line feed would let whoever is logged write lines of their own, an escape sequence work on the reader's terminal.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACEBACK = "exception"


def configure(log_format: str, log_level: str, stream: TextIO | None = None) -> None:
    """Send structlog and the standard library's loggers through the same processors to `stream` (standard error)."""
    out = stream if stream is not None else sys.stderr
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
        hide_secrets,
        tame,
    ]
    last: Processor = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(
            colors=out.isatty(), pad_event_to=0, exception_formatter=structlog.dev.plain_traceback
        )
    )
    structlog.configure(
        processors=[structlog.stdlib.filter_by_level, *shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared, processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, last]
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(log_level.upper())
    # Their lines of routine say less than ours; what goes wrong they tell as a warning or error.
    for name in ("uvicorn", "alembic"):
        logging.getLogger(name).setLevel(max(logging.WARNING, root.level))


def hide_secrets(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Blank what is named like a secret or looks like one, at any depth."""
    return {name: _hidden(name, value) for name, value in event.items()}


def tame(_logger: Any, _method: str, event: EventDict) -> EventDict:
    """Cut what is too long, and write control characters out; a traceback keeps its lines."""
    return {name: _tamed(value, name == _TRACEBACK) for name, value in event.items()}


def _tamed(value: Any, lines: bool) -> Any:
    if isinstance(value, str):
        most = _MAX_TRACEBACK if lines else MAX_TEXT
        cut = value if len(value) <= most else f"{value[:most]}… ({len(value)} characters)"
        return _CONTROL.sub(lambda found: found[0] if lines and found[0] == "\n" else repr(found[0])[1:-1], cut)
    if isinstance(value, MutableMapping):
        return {_tamed(str(key), False): _tamed(inner, False) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_tamed(inner, False) for inner in value]
    return value


def _hidden(name: str, value: Any) -> Any:
    if _SECRET_NAME.search(name) and value not in (None, ""):
        return HIDDEN
    if isinstance(value, str):
        return _SECRET_VALUE.sub(_blank, value)
    if isinstance(value, bytes):
        return _SECRET_VALUE.sub(_blank, value.decode("utf-8", "replace"))
    if isinstance(value, MutableMapping):
        return {str(key): _hidden(str(key), inner) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_hidden(name, inner) for inner in value]
    if isinstance(value, bool | int | float | None):
        return value
    return _SECRET_VALUE.sub(_blank, str(value))


def _blank(match: re.Match[str]) -> str:
    return (match[1] or match[2] or "") + HIDDEN
