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
from tidegate.cli.commands import Noun, gives
from tidegate.cli.names import ARTIFACT, DEVICE, GROUP, ROLLOUT, VERSION
from tidegate.cli.options import TIME, Slice, paged
from tidegate.cli.output import counted, text
from tidegate.cli.rollout_show import preview_lines, show
from tidegate.errors import FieldError, Invalid
from tidegate.problems import invalid_from
from tidegate.wire.device import ExecProbe, Probe
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.rollouts import (
    AssignmentInfo,
    ExplanationInfo,
    RolloutInfo,
    RolloutPreview,
    Target,
    Timeline,
)

WATCH_SECONDS = 2.0
_LIST = ("id", "artifact", "version", "state", "target", "target_size", "waiting_on")
_DEVICES = ("device", "wave", "state", "state_since", "reason", "waiting_on")
_STRATEGY_MAX_BYTES = 1 << 20


@click.group("rollout", cls=Noun)
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
        click.option("--start-at", type=TIME, help="Such as 2026-12-01T08:00:00Z; left out: now."),
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
    probes = _probes(options)
    target = Target(
        group=options["group"], selector=options["selector"], devices=options["devices"] or None,
        all=options["everyone"],
    )  # fmt: skip
    if sum(map(bool, (target.group, target.selector, target.devices, target.all))) != 1:
        raise click.UsageError("give the target, one of --all, --group, --selector and --device")
    if (options["version"] is None) == (options["channel"] is None):
        raise click.UsageError("give VERSION or --channel, one of them")
    return {
        "artifact": options["artifact"], "version": options["version"], "channel": options["channel"],
        "target": target, "strategy": strategy, "probes": probes, "start_at": options["start_at"],
        "skip_incompatible": options["skip_incompatible"], "baseline": options["baseline"],
    }  # fmt: skip


def _probes(options: Mapping[str, Any]) -> tuple[Probe, ...]:
    """Those of the file, and the named one."""
    file = options["probes_file"]
    given = _json_file(file, list) if file else []
    try:
        found = msgspec.convert(given, tuple[Probe, ...])
    except msgspec.ValidationError as error:
        raise invalid_from(error, f"file {file}") from error
    return (*found, ExecProbe(name=options["exec_probe"])) if options["exec_probe"] else found


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
@gives(RolloutPreview, "rollout preview detector 1.4.0 --group lab --waves 10,50,100")
def preview(cli: Cli, /, **options: Any) -> None:
    """Show what creating would do: cohorts, who does not fit, who is held. Nothing is created."""
    found = cli.client.rollouts.preview(**_request(options))
    cli.out.data(found, "\n".join(preview_lines(found)))


@commands.command()
@_request_options
@click.option("--yes", is_flag=True, help="Create without asking.")
@click.option("--watch", "watched", is_flag=True, help="Watch it then, as `rollout watch` does.")
@pass_cli
@gives(RolloutInfo, "rollout create detector 1.4.0 --all --waves 10,100 --approval manual --watch")
def create(cli: Cli, /, yes: bool, watched: bool, **options: Any) -> None:
    """Show the preview, ask, and create the rollout."""
    request = _request(options)
    if not yes:
        found = cli.client.rollouts.preview(**request)
        for line in preview_lines(found):
            cli.out.say(line)
        if found.refusals:
            raise Invalid("cannot create this rollout: it would be refused, as the preview says")
        click.confirm(f"Create rollout to {counted(found.target_size)}?", abort=True, err=True)
    made = cli.client.rollouts.create(**request)
    if watched:
        cli.out.say(f"rollout {made.id} is created")
        sys.exit(rollout_watch.watch(cli, made.id, (), WATCH_SECONDS, 0))
    cli.out.data(made, "\n".join([f"rollout {made.id} is created", *show(made)]))


# -- reading ----------------------------------------------------------------------------------------------------------


@commands.command("list")
@click.option("--state", default="", type=click.Choice(["", "open", *rollout_watch.STATES]), metavar="STATE",
              help=f"open, or one of {', '.join(rollout_watch.STATES)}.")  # fmt: skip
@click.option("--artifact", default="", type=ARTIFACT, help="Only of this artifact.")
@paged
@pass_cli
@gives(Page[RolloutInfo], "rollout list --state open")
def list_(cli: Cli, state: Any, artifact: str, part: Slice) -> None:
    """Rollouts, the newest first."""
    found = cli.client.rollouts.list(state=state, artifact=artifact)
    first = "" if state or artifact or part.cursor else "tidegate rollout create ARTIFACT VERSION --all"
    cli.out.page(part.of(found), _LIST, first=first)


@commands.command("show")
@click.argument("rollout", type=ROLLOUT)
@pass_cli
@gives(RolloutInfo, "rollout show 12")
def show_(cli: Cli, rollout: int) -> None:
    """One rollout: what it waits on, a bar per wave."""
    found = cli.client.rollouts.get(rollout)
    cli.out.data(found, "\n".join(show(found)))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@pass_cli
