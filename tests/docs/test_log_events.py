"""The table of log events is what the code logs: nothing else, and nothing less."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import tidegate
from tidegate.control.log_events import EVENTS

SOURCE = Path(tidegate.__file__).parent
_LOGS = {f"log.{level}" for level in ("debug", "info", "warning", "error", "exception", "critical")}


def _calls() -> Iterator[tuple[str, ast.Call]]:
    """Where the control plane calls its structured logger."""
    for path in sorted((SOURCE / "control").rglob("*.py")):
        text = path.read_text(encoding="utf-8")
        if "structlog.get_logger()" not in text:
            continue
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in _LOGS:
                yield f"{path.relative_to(SOURCE)}:{node.lineno}", node


def test_every_event_that_is_logged_is_documented_with_its_level_and_fields() -> None:
    documented = {one.event: one for one in EVENTS}
    assert len(documented) == len(EVENTS)
    logged = set()
    for where, call in _calls():
        assert len(call.args) == 1, f"{where}: an event has a name and fields"
        assert isinstance(call.args[0], ast.Constant), f"{where}: the name of an event is a constant"
        name = call.args[0].value
        assert name in documented, f"{where}: {name!r} is missing in control/log_events.py"
        assert isinstance(call.func, ast.Attribute)
        level = "error" if call.func.attr == "exception" else call.func.attr
        fields = tuple(sorted(keyword.arg or "**" for keyword in call.keywords))
        assert (level, fields) == (documented[name].level, documented[name].fields), f"{where}: {name!r}"
        logged.add(name)
    assert set(documented) == logged, "an event is documented that nothing logs any more"
