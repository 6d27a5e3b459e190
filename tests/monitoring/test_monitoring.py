"""Metrics, alert rules and dashboard, against a real Prometheus that scrapes a real node."""

from __future__ import annotations

import json
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
import yaml
from tests.docs.shell import Shell
from tests.docs.stage import environment, run

from tidegate.testing import live, runbook
from tidegate.testing.live import LiveNode
from tidegate.testing.ports import free_ports
from tidegate.testing.processes import Processes

PROJECT = Path(__file__).parents[2]
MONITORING = PROJECT / "deploy" / "monitoring"
GUIDE = PROJECT / "docs" / "guides" / "monitoring.md"
ALERTS = yaml.safe_load((MONITORING / "alerts.yaml").read_text())
RULES = [rule for group in ALERTS["groups"] for rule in group["rules"]]
DASHBOARD = json.loads((MONITORING / "tidegate-dashboard.json").read_text())
DEADLINE_SECONDS = 120.0
#: A target at which nobody listens: the node that is down.
NOWHERE = "127.0.0.1:1"


@dataclass(frozen=True, slots=True)
class Monitored:
    node: LiveNode
    prometheus: str

    def ask(self, path: str, **fields: str) -> Any:
        answer = urllib3.request("GET", f"{self.prometheus}/api/v1/{path}", fields=fields, timeout=10, retries=False)
        said = answer.json()
        assert said["status"] == "success", said
        return said["data"]

    def query(self, expression: str) -> list[Any]:
        result: list[Any] = self.ask("query", query=expression)["result"]
        return result

    def alerts(self, instance: str) -> dict[str, str]:
        """What is pending or firing for one target."""
        found = self.ask("alerts")["alerts"]
        return {one["labels"]["alertname"]: one["state"] for one in found if one["labels"].get("instance") == instance}


def _until(what: str, holds: Callable[[], bool]) -> None:
    ends = time.monotonic() + DEADLINE_SECONDS
    while not holds():
        assert time.monotonic() < ends, f"not within {DEADLINE_SECONDS} s: {what}"
        time.sleep(0.2)  # between two looks at a condition


@pytest.fixture(scope="module")
def monitored(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Monitored]:
    """The configuration that is shipped, only faster and with the node's own port."""
    folder = tmp_path_factory.mktemp("monitored")
    node = live.initialise(folder / "node")
    (port,) = free_ports(1)
    config = yaml.safe_load((MONITORING / "prometheus.yml").read_text())
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    config["scrape_configs"][0]["static_configs"] = [{"targets": [_instance(node), NOWHERE]}]
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    shutil.copy(MONITORING / "alerts.yaml", folder)
    with Processes(folder / "logs") as processes:
        live.serve(node, processes)
        listen = f"127.0.0.1:{port}"
        processes.start(
            "prometheus",
            ["prometheus", f"--config.file={folder / 'prometheus.yml'}", f"--storage.tsdb.path={folder / 'data'}",
             f"--web.listen-address={listen}"],
        )  # fmt: skip
        running = Monitored(node, f"http://{listen}")

        def ready() -> bool:
            assert processes.exit_code("prometheus") is None, processes.tail("prometheus")
            try:
                return urllib3.request("GET", f"{running.prometheus}/-/ready", timeout=10, retries=False).status == 200
            except urllib3.exceptions.HTTPError:
                return False

        _until("Prometheus is ready", ready)  # it listens before, and answers queries with 503
        scraped = f'count_over_time(tidegate_devices{{instance="{_instance(node)}"}}[1m]) >= 4'
        _until("Prometheus has scraped the node a few times", lambda: bool(running.query(scraped)))
        yield running


def _instance(node: LiveNode) -> str:
    return node.metrics_url.removeprefix("http://").removesuffix("/metrics")


def _promtool(*words: str, given: str = "", folder: Path = PROJECT) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["promtool", *words], input=given, cwd=folder, capture_output=True, text=True, check=False, timeout=60
    )


def test_metrics_follow_prometheus_conventions(monitored: Monitored) -> None:
    text = urllib3.request("GET", f"http://{_instance(monitored.node)}/metrics", timeout=10).data.decode()
    said = _promtool("check", "metrics", given=text)
    assert (said.returncode, said.stdout, said.stderr) == (0, "", "")
    assert 'tidegate_devices{fleet="default",presence="online"}' in text
    assert "_created" not in text


def test_every_alert_rule_is_evaluated_and_a_sound_node_raises_none(monitored: Monitored) -> None:
    loaded = [rule for group in monitored.ask("rules")["groups"] for rule in group["rules"]]
    assert sorted(rule["name"] for rule in loaded) == sorted(rule["alert"] for rule in RULES)
    _until("every rule was evaluated", lambda: all(rule["health"] != "unknown" for rule in _rules(monitored)))
    assert {rule["name"]: rule.get("lastError", "") for rule in _rules(monitored) if rule["health"] != "ok"} == {}
    assert monitored.alerts(_instance(monitored.node)) == {}


def _rules(monitored: Monitored) -> list[Any]:
    return [rule for group in monitored.ask("rules")["groups"] for rule in group["rules"]]


def test_a_node_that_does_not_answer_is_noticed(monitored: Monitored) -> None:
    _until("TidegateDown is on its way", lambda: monitored.alerts(NOWHERE) == {"TidegateDown": "pending"})


QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}")
    for panel in DASHBOARD["panels"]
    for target in panel.get("targets", [])
]


