"""One agent at a time on a state folder."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from tidegate.errors import Conflict


def alone(state_dir: Path) -> int:
    """One daemon per state folder; the kernel lets go of it however the process ends."""
    descriptor = os.open(state_dir / "agent.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        raise Conflict(f"cannot begin: another agent runs on {state_dir}") from None
    return descriptor
