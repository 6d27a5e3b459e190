"""`tidegate rollout`: preview, create, watch, halt, resume, approve, abort, explain."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Literal

import click
import msgspec

from tidegate.cli import rollout_watch
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.names import ARTIFACT, DEVICE, GROUP, ROLLOUT, VERSION
from tidegate.cli.output import gives
from tidegate.cli.rollout_show import counted, preview_lines, show
from tidegate.errors import FieldError, Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.rollouts import AssignmentInfo, ExplanationInfo, RolloutInfo, RolloutPreview, Timeline

WATCH_SECONDS = 2.0
_LIST = ("id", "artifact", "version", "state", "target", "target_size", "waiting_on")
_DEVICES = ("device", "wave", "state", "state_since", "reason", "waiting_on")
_STRATEGY_MAX_BYTES = 1 << 20


@click.group("rollout")
def commands() -> None:
    """Rollouts: one artifact version to many devices, in widening waves."""


# -- creating ---------------------------------------------------------------------------------------------------------


def _request_options(function: Callable[..., None]) -> Callable[..., None]:
    options = [
        click.argument("artifact", type=ARTIFACT),
        click.argument("version", required=False, type=VERSION),
        click.option("--channel", help="The version that this channel points at now, instead of VERSION."),
        click.option("--group", type=GROUP, help="The target: a group."),
        click.option("--selector", help="The target: what a selector matches now."),
        click.option("--device", "devices", multiple=True, type=DEVICE, help="The target: a device; may be repeated."),
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
    if options["selector"]:
        target["selector"] = options["selector"]
    if options["devices"]:
        target["devices"] = list(options["devices"])
    if options["everyone"]:
        target["all"] = True
    if len(target) != 1:
        raise click.UsageError("give the target, one of --all, --group, --selector and --device")
    if (options["version"] is None) == (options["channel"] is None):
        raise click.UsageError("give VERSION or --channel, one of them")
    named = "version" if options["channel"] is None else "channel"
    request = {"artifact": options["artifact"], named: options[named], "target": target, "strategy": strategy,
               "probes": probes, "skip_incompatible": options["skip_incompatible"],
               "baseline": options["baseline"]}  # fmt: skip
    return request | ({"start_at": options["start_at"]} if options["start_at"] else {})


def _json_file(path: Path, kind: type) -> Any:
    try:
        if path.stat().st_size > _STRATEGY_MAX_BYTES:
            raise Invalid(f"cannot read {path}: larger than {_STRATEGY_MAX_BYTES} bytes")
        value = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise Invalid(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Invalid(f"cannot read {path} as JSON: {error}") from error
    if not isinstance(value, kind):
        rule = "must be a JSON object" if kind is dict else "must be a JSON list"
        raise Invalid(f"cannot use {path}", (FieldError("", rule),))
    return value


@commands.command()
@_request_options
@pass_cli
@gives(RolloutPreview)
def preview(cli: Cli, /, **options: Any) -> None:
    """Show what creating would do: cohorts, who does not fit, who is held. Nothing is created."""
    found = cli.client.call("POST", "/v1/rollouts/preview", body=_request(options))
    cli.out.data(found, "\n".join(preview_lines(found)))


@commands.command()
@_request_options
@click.option("--yes", is_flag=True, help="Create without asking.")
@click.option("--watch", "watched", is_flag=True, help="Watch it then, as `rollout watch` does.")
@pass_cli
@gives(RolloutInfo)
def create(cli: Cli, /, yes: bool, watched: bool, **options: Any) -> None:
    """Show the preview, ask, and create the rollout."""
    request = _request(options)
    if not yes:
        found = cli.client.call("POST", "/v1/rollouts/preview", body=request)
        for line in preview_lines(found):
            cli.out.say(line)
        if found["refusals"]:
            raise Invalid("cannot create this rollout: it would be refused, as the preview says")
        click.confirm(f"Create rollout to {counted(found['target_size'])}?", abort=True, err=True)
    made = cli.client.call("POST", "/v1/rollouts", body=request, creates=True)
    if watched:
        cli.out.say(f"rollout {made['id']} is created")
        sys.exit(rollout_watch.watch(cli, made["id"], (), WATCH_SECONDS, 0))
    cli.out.data(made, "\n".join([f"rollout {made['id']} is created", *show(made)]))


# -- reading ----------------------------------------------------------------------------------------------------------


@commands.command("list")
@click.option("--state", default="", help="One state, or open.")
@click.option("--artifact", default="", type=ARTIFACT)
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[RolloutInfo])
def list_(cli: Cli, state: Any, artifact: str, limit: int, cursor: str) -> None:
    """Rollouts, the newest first."""
    found = cli.client.rollouts.list(state=state, artifact=artifact)
    first = "" if state or artifact or cursor else "tidegate rollout create ARTIFACT VERSION --all"
    cli.out.page(found.page(limit=limit, cursor=cursor), _LIST, first=first)


@commands.command("show")
@click.argument("rollout", type=ROLLOUT)
@pass_cli
@gives(RolloutInfo)
def show_(cli: Cli, rollout: int) -> None:
    """One rollout: what it waits on, a bar per wave."""
    found = msgspec.to_builtins(cli.client.rollouts.get(rollout))
    cli.out.data(found, "\n".join(show(found)))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@pass_cli
@gives(Timeline)
def timeline(cli: Cli, rollout: int) -> None:
    """What happened, newest first."""
    found = cli.client.rollouts.timeline(rollout)
    cli.out.data(found, lambda: cli.out.table(found.items, ("at", "kind", "device", "actor", "detail")))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--show", "which", default="all", show_default=True, help="all, attention, open, or one state.")
@click.option("--search", default="")
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 200))
@click.option("--cursor", default="")
@pass_cli
@gives(Page[AssignmentInfo])
def devices(cli: Cli, rollout: int, which: str, search: str, limit: int, cursor: str) -> None:
    """Devices of a rollout, what needs attention first."""
    found = cli.client.rollouts.assignments(rollout, show=which, search=search)
    cli.out.page(found.page(limit=limit, cursor=cursor), _DEVICES)


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@rollout_watch.options
@pass_cli
@gives(RolloutInfo)
def watch(cli: Cli, rollout: int, states: tuple[str, ...], interval_seconds: float, timeout_seconds: float) -> None:
    """Watch until it ends: live bars on a terminal, else a line for each change; exit 1 when it ends aborted."""
    sys.exit(rollout_watch.watch(cli, rollout, states, interval_seconds, timeout_seconds))


@commands.command()
@click.argument("device", type=DEVICE)
@click.argument("artifact", type=ARTIFACT)
@pass_cli
@gives(ExplanationInfo)
def explain(cli: Cli, device: str, artifact: str) -> None:
    """Why a device runs what it runs of an artifact name, and not something else."""
    found = msgspec.to_builtins(cli.client.rollouts.explain(device=device, artifact=artifact))
    lines = [found["answer"]]
    lines += [f"  {fact['at'] or '':<20.19} {fact['text']}: {fact['detail']}".rstrip(": ") for fact in found["facts"]]
    cli.out.data(found, "\n".join(lines))


# -- verbs ------------------------------------------------------------------------------------------------------------


def _told(cli: Cli, answer: RolloutInfo) -> None:
    found = msgspec.to_builtins(answer)
    cli.out.data(found, "\n".join(show(found)))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--reason", default="", help="Goes to the audit log.")
@pass_cli
@gives(RolloutInfo)
def halt(cli: Cli, rollout: int, reason: str) -> None:
    """Freeze: nothing is served, no leave is given; devices already applying finish."""
    _told(cli, cli.client.rollouts.halt(rollout, reason=reason))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--reason", default="", help="Why it is safe now; goes to the audit log.")
@pass_cli
@gives(RolloutInfo)
def resume(cli: Cli, rollout: int, reason: str) -> None:
    """Acknowledge the failures known now and go on."""
    _told(cli, cli.client.rollouts.resume(rollout, reason=reason))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--reason", default="", help="Goes to the audit log.")
@pass_cli
@gives(RolloutInfo)
def approve(cli: Cli, rollout: int, reason: str) -> None:
    """Release the wave that waits for a person."""
    _told(cli, cli.client.rollouts.approve(rollout, reason=reason))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--policy", type=click.Choice(["keep", "revert"]), default="keep", show_default=True)
@click.option("--reason", default="", help="Goes to the audit log.")
@click.option("--yes", is_flag=True, help="Abort without asking.")
@pass_cli
@gives(RolloutInfo)
def abort(cli: Cli, rollout: int, policy: Literal["keep", "revert"], reason: str, yes: bool) -> None:
    """End a rollout for good; keep what runs, or revert it on every device that has it."""
    if not yes:
        found = msgspec.to_builtins(cli.client.rollouts.preview_abort(rollout))
        skipped = sum(found["skipped"].values())
        cli.out.say(f"skipped: {counted(skipped)}; already applying, will finish: {found['finishing']:,}")
        if policy == "keep":
            cli.out.say(f"healthy devices that keep running it: {found['stay']:,}")
        for way in found["back"] if policy == "revert" else ():
            goal = f"go back to {way['version']}" if way["version"] else "remove it"
            cli.out.say(f"{counted(way['devices'])} {goal}, {way['offline']:,} of them at the next check-in")
        click.confirm(f"Abort rollout {rollout} with {policy}? It cannot be resumed.", abort=True, err=True)
    _told(cli, cli.client.rollouts.abort(rollout, policy=policy, reason=reason))