@gives(Timeline, "rollout timeline 12")
def timeline(cli: Cli, rollout: int) -> None:
    """What happened, newest first."""
    found = cli.client.rollouts.timeline(rollout)
    cli.out.data(found, lambda: cli.out.table(found.items, ("at", "kind", "device", "actor", "detail")))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option(
    "--sort",
    default="wave",
    show_default=True,
    type=click.Choice(("wave", "attention")),
    help="By wave, which nothing changes, or what needs attention first.",
)
@click.option("--show", "which", default="all", show_default=True, help="all, attention, open, or one state.")
@click.option("--search", default="", help="Part of the device's name.")
@paged
@pass_cli
@gives(Page[AssignmentInfo], "rollout devices 12 --show attention")
def devices(cli: Cli, rollout: int, sort: Literal["wave", "attention"], which: str, search: str, part: Slice) -> None:
    """Devices of a rollout, by wave or what needs attention first."""
    found = cli.client.rollouts.assignments(rollout, sort=sort, show=which, search=search)
    cli.out.page(part.of(found), _DEVICES)


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@rollout_watch.options
@pass_cli
@gives(RolloutInfo, "rollout watch 12 --until soaking")
def watch(cli: Cli, rollout: int, states: tuple[str, ...], interval_seconds: float, timeout_seconds: float) -> None:
    """Watch until it ends: live bars on a terminal, else a line for each change; exit 1 when it ends aborted."""
    sys.exit(rollout_watch.watch(cli, rollout, states, interval_seconds, timeout_seconds))


@commands.command()
@click.argument("device", type=DEVICE)
@click.argument("artifact", type=ARTIFACT)
@pass_cli
@gives(ExplanationInfo, "rollout explain cam-1 detector")
def explain(cli: Cli, device: str, artifact: str) -> None:
    """Why a device runs what it runs of an artifact name, and not something else."""
    found = cli.client.rollouts.explain(device=device, artifact=artifact)
    lines = [found.answer]
    for fact in found.facts:
        lines.append(f"  {text(fact.at) if fact.at else '':<23} {fact.text}: {fact.detail}".rstrip(": "))
    cli.out.data(found, "\n".join(lines))


# -- verbs ------------------------------------------------------------------------------------------------------------


def _told(cli: Cli, found: RolloutInfo) -> None:
    cli.out.data(found, "\n".join(show(found)))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--reason", default="", help="Goes to the audit log.")
@pass_cli
@gives(RolloutInfo, "rollout halt 12 --reason 'fan noise'")
def halt(cli: Cli, rollout: int, reason: str) -> None:
    """Freeze: nothing is served, no leave is given; devices already applying finish."""
    _told(cli, cli.client.rollouts.halt(rollout, reason=reason))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--reason", default="", help="Why it is safe now; goes to the audit log.")
@pass_cli
@gives(RolloutInfo, "rollout resume 12 --reason 'three known bad cameras'")
def resume(cli: Cli, rollout: int, reason: str) -> None:
    """Acknowledge the failures known now and go on."""
    _told(cli, cli.client.rollouts.resume(rollout, reason=reason))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--reason", default="", help="Goes to the audit log.")
@pass_cli
@gives(RolloutInfo, "rollout approve 12")
def approve(cli: Cli, rollout: int, reason: str) -> None:
    """Release the wave that waits for a person."""
    _told(cli, cli.client.rollouts.approve(rollout, reason=reason))


@commands.command()
@click.argument("rollout", type=ROLLOUT)
@click.option("--policy", type=click.Choice(["keep", "revert"]), default="keep", show_default=True,
              help="What happens to devices that have the version.")  # fmt: skip
@click.option("--reason", default="", help="Goes to the audit log.")
@click.option("--yes", is_flag=True, help="Abort without asking.")
@pass_cli
@gives(RolloutInfo, "rollout abort 12 --policy revert")
def abort(cli: Cli, rollout: int, policy: Literal["keep", "revert"], reason: str, yes: bool) -> None:
    """End a rollout for good; keep what runs, or revert it on every device that has it."""
    if not yes:
        found = cli.client.rollouts.preview_abort(rollout)
        skipped = sum(found.skipped.values())
        cli.out.say(f"skipped: {counted(skipped)}; already applying, will finish: {found.finishing:,}")
        if policy == "keep":
            cli.out.say(f"healthy devices that keep running it: {found.stay:,}")
        for way in found.back if policy == "revert" else ():
            goal = f"go back to {way.version}" if way.version else "remove it"
            cli.out.say(f"{counted(way.devices)} {goal}, {way.offline:,} of them at the next check-in")
        click.confirm(f"Abort rollout {rollout} with {policy}? It cannot be resumed.", abort=True, err=True)
    _told(cli, cli.client.rollouts.abort(rollout, policy=policy, reason=reason))