@pytest.mark.parametrize("expression", QUERIES)
def test_every_query_of_the_dashboard_returns_series(monitored: Monitored, expression: str) -> None:
    asked = expression
    values = {"$instance": _instance(monitored.node), "$fleet": "default", "$__rate_interval": "1m"}
    for name, value in values.items():
        asked = asked.replace(name, value)
    assert "$" not in asked
    assert monitored.query(asked), asked


def test_the_dashboards_variables_have_values_and_its_panels_do_not_overlap(monitored: Monitored) -> None:
    for variable in DASHBOARD["templating"]["list"]:
        if variable["type"] == "query":
            metric, label = variable["query"].removeprefix("label_values(").removesuffix(")").split(", ")
            assert monitored.ask(f"label/{label}/values", **{"match[]": metric}), variable["name"]
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        at = panel["gridPos"]
        cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])


def test_each_alert_fires_when_it_should_and_is_quiet_before(tmp_path: Path) -> None:
    for file in (MONITORING / "alerts.yaml", Path(__file__).parent / "alerts_test.yaml"):
        shutil.copy(file, tmp_path)
    said = _promtool("test", "rules", "alerts_test.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr
    cases = yaml.safe_load((tmp_path / "alerts_test.yaml").read_text())["tests"]
    tried = [case for test in cases for case in test["alert_rule_test"]]
    names = {rule["alert"] for rule in RULES}
    assert {case["alertname"] for case in tried if case["exp_alerts"]} == names
    assert {case["alertname"] for case in tried if not case["exp_alerts"]} == names


#: What a panel shows of fleets, from the series below; the dashboard's other panels are about processes.
_FLEET = [
    ('tidegate_devices{fleet="plant", presence="online"}', 95),
    ('tidegate_devices{fleet="plant", presence="offline"}', 5),
    ('tidegate_devices{fleet="yard", presence="online"}', 3),
    ('tidegate_devices_held{fleet="plant"}', 7),
    ('tidegate_devices_drifted{fleet="plant"}', 2),
    ('tidegate_devices_identity_conflict{fleet="plant"}', 1),
    ('tidegate_rollouts{fleet="plant", state="halted"}', 4),
    ('tidegate_assignments{fleet="plant", state="applying"}', 12),
]
_SHOWN: dict[str, list[tuple[str, float]]] = {
    "Devices online": [("{}", 98)],
    "Offline": [("{}", 5)],
    "Held": [("{}", 7)],
    "Drifted": [("{}", 2)],
    "Identity conflicts": [("{}", 1)],
    "Halted rollouts": [("{}", 4)],
    "Devices by presence": [
        ('{fleet="plant", presence="online"}', 95),
        ('{fleet="plant", presence="offline"}', 5),
        ('{fleet="yard", presence="online"}', 3),
    ],
    "Open rollouts by state": [('{fleet="plant", state="halted"}', 4)],
    "Assignments of open rollouts": [('{state="applying"}', 12)],
}


@pytest.mark.parametrize("processes", [("a",), ("a", "b")], ids=["one process", "two on one database"])
def test_the_dashboard_shows_the_same_of_fleets_for_one_process_and_for_several(
    processes: tuple[str, ...], tmp_path: Path
) -> None:
    panels = {panel["title"]: panel["targets"][0]["expr"] for panel in DASHBOARD["panels"] if panel.get("targets")}
    series = [
        {"series": f'{name[:-1]}, job="tidegate", instance="{process}"}}', "values": f"{value}x3"}
        for name, value in _FLEET
        for process in processes
    ]
    shown = [
        {
            "expr": panels[title].replace("$instance", ".*").replace("$fleet", ".*"),
            "eval_time": "2m",
            "exp_samples": [{"labels": labels, "value": value} for labels, value in samples],
        }
        for title, samples in _SHOWN.items()
    ]
    case = {"interval": "1m", "input_series": series, "promql_expr_test": shown}
    (tmp_path / "panels.yaml").write_text(yaml.safe_dump({"evaluation_interval": "1m", "tests": [case]}))
    said = _promtool("test", "rules", "panels.yaml", folder=tmp_path)
    assert said.returncode == 0, said.stdout + said.stderr


def test_the_shipped_configuration_is_sound() -> None:
    assert _promtool("check", "config", "prometheus.yml", folder=MONITORING).returncode == 0


def test_the_guides_commands_say_what_it_says(monitored: Monitored, tmp_path: Path) -> None:
    for name in ("prometheus.yml", "alerts.yaml"):
        shutil.copy(MONITORING / name, tmp_path)
    places = {"127.0.0.1:9464": _instance(monitored.node), "127.0.0.1:9090": monitored.prometheus[len("http://") :]}
    typed = 0
    with Shell(tmp_path, environment(tmp_path)) as shell:
        for part in runbook.read(GUIDE):
            assert isinstance(part, runbook.Block)
            for command in part.commands:
                text = command.text
                for documented, here in places.items():
                    text = text.replace(documented, here)
                run(shell, runbook.Command(command.line, text, command.expected, command.again, command.exit_status))
                typed += 1
    assert typed == 4


def test_each_alert_is_explained_in_the_guide() -> None:
    guide = GUIDE.read_text()
    assert [rule["alert"] for rule in RULES if f"`{rule['alert']}`" not in guide] == []
    assert all(rule["labels"]["severity"] in ("page", "ticket") for rule in RULES)
