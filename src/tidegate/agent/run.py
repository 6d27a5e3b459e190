"""`tidegate-agent`: what a person or the unit asks of it, a verb each; what a verb needs is imported when used."""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import os
import random
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tidegate import __version__
from tidegate.agent import settings
from tidegate.agent.alone import alone
from tidegate.clock import SystemClock
from tidegate.errors import Refused, TidegateError
from tidegate.versions import compare
from tidegate.wire.problem import DEVICE_DECOMMISSIONED

if TYPE_CHECKING:
    from tidegate.agent.identity import Final, Identity

EXIT_REFUSED = 2
EXIT_TRY_AGAIN = 75
EXIT_FINAL = 78
TOKEN_MAX_BYTES = 4096


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit status: 0 done, 2 refused, 75 may be repeated, 78 over for good (the unit does not restart)."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given[:1] == ["tuf-client"]:
        from tidegate.agent import tuf_client

        return tuf_client.main(given[1:])
    options = _parser().parse_args(given)
    # Private files and folders say so themselves; workloads of other users must reach what is laid out for them.
    os.umask(0o022)
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(levelname)s %(message)s")
    try:
        return int(_VERBS[options.verb](options))
    except Refused as error:
        sys.stderr.write(f"tidegate-agent: {error.detail}\n")
        return EXIT_REFUSED
    except TidegateError as error:
        sys.stderr.write(f"tidegate-agent: {error.detail}\n")
        return EXIT_TRY_AGAIN
    except OSError as error:
        sys.stderr.write(f"tidegate-agent: cannot go on: {error}\n")
        return EXIT_TRY_AGAIN


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="tidegate-agent", description="Tidegate on this device")
    parser.add_argument("--config", metavar="FILE", help="agent.toml; fragments are read from agent.d beside it")
    for key in sorted(settings.FROM_ENVIRONMENT):
        parser.add_argument(f"--{key.replace('_', '-')}", dest=f"set_{key}", metavar="VALUE", help=argparse.SUPPRESS)
    verbs = parser.add_subparsers(dest="verb", required=True, metavar="VERB")
    enroll = verbs.add_parser("enroll", help="take this device into a fleet; the token is read from standard input")
    enroll.add_argument("--url", required=True, help="the node, https://HOST:PORT")
    enroll.add_argument("--token-stdin", action="store_true", required=True, help="read the token from standard input")
    enroll.add_argument("--ca", required=True, type=Path, metavar="FILE", help="the node's CA, PEM")
    root = enroll.add_mutually_exclusive_group()
    root.add_argument("--root", type=Path, metavar="FILE", help="the trust anchor")
    root.add_argument("--root-sha256", default="", metavar="HEX", help="SHA-256 of the trust anchor")
    enroll.add_argument("--name", default="", help="the device's name, when the token does not say it")
    enroll.add_argument("--again", action="store_true", help="make a new identity although there is one")
    verbs.add_parser("run", help="run the agent until told to stop")
    status = verbs.add_parser("status", help="what runs, what it waits for, and why")
    status.add_argument("--json", action="store_true", help="as JSON")
    reset = verbs.add_parser("reset-trust", help="forget the trust anchor, to enroll with another one")
    reset.add_argument("--yes", action="store_true", help="this is meant")
    verbs.add_parser("repair", help="write a damaged journal anew, from what is on the device")
    version = verbs.add_parser("version", help="the agent's version")
    version.add_argument(
        "--not-older-than", default="", metavar="VERSION", help="refuse, with status 2, when this agent is older"
    )
    verbs.add_parser("work")
    verbs.add_parser("renew")
    return parser


def _source(options: argparse.Namespace) -> settings.Source:
    file = Path(options.config) if options.config else settings.default_file(os.environ, os.getuid())
    flags = {key: getattr(options, f"set_{key}") for key in settings.FROM_ENVIRONMENT}
    return settings.Source(
        file.absolute(), os.environ, {key: value for key, value in flags.items() if value is not None}
    )


def _again(options: argparse.Namespace) -> tuple[str, ...]:
    """The arguments that give a child the same settings."""
    source = _source(options)
    flags = [f"--{key.replace('_', '-')}={value}" for key, value in sorted(source.overrides.items())]
    return (f"--config={source.file}", *flags)


