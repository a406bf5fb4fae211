"""A small stand-in for the Hub on 127.0.0.1 that misbehaves on demand."""

from __future__ import annotations

import threading
from collections import deque
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


@dataclass(frozen=True)
class Fault:
    """What goes wrong with one request."""

    status: int | None = None
    """Answer with this error."""
    cut: int | None = None
    """Close the connection after this many bytes of the body."""
    stall: int | None = None
    """Send nothing more after this many bytes of the body, until the server is released."""
    ignore_range: bool = False
    """Send the whole file whatever was asked for."""
    extra_length: int = 0
    """Announce so many bytes more than there are."""


@dataclass
class Hub:
    """Files by "owner/name/path", and what to do wrong with the requests to come, in order."""

    files: dict[str, bytes] = field(default_factory=dict)
    faults: deque[Fault] = field(default_factory=deque)
    etags: dict[str, str] = field(default_factory=dict)
    linked: dict[str, str] = field(default_factory=dict)
    """SHA-256 that the redirect to the storage states, for files that are served through one."""
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    """(path, Range header) of every request for a file."""
    released: threading.Event = field(default_factory=threading.Event)
    url: str = ""


class Handler(BaseHTTPRequestHandler):
    hub: Hub

    def do_GET(self) -> None:
        hub = self.hub
        path = self.path.removeprefix("/storage/")
        name = path.lstrip("/").replace("/resolve/main/", "/")
        if name in hub.linked and not self.path.startswith("/storage/"):
            self.send_response(302)
            self.send_header("Location", f"/storage/{name}")
            self.send_header("X-Linked-ETag", f'"{hub.linked[name]}"')
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        wanted = self.headers.get("Range")
        hub.requests.append((name, wanted))
        fault = hub.faults.popleft() if hub.faults else Fault()
        if fault.status is not None or name not in hub.files:
            self.send_error(fault.status or 404)
            return
        body, first = hub.files[name], 0
        if wanted and not fault.ignore_range:
            first = int(wanted.removeprefix("bytes=").rstrip("-"))
            if first >= len(body):
                self.send_error(416)
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {first}-{len(body) - 1}/{len(body)}")
        else:
            self.send_response(200)
        rest = body[first:]
        self.send_header("Content-Length", str(len(rest) + fault.extra_length))
        self.send_header("ETag", f'"{hub.etags.get(name, "1")}"')
        self.end_headers()
        self.wfile.write(rest[: fault.cut if fault.cut is not None else fault.stall])
        if fault.stall is not None:
            self.wfile.flush()
            hub.released.wait()
        self.close_connection = True

    def log_message(self, *_: Any) -> None:
        pass


class QuietServer(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """The client that was killed is not news."""


def start(hub: Hub) -> QuietServer:
    """Serve `hub` from a thread; to be ended with `shutdown` and `server_close`."""
    server = QuietServer(("127.0.0.1", 0), type("HubHandler", (Handler,), {"hub": hub}))
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()
    return server
