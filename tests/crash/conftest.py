"""Says at the end how many crash points were covered, so that a sample is not taken for the whole."""

from __future__ import annotations

from collections.abc import Callable

import pytest

KEY = "crash points"


@pytest.fixture
def covered(record_property: Callable[[str, object], None]) -> Callable[[str, int], None]:
    """`covered(how, count)` for the summary."""
    return lambda how, count: record_property(KEY, (how, count))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    sums: dict[str, int] = {}
    for report in terminalreporter.getreports("passed"):
        for key, value in report.user_properties:
            if key == KEY and report.when == "call":
                how, count = value
                sums[how] = sums.get(how, 0) + int(count)
    for how, count in sorted(sums.items()):
        terminalreporter.write_line(f"crash points covered: {count:>6}  {how}")
