"""A node that is told to end while pages are open."""

from __future__ import annotations

import os
import signal
import time
from http.cookies import SimpleCookie
from pathlib import Path

import pytest
import urllib3

from tidegate.testing import live
from tidegate.testing.processes import Processes

END_SECONDS = 6  # a page that nobody ends would hold the listener for its grace of eight


@pytest.mark.timeout(120)
def test_open_live_pages_do_not_hold_up_the_end(tmp_path: Path) -> None:
    node = live.initialise(tmp_path / "node")
    pool = urllib3.PoolManager(ca_certs=str(node.ca), timeout=20, retries=False, maxsize=4)
    with Processes(tmp_path / "logs") as processes:
        live.serve(node, processes)
        signed_in = pool.request(
            "POST",
            f"{node.console_url}/signin",
            fields={"name": node.admin, "password": node.password},
            encode_multipart=False,
            redirect=False,
        )
        assert signed_in.status == 303
        cookies = SimpleCookie()
        for value in signed_in.headers.getlist("set-cookie"):
            cookies.load(value)
        cookie = "; ".join(f"{name}={one.value}" for name, one in cookies.items())
        streams = [
            pool.request("GET", f"{node.console_url}/live?of={path}", headers={"cookie": cookie}, preload_content=False)
            for path in ("/", "/devices", "/rollouts")
        ]
        for stream in streams:
            assert stream.status == 200
            assert b"retry:" in next(stream.stream(64))
        began = time.monotonic()
        os.kill(processes.pid("node"), signal.SIGTERM)
        for stream in streams:
            while next(stream.stream(65536), b""):
                pass  # to the end of what was on its way
        while processes.exit_code("node") is None and time.monotonic() - began < END_SECONDS:
            time.sleep(0.02)  # between two looks at a condition
        assert processes.exit_code("node") == 0, processes.tail("node")
