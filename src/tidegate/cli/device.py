"""`tidegate device`: devices, their tags, holds and identity."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click
import msgspec

from tidegate.cli import device_sheet, running
from tidegate.cli.answers import DeviceShown
from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Noun, gives
from tidegate.cli.logs import log_cancel, log_requests, logs
from tidegate.cli.names import ARTIFACT, DEVICE, GROUP
from tidegate.cli.options import UNTIL, Slice, paged
from tidegate.cli.output import hold_words
from tidegate.cli.token import show_minted
from tidegate.errors import Invalid
from tidegate.wire.operator.common import Page
from tidegate.wire.operator.devices import DeviceCounts, DeviceDetailInfo, DeviceInfo, HoldInfo
from tidegate.wire.operator.rollouts import AssignmentInfo
from tidegate.wire.operator.tokens import Minted

_LIST = ("name", "presence", "last_seen_at", "agent_version", "tags", "groups", "hold", "waiting_on")
_SHOWN = ("hardware", "declared_tags", "log_sources")


@click.group("device", cls=Noun)
def commands() -> None:
    """Devices: who they are, whether they call, what holds them."""


@commands.command("list")
@click.option("--search", default="", help="Part of the name.")
@click.option("--state", default="active", show_default=True, type=click.Choice(["active", "decommissioned", "all"]),
              help="Whether they still belong to the fleet.")  # fmt: skip
@click.option("--presence", type=click.Choice(["online", "offline", "never"]), default=None, help="Whether they call.")
@click.option("--group", default="", type=GROUP, help="Only devices of this group.")
@click.option("--selector", default="", help="Only devices that it matches: 'arch == \"arm64\"'.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="Only devices with this tag; may be repeated.")
@click.option("--artifact", default="", type=ARTIFACT, help="Only devices that run this artifact.")
@click.option("--version", default="", help="Together with --artifact: only this version.")
@click.option("--held/--not-held", default=None, help="Only devices that are held themselves, or only others.")
@click.option("--drifted", is_flag=True, help="Only devices that run something else than they reported.")
@paged
@pass_cli
@gives(Page[DeviceInfo], "device list --presence offline --selector 'tags.site == \"plant-7\"'")
def list_(cli: Cli, /, part: Slice, tags: Sequence[str], presence: Any, **query: Any) -> None:
    """Devices by name."""
    asked = {**query, "tags": ",".join(tags), "presence": presence or ""}
    narrowed = part.cursor or any(value for name, value in asked.items() if name != "state")
    first = "" if narrowed else "tidegate token mint --device NAME"
    answer = part.of(cli.client.devices.list(**asked))
    cli.out.page(answer, _LIST, first=first, cells=lambda row: {"hold": hold_words(row["hold"])})


@commands.command()
@pass_cli
@gives(DeviceCounts, "device counts")
def counts(cli: Cli) -> None:
    """How many devices are online, offline, held, drifted."""
    cli.out.data(cli.client.devices.counts())


@commands.command()
@click.argument("name", type=DEVICE)
@pass_cli
@gives(DeviceShown, "device show cam-1")
def show(cli: Cli, name: str) -> None:
    """One device: hardware, what runs, holds, certificates, history."""
    found = cli.client.devices.get(name)
    running_here = tuple(cli.client.running.devices(selector=f'name == "{found.device.name}"'))
    parts = {field: getattr(found, field) for field in found.__struct_fields__}
    shown = DeviceShown(**parts, running=tuple(one for one in running_here if one.artifact))
    cli.out.data(shown, lambda: _print(cli, shown))


def _print(cli: Cli, shown: DeviceShown) -> None:
    found = msgspec.to_builtins(shown)
    device = {**found["device"], "hold": hold_words(found["device"]["hold"])}
    cli.out.fields({**device, **{name: found[name] for name in _SHOWN}})
    for title, columns in (
        ("running", running.COLUMNS),
        ("in_progress", ("work", "state", "detail")),
        ("holds", ("subject", "reason", "until")),
        ("certificates", ("state", "serial", "not_before", "not_after")),
        ("events", ("at", "kind", "detail")),
    ):
        if found[title]:
            cli.out.line(f"\n{title.replace('_', ' ')}")
            cli.out.table(found[title], columns)


@commands.command()
@click.argument("name", type=DEVICE)
@paged
@pass_cli
@gives(Page[AssignmentInfo], "device rollouts cam-1")
def rollouts(cli: Cli, name: str, part: Slice) -> None:
    """Rollouts that a device is or was part of, the newest first."""
    columns = ("rollout", "artifact", "version", "wave", "state", "state_since", "reason", "waiting_on")
    cli.out.page(part.of(cli.client.devices.rollouts(name)), columns)


@commands.command()
@click.argument("name", type=DEVICE)
@click.argument("changes", nargs=-1, required=True, metavar="KEY=VALUE|KEY- ...")
@pass_cli
@gives(DeviceDetailInfo, "device tag cam-1 site=plant-7 ring-")
def tag(cli: Cli, name: str, changes: Sequence[str]) -> None:
    """Set tags with KEY=VALUE, take them away with KEY- (a minus at the end)."""
    put: dict[str, str] = {}
    remove: list[str] = []
    for change in changes:
        key, separator, value = change.partition("=")
        if separator:
            put[key] = value
        elif change.endswith("-"):
            remove.append(change[:-1])
        else:
            raise Invalid(f"cannot read the change {change}: it must be KEY=VALUE or KEY-")
    found = cli.client.devices.change_tags(name, put=put, remove=remove)
    cli.out.data(found, lambda: cli.out.fields({"tags": found.device.tags}))


@commands.command()
@click.argument("name", type=DEVICE)
@click.option("--reason", required=True, help="Why; shown wherever the hold shows.")
@UNTIL
@pass_cli
@gives(HoldInfo, "device hold cam-1 --reason 'on the bench'")
def hold(cli: Cli, name: str, reason: str, until: datetime | None) -> None:
    """Hold a device: nothing is served to it and it gets no leave."""
    cli.out.data(cli.client.devices.hold(name, reason=reason, until=until))


@commands.command()
@click.argument("name", type=DEVICE)
@pass_cli
@gives(None, "device release cam-1")
def release(cli: Cli, name: str) -> None:
    """End the hold on a device."""
    cli.client.devices.release(name)
    cli.out.say(f"device {name} is released")


@commands.command()
@click.argument("name", type=DEVICE)
@click.option(
    "--stop-workloads", is_flag=True, help="The agent, its key wiped, also takes out of force what it installed."
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@pass_cli
@gives(None, "device decommission cam-1 --yes")
def decommission(cli: Cli, name: str, stop_workloads: bool, yes: bool) -> None:
    """End a device's membership: it is refused from now on and wipes its key. There is no way back."""
    if not yes:
        typed = click.prompt(f"Type the name to decommission {name}", err=True)
        if typed != name:
            raise Invalid(f"cannot decommission {name}: another name was typed")
    cli.client.devices.decommission(name, confirm=name, stop_workloads=stop_workloads)
    cli.out.say(f"device {name} is decommissioned; every replica refuses it within 5 seconds")


@commands.command()
@click.argument("name", type=DEVICE)
@click.option("--expires-seconds", type=click.IntRange(60, 2_592_000), help="Default: one hour.")
@pass_cli
@gives(Minted, "device recover cam-1")
def recover(cli: Cli, name: str, expires_seconds: int | None) -> None:
    """Mint a token that gives the device a new key under the same record."""
    show_minted(cli, cli.client.devices.recover(name, expires_in_seconds=expires_seconds))


for command in (logs, log_requests, log_cancel, device_sheet.import_, device_sheet.export):
    commands.add_command(command)
