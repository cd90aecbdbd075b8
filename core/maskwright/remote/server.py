"""Calls of a server's endpoints by HTTP, with the standard library: whoever draws masks need not install a server."""

from __future__ import annotations

import json
import queue
import socket
import threading
import uuid
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import quote, unquote, urlencode, urlsplit

from maskwright.errors import MaskwrightError, Unreachable, UsageError
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["Server"]

_CONNECT_SECONDS, _SILENT_SECONDS = 10, 90
"""Longest waits for a connection, and for the next sign of life: a server that works sends one every 15 seconds."""
_POLL_SECONDS = 0.1
"""Time between two looks at whether the user still waits."""


class Server:
    """A running `maskwright ui`; safe to share between threads.

    Raises:
        UsageError: the address is none.
    """

    def __init__(self, address: str) -> None:
        """Take an address such as `http://gpu-server:7860`, with a login as `http://NAME:PASSWORD@gpu-server:7860`."""
        try:
            parts = urlsplit(address.strip() if "://" in address else f"http://{address.strip()}")
            self._host, self._port = parts.hostname or "", parts.port
        except ValueError:
            parts, self._host = urlsplit(""), ""
        if parts.scheme not in ("http", "https") or not self._host:
            raise UsageError(f"{address!r} is not the address of a server. Write it like http://gpu-server:7860.")
        self._secure, self._prefix = parts.scheme == "https", parts.path.rstrip("/")
        self._login = (unquote(parts.username), unquote(parts.password or "")) if parts.username else None
        self._cookie = ""
        host = f"[{self._host}]" if ":" in self._host else self._host
        self.address = f"{parts.scheme}://{host}{f':{self._port}' if self._port else ''}{self._prefix}"
        """Without the login, to show."""

    def call(self, endpoint: str, *arguments: Any, progress: Progress = NO_PROGRESS) -> dict[str, Any]:
        """The answer of an endpoint.

        Args:
            endpoint: its name.
            *arguments: all that it takes, as JSON.
            progress: cancels, at once here and at its next step there.

        Raises:
            Cancelled: on request.
            Unreachable: the server does not answer.
            MaskwrightError: what the server says is wrong.
        """
        place = f"/gradio_api/call/{quote(endpoint)}"
        event = self._json("POST", place, json.dumps({"data": arguments}).encode(), "application/json")["event_id"]
        kind, data = self._wait(f"{place}/{event}", progress)
        if kind != "complete":
            reason = data.get("error") if isinstance(data, dict) else data
            raise MaskwrightError(str(reason or f"The server at {self.address} could not answer; its log says why."))
        answer = data[0] if isinstance(data, list) and data else None
        if not isinstance(answer, dict):
            raise self._strange()
        return answer

    def upload(self, name: str, content: bytes) -> dict[str, Any]:
        """Send a file; returns the form in which endpoints take it."""
        mark = uuid.uuid4().hex
        head = f'--{mark}\r\nContent-Disposition: form-data; name="files"; filename="{quote(name)}"\r\n'
        body = (
            f"{head}Content-Type: application/octet-stream\r\n\r\n".encode() + content + f"\r\n--{mark}--\r\n".encode()
        )
        paths = self._json("POST", "/gradio_api/upload", body, f"multipart/form-data; boundary={mark}")
        if not isinstance(paths, list) or len(paths) != 1:
            raise self._strange()
        return {"path": paths[0], "meta": {"_type": "gradio.FileData"}}

    # HTTP

    def _json(self, method: str, place: str, body: bytes, kind: str) -> Any:
        with closing(self._connection()) as connection:
            response = self._send(connection, method, place, body, kind)
            try:
                return json.loads(response.read())
            except (OSError, HTTPException) as error:
                raise self._silent() from error
            except ValueError as error:
                raise self._strange() from error

    def _connection(self) -> HTTPConnection:
        kind = HTTPSConnection if self._secure else HTTPConnection
        return kind(self._host, self._port, timeout=_CONNECT_SECONDS)

    def _send(
        self, connection: HTTPConnection, method: str, place: str, body: bytes | None = None, kind: str = ""
    ) -> HTTPResponse:
        """The response, whose status is good; logs in where that is needed."""
        response = self._request(connection, method, place, body, kind)
        if response.status == 401 and self._login is not None:
            response.read()
            connection.close()
            self._log_in()
            response = self._request(connection, method, place, body, kind)
        if response.status == 200:
            return response
        if response.status == 401:
            raise MaskwrightError(
                f"The server at {self.address} needs a login.",
                "Write it into the address: http://NAME:PASSWORD@SERVER:PORT.",
            )
        try:
            said = json.loads(response.read())
            sentence, hint = str(said["error"]), str(said.get("hint") or "")
        except (OSError, HTTPException, ValueError, KeyError, TypeError, AttributeError):
            raise self._strange() from None
        if response.status == 404:
            raise self._strange()
        raise MaskwrightError(sentence, hint)

    def _request(
        self, connection: HTTPConnection, method: str, place: str, body: bytes | None, kind: str
    ) -> HTTPResponse:
        headers = {"Accept": "application/json"}
        if kind:
            headers["Content-Type"] = kind
        if self._cookie:
            headers["Cookie"] = self._cookie
        try:
            connection.connect()
            if connection.sock is not None:
                connection.sock.settimeout(_SILENT_SECONDS)
            connection.request(method, self._prefix + place, body, headers)
            return connection.getresponse()
        except (OSError, HTTPException) as error:
            raise self._silent() from error

    def _log_in(self) -> None:
        assert self._login is not None
        body = urlencode(dict(zip(("username", "password"), self._login, strict=True))).encode()
        with closing(self._connection()) as connection:
            response = self._request(connection, "POST", "/login", body, "application/x-www-form-urlencoded")
            if response.status != 200:
                said: Mapping[str, Any] = {}
                with suppress(OSError, HTTPException, ValueError):
                    said = json.loads(response.read())
                sentence = str(said.get("error") or "The login was refused.")
                raise MaskwrightError(f"The server at {self.address}: {sentence}", "Correct it in the address.")
            self._cookie = (response.getheader("Set-Cookie") or "").partition(";")[0]

    def _wait(self, place: str, progress: Progress) -> tuple[str, Any]:
        """The event with the answer, from the stream of an endpoint."""
        connection = self._connection()
        events: queue.Queue[tuple[str, Any] | BaseException] = queue.Queue()
        stream: socket.socket | None = None

        def read() -> None:
            try:
                for event in _events(response):
                    if event[0] != "heartbeat":
                        events.put(event)
                        return
                events.put(self._silent())
            except (OSError, HTTPException, ValueError) as error:
                events.put(error)

        with closing(connection):
            response = self._send(connection, "GET", place)
            stream = connection.sock
            thread = threading.Thread(target=read, name="maskwright-remote", daemon=True)
            thread.start()
            try:
                while True:
                    progress.check()
                    with suppress(queue.Empty):
                        event = events.get(timeout=_POLL_SECONDS)
                        if isinstance(event, BaseException):
                            raise self._silent() from event
                        return event
            finally:
                # wakes the thread, and tells the server that nobody waits
                if stream is not None:
                    with suppress(OSError):
                        stream.shutdown(socket.SHUT_RDWR)
                thread.join()

    def _silent(self) -> Unreachable:
        return Unreachable(
            f"The server at {self.address} does not answer.",
            "Start `maskwright ui` there and check the address, or let this computer answer.",
        )

    def _strange(self) -> MaskwrightError:
        return MaskwrightError(
            f"What answers at {self.address} is no Maskwright server of this version.",
            "Check the address, and update the older of the two.",
        )


def _events(response: HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Server-sent events: name and JSON data of each."""
    name = ""
    for raw in response:
        line = raw.decode("utf-8").rstrip("\r\n")
        if line.startswith("event:"):
            name = line.removeprefix("event:").strip()
        elif line.startswith("data:"):
            yield name, json.loads(line.removeprefix("data:"))
