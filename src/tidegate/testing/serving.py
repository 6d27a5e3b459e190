"""The whole program in this process: a node with TLS on ports that the system chose, in a thread of its own."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec

from tidegate.clock import SystemClock
from tidegate.control import settings
from tidegate.control.app import Service
from tidegate.control.services import setup

START_SECONDS = 30


@contextmanager
def serving(folder: Path, password: str, **changes: Any) -> Iterator[Service]:
    """A new node in `folder`, listening until the block ends; `password` is admin's, `changes` are settings."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="node")
    thread.start()
    try:
        chosen: dict[str, str | int] = {"console_bind": "127.0.0.1:0", "device_bind": "127.0.0.1:0", "metrics_bind": ""}
        made = setup.initialise(folder, chosen, SystemClock(), password=password)
        service = Service(msgspec.structs.replace(settings.load(made.settings_file), **changes))
        _wait(asyncio.run_coroutine_threadsafe(service.start(), loop))
        try:
            yield service
        finally:
            _wait(asyncio.run_coroutine_threadsafe(service.stop(), loop))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(START_SECONDS)
        loop.close()


def _wait(future: Future[None]) -> None:
    future.result(START_SECONDS)
