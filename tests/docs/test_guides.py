"""The first hour by hand and the README's ten minutes, typed into a bash as they stand there, from nothing."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.docs.shell import Shell
from tests.docs.stage import environment, run

from tidegate.testing import runbook
from tidegate.testing.ports import free_ports

PROJECT = Path(__file__).parents[2]


def _typed(parts: tuple[runbook.Part, ...], folder: Path) -> list[str]:
    """Type every command. Ports are the only thing changed: the documented ones may be taken on this machine."""
    console, device, metrics = free_ports(3)
    settings = {
        "TIDEGATE_INIT_CONSOLE_BIND": f"127.0.0.1:{console}",
        "TIDEGATE_INIT_DEVICE_BIND": f"127.0.0.1:{device}",
        "TIDEGATE_INIT_METRICS_BIND": f"127.0.0.1:{metrics}",
    }
    done = []
    with Shell(folder, environment(folder) | settings) as shell:
        for part in parts:
            assert isinstance(part, runbook.Block), "a guide is played by its commands alone"
            for command in part.commands:
                text = command.text.replace("127.0.0.1:8443", f"127.0.0.1:{console}")
                asked = runbook.Command(command.line, text, command.expected, command.again, command.exit_status)
                try:
                    run(shell, asked)
                except AssertionError as error:
                    logs = "\n".join(f"--- {log.name}\n{log.read_text()[-2000:]}" for log in folder.glob("*.log"))
                    raise AssertionError(f"line {part.line}: {error}\n{logs}") from error
                done.append(text)
    return done


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_first_hour(tmp_path: Path) -> None:
    assert len(_typed(runbook.read(PROJECT / "docs" / "guides" / "first-hour.md"), tmp_path)) > 20


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_the_ten_minutes_of_the_readme(tmp_path: Path) -> None:
    text = (PROJECT / "README.md").read_text(encoding="utf-8")
    _, found, after = text.partition("\n## Ten minutes, by hand\n")
    assert found
    section = after.partition("\n## ")[0]
    assert 8 <= len(_typed(runbook.parse(section, "README.md"), tmp_path)) <= 14


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_configuration_files(tmp_path: Path) -> None:
    assert len(_typed(runbook.read(PROJECT / "docs" / "guides" / "config-files.md"), tmp_path)) > 20
