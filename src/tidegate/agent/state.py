"""Where the parts keep their state below one folder, and how an executor over it is put together."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path
from weakref import finalize

from tidegate.agent.execute import Executor
from tidegate.agent.files import Files, RealFiles, make_folders
from tidegate.agent.journal import Journal
from tidegate.agent.outbox import Outbox
from tidegate.agent.parts import Fetcher, Inhibitor, LeaveGiver, OutboxPort, Parts, Prober
from tidegate.agent.payloads.base import Payload
from tidegate.agent.payloads.config import KIND as CONFIG
from tidegate.agent.payloads.config import ConfigPayload
from tidegate.agent.payloads.model import KIND as MODEL
from tidegate.agent.payloads.model import ModelPayload
from tidegate.agent.payloads.owner import NOBODY, Owner
from tidegate.agent.store import ContentStore
from tidegate.clock import Clock
from tidegate.errors import Conflict


def journal(state_dir: Path, files: Files | None = None) -> Journal:
    return Journal(state_dir / "journal", files)


def outbox(state_dir: Path, files: Files | None = None) -> Outbox:
    return Outbox(state_dir / "outbox", files)


def store(state_dir: Path, files: Files | None = None) -> ContentStore:
    return ContentStore(state_dir / "content", files)


def payloads(state_dir: Path, files: Files | None = None, owner: Owner = NOBODY) -> dict[str, Payload]:
    """Every kind that this agent can apply."""
    contents = store(state_dir, files)
    return {
        MODEL: ModelPayload(state_dir / "models", contents, files),
        CONFIG: ConfigPayload(state_dir / "configs", contents, files, owner),
    }


def open_executor(
    state_dir: Path,
    *,
    fetcher: Fetcher,
    prober: Prober,
    leave: LeaveGiver,
    inhibitor: Inhibitor,
    clock: Clock,
    pause: Callable[[float], bool],
    owner: Owner,
    files: Files | None = None,
    reports: OutboxPort | None = None,
) -> Executor:
    """The one executor over `state_dir`, locked until its `close` or the end of the process.

    `reports` is where it puts what it reports; None: into the outbox, for the node.

    Raises:
        Conflict: another process works on this state.
        OSError: the state folder cannot be written.
    """
    files = files or RealFiles()
    make_folders(files, state_dir)
    lock = lock_of(state_dir)
    parts = Parts(
        journal=journal(state_dir, files),
        outbox=outbox(state_dir, files) if reports is None else reports,
        store=store(state_dir, files),
        payloads=payloads(state_dir, files, owner),
        fetcher=fetcher,
        prober=prober,
        leave=leave,
        inhibitor=inhibitor,
        clock=clock,
        entry=os.urandom(8).hex(),
        pause=pause,
    )
    return Executor(parts, finalize(parts, os.close, lock))


def lock_of(state_dir: Path) -> int:
    """An open descriptor that holds the right to change this state; the kernel lets go of it however the process ends.

    Raises:
        Conflict: another process holds it.
    """
    path = state_dir / "executor.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"cannot work on {path.parent}: another process does") from None
    return descriptor
