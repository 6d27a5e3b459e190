"""`tidegate device import` and `export`: devices as a sheet."""

from __future__ import annotations

import csv
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from tidegate.cli.client import Cli, pass_cli
from tidegate.cli.commands import Leaf, gives
from tidegate.cli.output import counted
from tidegate.errors import Invalid, Unavailable
from tidegate.wire.operator.sheets import ImportInfo, NamedToken, Unknown

_MAX_BYTES = 8 << 20


@click.command("import", cls=Leaf)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would change, and stop.")
@click.option(
    "--unknown", type=click.Choice(["refuse", "skip", "enroll"]), default="refuse", show_default=True,
    help="Names that no active device bears: refuse all, leave them out, or mint a token for each.",
)  # fmt: skip
@click.option("--expires-seconds", type=click.IntRange(60, 2_592_000), help="Of the tokens; a week without it.")
@click.option("--tokens", "tokens_file", type=click.Path(path_type=Path), help="New file for the tokens, as CSV.")
@click.option("--yes", is_flag=True, help="Import without asking.")
@pass_cli
@gives(ImportInfo, "device import devices.csv --dry-run")
def import_(
    cli: Cli, file: Path, dry_run: bool, unknown: Unknown, expires_seconds: int | None, tokens_file: Path | None,
    yes: bool,
) -> None:  # fmt: skip
    """Set tags and static groups of many devices from CSV: every line or none.

    Columns: name, groups (names separated by blanks), tag:KEY. An empty cell takes the tag away; what has no column
    stays as it is.
    """
    data = _read(file)
    found = cli.client.devices.import_sheet(data, dry_run=True, unknown=unknown)
    if dry_run or found.wrong:
        cli.out.data(found, lambda: _tell(cli, found))
        if found.wrong:
            raise Invalid(f"cannot import {file}: {counted(found.wrong, 'mistake')}; nothing was changed")
        return
    if not yes:
        _tell(cli, found)
        click.confirm("Import?", abort=True, err=True)
    if unknown == "enroll" and found.unknown_count:
        _writable(tokens_file, cli)
    done = cli.client.devices.import_sheet(data, unknown=unknown, expires_in_seconds=expires_seconds)
    if done.tokens and tokens_file is not None:
        _write(tokens_file, done.tokens)
        cli.out.say(f"{counted(len(done.tokens), 'token')} in {tokens_file}, shown nowhere else")
    cli.out.data(done, lambda: _done(done, to_file=tokens_file is not None))


@click.command(cls=Leaf)
@click.option("--selector", default="", help="Only devices that it matches.")
@click.option("--group", default="", help="Only devices of this group.")
@click.option("-o", "--output", type=click.Path(path_type=Path), help="New file to write; standard output without it.")
@pass_cli
@gives(None, "device export --group lab --output lab.csv")
def export(cli: Cli, selector: str, group: str, output: Path | None) -> None:
    """Devices with their tags and static groups as CSV, which imports to the same."""
    download = cli.client.devices.export_sheet(selector=selector, group=group)
    if output is not None:
        try:
            cli.out.say(f"{download.save(output):,} bytes in {output}")
        except OSError as error:
            raise Unavailable(f"cannot write {output}: {error.strerror}") from error
        return
    for piece in download:
        sys.stdout.buffer.write(piece)
    sys.stdout.buffer.flush()


def _read(file: Path) -> bytes:
    if file.stat().st_size > _MAX_BYTES:
        raise Invalid(f"cannot import {file}: larger than {_MAX_BYTES >> 20} MiB; split it")
    try:
        return file.read_bytes()
    except OSError as error:
        raise Invalid(f"cannot read {file}: {error.strerror}") from error


def _tell(cli: Cli, found: ImportInfo) -> None:
    cli.out.say(
        f"{counted(found.rows, 'row')}: {counted(found.changed, 'device')} would change, {found.unchanged:,} would not;"
        f" tags {found.tags_put:,} put, {found.tags_removed:,} removed; groups {found.groups_joined:,} joined, "
        f"{found.groups_left:,} left"
    )
    for one in found.shown:
        cli.out.say(f"  {one.name}: {one.change}")
    if found.unknown_count:
        more = " …" if found.unknown_count > len(found.unknown) else ""
        cli.out.say(f"{counted(found.unknown_count, 'name')} no active device bears: {', '.join(found.unknown)}{more}")
        cli.out.say("  --unknown enroll mints a token for each, --unknown skip leaves them out")
    for mistake in found.errors:
        cli.out.say(f"  {mistake.detail}")
    if found.wrong > len(found.errors):
        cli.out.say(f"  and {found.wrong - len(found.errors):,} more")


def _done(done: ImportInfo, *, to_file: bool) -> None:
    if done.tokens and not to_file:
        csv.writer(sys.stdout).writerows([("name", "token", "expires_at"), *_rows(done.tokens)])
    elif not done.tokens:
        click.echo(f"{counted(done.changed, 'device')} changed", err=True)


def _writable(file: Path | None, cli: Cli) -> None:
    """Before anything is minted: a token that cannot be written is lost."""
    if file is not None and file.exists():
        raise Invalid(f"cannot write tokens to {file}: it exists")
    if file is not None and not file.absolute().parent.is_dir():
        raise Invalid(f"cannot write tokens to {file}: there is no such folder")
    if file is None and not cli.out.as_json and sys.stdout.isatty():
        cli.out.say("tokens follow on standard output, this once; --tokens FILE keeps them from the screen")


def _write(file: Path, tokens: Sequence[NamedToken]) -> None:
    try:
        with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", newline="") as out:
            csv.writer(out).writerows([("name", "token", "expires_at"), *_rows(tokens)])
    except OSError as error:
        raise Unavailable(f"cannot write {file}: {error.strerror}; the tokens are minted, revoke them") from error


def _rows(tokens: Sequence[NamedToken]) -> list[tuple[str, str, str]]:
    return [(one.name, one.secret, one.expires_at.isoformat()) for one in tokens]
