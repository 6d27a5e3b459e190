"""Repositories over HTTP, each under its own first path segment, from memory."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote


class Web:
    """`sites[name]` maps paths such as ``metadata/timestamp.json`` to bytes; `requests` is what was asked for.

    A list is served in turn, its last item from then on.
    """

    def __init__(self, server: ThreadingHTTPServer) -> None:
        self.sites: dict[str, Mapping[str, bytes | list[bytes]]] = {}
        self.requests: list[str] = []
        self._server = server

    def url(self, site: str) -> str:
        return f"http://127.0.0.1:{self._server.server_port}/{site}"


@contextmanager
def web() -> Iterator[Web]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            site, _, path = self.path.lstrip("/").partition("/")
            made.requests.append(path)
            served = made.sites.get(site, {})
            data = served.get(path, served.get(unquote(path)))
            if isinstance(data, list):
                data = data.pop(0) if len(data) > 1 else data[0]
            self.send_response(404 if data is None else 200)
            self.send_header("Content-Length", str(len(data or b"")))
            self.end_headers()
            self.wfile.write(data or b"")

        def log_message(self, format: str, *args: object) -> None:
            """Nothing: the readers say what they make of it."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    made = Web(server)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield made
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
