"""CPU of one unchanged heartbeat over mutual TLS keep-alive, beside nginx answering a constant in the same run.

Both servers are pinned to one core, the load to the other. Figures are the server process's own CPU time per request,
from the kernel; rounds alternate, and the median of the ratios is what counts.
"""

from __future__ import annotations

import os
import secrets
import shutil
import statistics
import subprocess
import tempfile
from pathlib import Path

import msgspec

from bench import cpu
from bench.devices import enroll
from bench.load import Client, Result, run
from bench.table import table
from tidegate.control.settings import split_bind
from tidegate.testing.live import LiveNode, initialise, serve
from tidegate.testing.ports import free_ports
from tidegate.testing.processes import Processes
from tidegate.wire.device import Heartbeat, Installed

DEVICES = 32
REQUESTS = 20_000
ROUNDS = 5
NGINX = shutil.which("nginx") or "/usr/sbin/nginx"


def request(path: str, body: bytes) -> bytes:
    """A raw HTTP request on a connection that is kept."""
    head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return head.encode() + b"\r\n\r\n" + body


def _nginx_conf(folder: Path, port: int, pki: Path, answer_bytes: int) -> str:
    return f"""
    worker_processes 1; daemon off; master_process on; pid {folder}/nginx.pid; error_log {folder}/error.log;
    events {{ worker_connections 1024; }}
    http {{
      access_log off; client_body_temp_path {folder}/body; keepalive_requests 100000000; keepalive_timeout 300;
      proxy_temp_path {folder}/p; fastcgi_temp_path {folder}/f; uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s;
      server {{
        listen 127.0.0.1:{port} ssl; server_name localhost; ssl_protocols TLSv1.3; ssl_session_tickets off;
        ssl_certificate {pki}/server.pem; ssl_certificate_key {pki}/server.key;
        ssl_client_certificate {pki}/device-ca.pem; ssl_verify_client on;
        location / {{ default_type application/json; return 200 '{"x" * answer_bytes}'; }}
      }}
    }}
    """


def _pin(pids: list[int], core: int) -> None:
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})


def _perrequest(pids: list[int], port: int, ca: Path, clients: list[Client]) -> tuple[float, Result]:
    before = cpu.seconds(pids)
    result = run("127.0.0.1", port, ca, clients, REQUESTS)
    return (cpu.seconds(pids) - before) / result.requests, result


def _with_heartbeat(client: Client, desired_digest: str, installation: str) -> Client:
    installed = (Installed("voice-activity", "6.2.3", "0" * 64, "5.1.2"),)
    beat = Heartbeat(installation=installation, installed=installed, seen=desired_digest)
    return Client(client.certificate, client.key, request("/v1/device/heartbeat", msgspec.json.encode(beat)))


def measure(node: LiveNode, processes: Processes, folder: Path) -> str:
    pki = node.data_dir / "pki"
    api = node.sign_in()
    devices = [enroll(node, api, folder / "devices", f"bench-{number}") for number in range(DEVICES)]
    channel_port = split_bind(node.channel_url.removeprefix("https://"))[1]
    clients = []
    for device in devices:
        installation = secrets.token_hex(16)
        first = device.heartbeat(node, _with_heartbeat(device.client, "", installation).request)
        clients.append(_with_heartbeat(device.client, first["desired_digest"], installation))
    answer_bytes = len(msgspec.json.encode(devices[0].heartbeat(node, clients[0].request)))
    [port] = free_ports(1)
    conf = folder / "nginx.conf"
    conf.write_text(_nginx_conf(folder, port, pki, answer_bytes))
    subprocess.run([NGINX, "-t", "-q", "-c", str(conf)], check=True, timeout=30)
    processes.start("nginx", [NGINX, "-c", str(conf)])
    node_pids = [processes.pid("node")]
    nginx_pids: list[int] = []
    while not nginx_pids:
        nginx_pids = cpu.children(processes.pid("nginx"))
    _pin(node_pids, 0)
    _pin(nginx_pids, 0)
    _pin([os.getpid()], 1)
    run("127.0.0.1", port, node.ca, clients, 2_000)
    run("127.0.0.1", channel_port, node.ca, clients, 2_000)
    ours, theirs = [], []
    for _ in range(ROUNDS):
        for figures, pids, at in ((theirs, nginx_pids, port), (ours, node_pids, channel_port)):
            spent, result = _perrequest(pids, at, node.ca, clients)
            if set(result.statuses) != {200}:
                raise RuntimeError(f"not every answer was 200: {result.statuses}")
            figures.append(spent)
    ratios = [mine / peer for mine, peer in zip(ours, theirs, strict=True)]
    rows = [
        ("nginx, constant answer", *_spread([value * 1e6 for value in theirs], "µs"), ""),
        ("tidegate, unchanged heartbeat", *_spread([value * 1e6 for value in ours], "µs"), ""),
        ("tidegate / nginx", *_spread(ratios, "x"), "at most 4 x, aim 2.5 x"),
    ]
    title = f"Heartbeat over mutual TLS, {DEVICES} connections, one core, {ROUNDS} rounds of {REQUESTS:,} requests"
    return table(title, ("CPU per request", "min", "median", "max", "target"), rows)


def _spread(values: list[float], unit: str) -> tuple[str, str, str]:
    shown = (min(values), statistics.median(values), max(values))
    return tuple(f"{value:.1f} {unit}" if unit == "µs" else f"{value:.2f} {unit}" for value in shown)  # type: ignore[return-value]


def main() -> str:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        folder.chmod(0o755)  # nginx's worker is another user
        node = initialise(folder / "node", interval_seconds=60)
        with Processes(folder / "logs") as processes:
            serve(node, processes)
            return measure(node, processes, folder)