def _enroll(options: argparse.Namespace) -> int:
    from tidegate.agent import enroll

    token = sys.stdin.buffer.read(TOKEN_MAX_BYTES).decode("utf-8", "replace").strip()
    ca_pem = enroll.read_bounded(options.ca, "CA file").decode("ascii", "replace")
    root_sha256 = options.root_sha256.lower()
    if options.root is not None:
        root_sha256 = hashlib.sha256(enroll.read_bounded(options.root, "trust anchor")).hexdigest()
    request = enroll.Request(options.url, ca_pem, root_sha256, options.name)
    enrolled = enroll.enroll(settings.load(_source(options)).settings, request, token, again=options.again)
    sys.stdout.write(f"enrolled as device {enrolled.device} of fleet {enrolled.fleet}\n")
    return os.EX_OK


def _run(options: argparse.Namespace) -> int:
    from tidegate.agent.daemon import Daemon
    from tidegate.agent.identity import Identity

    source = _source(options)
    state_dir = Path(settings.load(source).settings.state_dir)
    lock = alone(state_dir)
    try:
        identity = Identity(state_dir / "identity")
        final = identity.final()
        if final is not None:
            sys.stderr.write(f"tidegate-agent: cannot run: {final.detail}\n")
            return _over(source, identity, final)
        if identity.enrollment() is None or identity.to_use() is None:
            sys.stderr.write("tidegate-agent: cannot run: this device is not enrolled; run tidegate-agent enroll\n")
            return EXIT_FINAL
        status = Daemon(source, _again(options), SystemClock(), random.Random(os.urandom(16))).run()  # noqa: S311 - jitter
        final = identity.final()
        return status if final is None else _over(source, identity, final)
    finally:
        os.close(lock)


def _over(source: settings.Source, identity: Identity, final: Final) -> int:
    """What an identity that is over still owes: its keys go, then what it was told to stop; each start goes on."""
    from tidegate.agent import decommission

    if final.kind == DEVICE_DECOMMISSIONED:
        identity.finish_wipe()
        if final.stop_workloads and not decommission.stop_workloads(source):
            return os.EX_OK
    return EXIT_FINAL


def _status(options: argparse.Namespace) -> int:
    from tidegate.agent import standing, status

    loaded = settings.load(_source(options))
    found = status.ask(loaded.settings) or standing.at_rest(loaded)
    if options.json:
        import msgspec

        sys.stdout.write(json.dumps(msgspec.to_builtins(found), indent=2) + "\n")
    else:
        sys.stdout.write("".join(f"{line}\n" for line in status.in_words(found)))
    return os.EX_OK


def _reset_trust(options: argparse.Namespace) -> int:
    from tidegate.agent import enroll

    loaded = settings.load(_source(options))
    lock = alone(Path(loaded.settings.state_dir))
    try:
        enroll.reset_trust(loaded.settings, sure=options.yes)
    finally:
        os.close(lock)
    sys.stdout.write("the trust anchor is gone; enroll with --again to take another\n")
    return os.EX_OK


def _repair(options: argparse.Namespace) -> int:
    from tidegate.agent import repair

    lines = repair.repair(Path(settings.load(_source(options)).settings.state_dir))
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return os.EX_OK


def _version(options: argparse.Namespace) -> int:
    if options.not_older_than and compare(__version__, options.not_older_than) < 0:
        raise Refused(f"version {__version__} is older than {options.not_older_than}, which is on this device")
    sys.stdout.write(f"tidegate-agent {__version__}\n")
    return os.EX_OK


def _work(options: argparse.Namespace) -> int:
    from tidegate.agent import work

    return work.work(_source(options))


def _renew(options: argparse.Namespace) -> int:
    from tidegate.agent import renewal

    return renewal.renew(settings.load(_source(options)).settings)


_VERBS = {
    "enroll": _enroll,
    "run": _run,
    "status": _status,
    "reset-trust": _reset_trust,
    "repair": _repair,
    "version": _version,
    "work": _work,
    "renew": _renew,
}

if __name__ == "__main__":
    sys.exit(main())
