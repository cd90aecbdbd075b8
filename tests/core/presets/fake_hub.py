"""A model hub on this computer, for tests: files of repositories and plain addresses, with what can go wrong."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple

COMMIT = "c0ffee" * 6 + "c0de"


class Request(NamedTuple):
    method: str
    path: str
    range: str | None
    token: str | None


@dataclass
class FakeHub:
    """Large files are redirected to a store on another host name, as the hub does."""

    port: int = 0
    files: dict[str, bytes] = field(default_factory=dict)
    """Content by path: `ORG/NAME/FILE` of a repository, or `raw/...` for a plain address."""
    gated: set[str] = field(default_factory=set)
    """Repositories that need the token `granted`."""
    corrupt: set[str] = field(default_factory=set)
    """Paths whose content is sent with its last byte changed."""
    cut: list[int] = field(default_factory=list)
    """Bytes after which the connections to come break, one after another."""
    ignore_ranges: bool = False
    slow: threading.Event | None = None
    """Downloads stop in the middle until it is set."""
    requests: list[Request] = field(default_factory=list)
    started: threading.Event = field(default_factory=threading.Event)
    """Set when half a file was sent that `slow` holds up."""

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def downloads(self) -> list[Request]:
        """The requests for content; the client asks for other things as well."""
        return [request for request in self.requests if request.method == "GET" and not request.path.startswith("api/")]


@contextmanager
def serving() -> Iterator[FakeHub]:
    hub = FakeHub()
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": hub}))
    server.daemon_threads = True
    hub.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield hub
    finally:
        if hub.slow is not None:
            hub.slow.set()
        server.shutdown()
        server.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    hub: FakeHub
    protocol_version = "HTTP/1.1"

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        token = (self.headers.get("authorization") or "").removeprefix("Bearer ") or None
        path = self.path.lstrip("/")
        self.hub.requests.append(Request(self.command, path, self.headers.get("range"), token))
        if path.startswith("store/"):
            self._send(path.removeprefix("store/"))
        elif path.startswith("raw/"):
            self._send(path) if path in self.hub.files else self._refuse(404, None)
        elif "/resolve/main/" in path:
            self._resolve(path, token)
        else:
            self._refuse(404, "RepoNotFound")

    def _resolve(self, path: str, token: str | None) -> None:
        repository, _, name = path.partition("/resolve/main/")
        key = f"{repository}/{name}"
        if not any(file.startswith(f"{repository}/") for file in self.hub.files):
            return self._refuse(404, "RepoNotFound")
        if repository in self.hub.gated and token != "granted":
            return self._refuse(403 if token else 401, "GatedRepo")
        if key not in self.hub.files:
            return self._refuse(404, "EntryNotFound")
        content = self.hub.files[key]
        if not name.endswith((".safetensors", ".bin")):
            git = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            return self._send(key, {"ETag": f'"{git}"', "X-Repo-Commit": COMMIT})
        self.send_response(302)
        self.send_header("Location", f"http://localhost:{self.hub.port}/store/{key}")
        self.send_header("X-Repo-Commit", COMMIT)
        self.send_header("X-Linked-Etag", f'"{hashlib.sha256(content).hexdigest()}"')
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("Content-Length", "0")
        self.end_headers()
        return None

    def _refuse(self, status: int, code: str | None) -> None:
        self.send_response(status)
        if code:
            self.send_header("X-Error-Code", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _send(self, key: str, headers: dict[str, str] | None = None) -> None:
        content = self.hub.files[key]
        start, stop = 0, len(content)
        asked = self.headers.get("range")
        if asked and not self.hub.ignore_ranges:
            first, _, last = asked.removeprefix("bytes=").partition("-")
            start, stop = int(first), int(last) + 1 if last else stop
            if start >= len(content):
                return self._refuse(416, None)
        self.send_response(206 if asked and not self.hub.ignore_ranges else 200)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        body = content[start:stop]
        if key in self.hub.corrupt:
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self._body(body)
        return None

    def _body(self, body: bytes) -> None:
        if self.hub.cut and len(body) > self.hub.cut[0]:
            self.wfile.write(body[: self.hub.cut.pop(0)])
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)
            return
        if self.hub.slow is not None and len(body) > 1000:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.hub.started.set()
            self.hub.slow.wait(60)
            body = body[len(body) // 2 :]
        try:
            self.wfile.write(body)
        except OSError:
            # the client has gone
            self.close_connection = True
