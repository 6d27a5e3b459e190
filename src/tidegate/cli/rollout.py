"""`tidegate rollout`: preview, create, watch, halt, resume, approve, abort, explain."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from tidegate.cli.client import Cli, pass_cli, quoted
from tidegate.cli.rollout_show import bars, counted, preview_lines, show
from tidegate.errors import FieldError, Invalid, Unavailable

_ENDED = ("completed", "aborted")
_LIST = ("id", "artifact", "version", "state", "target", "target_size", "waiting_on")
_DEVICES = ("device", "wave", "state", "state_since", "reason", "waiting_on")
_STRATEGY_MAX_BYTES = 1 << 20


@click.group("rollout")
def commands() -> None:
    """Rollouts: one artifact version to many devices, in widening waves."""


# -- creating ---------------------------------------------------------------------------------------------------------


def _request_options(function: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.argument("artifact"),
        click.argument("version", required=False),
        click.option("--channel", help="The version that this channel points at now, instead of VERSION."),
        click.option("--group", help="The target: a group."),
        click.option("--where", metavar="SELECTOR", help="The target: what a selector matches now."),
        click.option("--device", "devices", multiple=True, help="The target: a device; give it again for more."),
        click.option("--all", "everyone", is_flag=True, help="The target: the whole fleet."),
        click.option("--waves", help="Cumulative percentages such as 10,50,100."),
        click.option("--approval", type=click.Choice(["auto", "manual"]), help="Of every wave that does not say."),
        click.option("--soak-seconds", type=click.IntRange(0), help="Between waves."),
        click.option("--max-failure-rate", help="In [0, 1); a wave halts above it."),
        click.option("--max-in-flight", help="Devices at work at once: a number, or a percentage such as 10%."),
        click.option("--strategy", "file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help="JSON file with the whole strategy; options above override its keys."),
        click.option("--probes", "probes_file", type=click.Path(exists=True, dir_okay=False, path_type=Path),
                     help='JSON file with the probes, such as [{"kind": "exec", "name": "check"}].'),
        click.option("--exec-probe", help="Name of an allowlisted exec probe; for more, --probes."),
        click.option("--skip-incompatible", is_flag=True, help="Go on without the devices that do not fit."),
        click.option("--baseline", is_flag=True, help="Devices that enroll later get this version."),
        click.option("--start-at", help="Start time, RFC 3339."),
    ]  # fmt: skip
    for option in reversed(options):
        function = option(function)
    return function


def _request(options: Mapping[str, Any]) -> dict[str, Any]:
    strategy = _json_file(options["file"], dict) if options["file"] else {}
    if options["waves"]:
        strategy["waves"] = [{"percent": part.strip()} for part in options["waves"].split(",")]
    for name in ("approval", "soak_seconds", "max_failure_rate"):
        if options[name] is not None:
            strategy[name] = options[name]
    in_flight = options["max_in_flight"]
    if in_flight is not None:
        strategy["max_in_flight"] = int(in_flight) if in_flight.isdecimal() else in_flight
    probes = _json_file(options["probes_file"], list) if options["probes_file"] else []
    if options["exec_probe"]:
        probes = [*probes, {"kind": "exec", "name": options["exec_probe"]}]
    target: dict[str, Any] = {}
    if options["group"]:
        target["group"] = options["group"]
    if options["where"]:
        target["selector"] = options["where"]
    if options["devices"]:
        target["devices"] = list(options["devices"])
    if options["everyone"]:
        target["all"] = True
    if (options["version"] is None) == (options["channel"] is None):
        raise click.UsageError("give VERSION or --channel, one of them")
    named = "version" if options["channel"] is None else "channel"
    request = {"artifact": options["artifact"], named: options[named], "target": target, "strategy": strategy,
               "probes": probes, "skip_incompatible": options["skip_incompatible"],
               "baseline": options["baseline"]}  # fmt: skip
    return request | ({"start_at": options["start_at"]} if options["start_at"] else {})


def _json_file(path: Path, kind: type) -> Any:
    if path.stat().st_size > _STRATEGY_MAX_BYTES:
        raise Invalid(f"cannot read {path}: larger than {_STRATEGY_MAX_BYTES} bytes")
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise Invalid(f"cannot read {path}: {error}") from error
    if not isinstance(value, kind):
        rule = "must be a JSON object" if kind is dict else "must be a JSON list"
        raise Invalid(f"cannot use {path}", (FieldError("", rule),))
    return value


@commands.command()
@_request_options
@pass_cli
def preview(cli: Cli, /, **options: Any) -> None:
    """Show what creating would do: cohorts, who does not fit, who is held. Nothing is created."""
    found = cli.client.call("POST", "/v1/rollouts/preview", body=_request(options))
    cli.out.data(found, "\n".join(preview_lines(found)))


@commands.command()
@_request_options
@click.option("--yes", is_flag=True, help="Create without asking.")
@pass_cli
def create(cli: Cli, /, yes: bool, **options: Any) -> None:
    """Show the preview, ask, and create the rollout."""
    request = _request(options)
    if not yes:
        found = cli.client.call("POST", "/v1/rollouts/preview", body=request)
        for line in preview_lines(found):
            cli.out.say(line)
        click.confirm(f"Create rollout to {counted(found['target_size'])}?", abort=True, err=True)
    made = cli.client.call("POST", "/v1/rollouts", body=request, creates=True)
    cli.out.data(made, "\n".join([f"rollout {made['id']} is created", *show(made)]))


# -- reading ----------------------------------------------------------------------------------------------------------


@commands.command("list")
@click.option("--state", default="", help="One state, or open.")
@click.option("--artifact", default="")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
def list_(cli: Cli, state: str, artifact: str, limit: int, cursor: str) -> None:
    """Rollouts, the newest first."""
    query = {"state": state, "artifact": artifact, "limit": limit, "cursor": cursor}
    cli.out.page(cli.client.call("GET", "/v1/rollouts", query=query), _LIST)


@commands.command("show")
@click.argument("rollout", type=int)
@pass_cli
def show_(cli: Cli, rollout: int) -> None:
    """One rollout: what it waits on, a bar per wave."""
    found = cli.client.call("GET", _path(rollout))
    cli.out.data(found, "\n".join(show(found)))


@commands.command()
@click.argument("rollout", type=int)
@click.option("--show", "which", default="all", show_default=True, help="all, attention, open, or one state.")
@click.option("--search", default="")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
def devices(cli: Cli, rollout: int, which: str, search: str, limit: int, cursor: str) -> None:
    """Devices of a rollout, what needs attention first."""
    query = {"show": which, "search": search, "limit": limit, "cursor": cursor}
    cli.out.page(cli.client.call("GET", _path(rollout, "assignments"), query=query), _DEVICES)


@commands.command()
@click.argument("rollout", type=int)
@click.option("--until", "states", multiple=True, help="Stop in this state too; completed and aborted always stop.")
@click.option("--interval-seconds", default=2.0, show_default=True, type=click.FloatRange(0.2, 60))
@click.option("--timeout-seconds", default=0.0, help="Give up after this long; 0: never.")
@pass_cli
def watch(cli: Cli, rollout: int, states: tuple[str, ...], interval_seconds: float, timeout_seconds: float) -> None:
    """Say what the rollout waits on whenever that changes, until it ends; exit 1 when it ends aborted."""
    give_up = time.monotonic() + timeout_seconds if timeout_seconds else None
    last = ""
    while True:
        try:
            found = cli.client.call("GET", _path(rollout))
        except Unavailable as error:  # a node that restarts is not the end of a watch
            if give_up is not None and time.monotonic() > give_up:
                raise
            if last != error.detail:
                cli.out.say(f"{error.detail}; trying again")
                last = error.detail
            time.sleep(interval_seconds)
            continue
        now = f"{found['state']}: {found['waiting_on']}"
        if now != last:
            cli.out.say(now)
            for line in bars(found):
                cli.out.say(line)
            last = now
        if found["state"] in (*_ENDED, *states):
            cli.out.data(found, f"rollout {rollout} is {found['state']}")
            sys.exit(1 if found["state"] == "aborted" and "aborted" not in states else 0)
        if give_up is not None and time.monotonic() > give_up:
            raise Invalid(f"cannot wait longer: rollout {rollout} is {found['state']}. {found['waiting_on']}")
        time.sleep(interval_seconds)


@commands.command()
@click.argument("device")
@click.argument("artifact")
@pass_cli
def explain(cli: Cli, device: str, artifact: str) -> None:
    """Why a device runs what it runs of an artifact name, and not something else."""
    found = cli.client.call("GET", "/v1/explain", query={"device": device, "artifact": artifact})
    lines = [found["answer"]]
    lines += [f"  {fact['at'] or '':<20.19} {fact['text']}: {fact['detail']}".rstrip(": ") for fact in found["facts"]]
    cli.out.data(found, "\n".join(lines))


# -- verbs ------------------------------------------------------------------------------------------------------------


def _verb(cli: Cli, rollout: int, verb: str, body: dict[str, Any]) -> None:
    found = cli.client.call("POST", _path(rollout, verb), body={key: value for key, value in body.items() if value})
    cli.out.data(found, "\n".join(show(found)))


@commands.command()
@click.argument("rollout", type=int)
@click.option("--reason", default="", help="Goes to the audit log.")
@pass_cli
def halt(cli: Cli, rollout: int, reason: str) -> None:
    """Freeze: nothing is served, no leave is given; devices already applying finish."""
    _verb(cli, rollout, "halt", {"reason": reason})


@commands.command()
@click.argument("rollout", type=int)
@click.option("--reason", default="", help="Why it is safe now; goes to the audit log.")
@pass_cli
def resume(cli: Cli, rollout: int, reason: str) -> None:
    """Acknowledge the failures known now and go on."""
    _verb(cli, rollout, "resume", {"reason": reason})


@commands.command()
@click.argument("rollout", type=int)
@click.option("--reason", default="", help="Goes to the audit log.")
@pass_cli
def approve(cli: Cli, rollout: int, reason: str) -> None:
    """Release the wave that waits for a person."""
    _verb(cli, rollout, "approve", {"reason": reason})


@commands.command()
@click.argument("rollout", type=int)
@click.option("--policy", type=click.Choice(["keep", "revert"]), default="keep", show_default=True)
@click.option("--reason", default="", help="Goes to the audit log.")
@click.option("--yes", is_flag=True, help="Abort without asking.")
@pass_cli
def abort(cli: Cli, rollout: int, policy: str, reason: str, yes: bool) -> None:
    """End a rollout for good; keep what runs, or revert it on every device that has it."""
    if not yes:
        found = cli.client.call("GET", _path(rollout, "abort"))
        skipped = sum(found["skipped"].values())
        cli.out.say(f"skipped: {counted(skipped)}; already applying, will finish: {found['finishing']:,}")
        if policy == "keep":
            cli.out.say(f"healthy devices that keep running it: {found['stay']:,}")
        for way in found["back"] if policy == "revert" else ():
            goal = f"go back to {way['version']}" if way["version"] else "remove it"
            cli.out.say(f"{counted(way['devices'])} {goal}, {way['offline']:,} of them at the next check-in")
        click.confirm(f"Abort rollout {rollout} with {policy}? It cannot be resumed.", abort=True, err=True)
    _verb(cli, rollout, "abort", {"policy": policy, "reason": reason})


def _path(rollout: int, *rest: str) -> str:
    return "/".join(["/v1/rollouts", quoted(rollout), *rest])
