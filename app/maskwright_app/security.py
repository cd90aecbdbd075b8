"""Who may talk to the server: checks of Host and Origin, logins, and limits on the size of requests."""

from __future__ import annotations

import ipaddress
import secrets
import time
from collections import OrderedDict
from collections.abc import Collection
from html import escape
from urllib.parse import urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from maskwright.session import Logins

__all__ = ["LOOPBACK", "Guard"]

LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
_MOST_BYTES, _MOST_UPLOAD = 64 << 20, 1 << 30
_UPLOADS = ("/ui/images", "/ui/import", "/gradio_api/upload", "/upload")
_COOKIE = "maskwright-session"
_SESSION_SECONDS = 30 * 24 * 3600
_FREE_ATTEMPTS, _LONGEST_PAUSE, _FORGET_SECONDS = 5, 300.0, 900.0
_MOST_REMEMBERED = 10_000


class Guard:
    """Stands in front of every route, Gradio's too.

    A request must name this server as its Host: a page of another site whose name was pointed at this computer (DNS
    rebinding) cannot. A request that names another site as its Origin is refused. With logins, everything but the login
    page needs a session; its name is `scope["state"]["user"]`.
    """

    def __init__(self, app: ASGIApp, *, hosts: Collection[str] = LOOPBACK, logins: Logins | None = None) -> None:
        """Take the application behind, host names of this server, and who may log in; None lets everybody in."""
        self._app, self._hosts, self._logins = app, {host.lower() for host in hosts}, logins
        self._sessions: OrderedDict[str, tuple[str, float]] = OrderedDict()
        self._throttle = _Throttle()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer what is refused; pass on everything else."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        refusal = self._refusal(scope, headers)
        if refusal is None and self._logins is not None:
            refusal = await self._require_login(scope, receive)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        await self._app(scope, _limited(receive, _limit(scope)), send)

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        host = headers.get("host", "")
        if not self._is_this_server(host, scope):
            return _json(421, f"This server is not called {_short(host)}.", "Use the address that it printed.")
        origin = headers.get("origin")
        if origin is not None and urlsplit(origin).netloc.lower() != host.lower():
            return _json(403, f"Requests from {_short(origin)} are refused.", "Open the page of this server itself.")
        length = headers.get("content-length", "0")
        if not length.isdecimal() or int(length) > _limit(scope):
            return _json(413, f"The request is larger than {_limit(scope) >> 20} MB.", "Send less at a time.")
        return None

    def _is_this_server(self, host: str, scope: Scope) -> bool:
        name = (urlsplit(f"//{host}").hostname or "") if host.isprintable() else ""
        if name.lower() in self._hosts:
            return True
        # a literal address that the connection was made to: only a name can be pointed elsewhere
        server = scope.get("server") or ("", 0)
        return _is_address(name) and name == server[0]

    async def _require_login(self, scope: Scope, receive: Receive) -> Response | None:
        request = Request(scope, receive)
        path = scope["path"].rstrip("/")
        token = request.cookies.get(self._cookie(scope), "")
        if path == "/login":
            return await self._login(request) if request.method == "POST" else _login_page()
        user = self._user(token)
        if path == "/logout" and user is not None:
            self._sessions.pop(token, None)
            response: Response = RedirectResponse("/login", 303)
            response.delete_cookie(self._cookie(scope))
            return response
        if user is None:
            if "text/html" in request.headers.get("accept", ""):
                return RedirectResponse("/login", 303)
            return _json(401, "Log in first.", "Open the page of this server, or send name and password to /login.")
        scope.setdefault("state", {})["user"] = user
        return None

    async def _login(self, request: Request) -> Response:
        # read by Starlette: JSON would let another site's form through, and the body is small
        form = await Request(request.scope, _limited(request.receive, 1 << 16)).form()
        name, password = (str(form.get(field) or "")[:1000] for field in ("username", "password"))
        keys = (f"name {name}", f"address {request.client.host if request.client else ''}")
        page = "text/html" in request.headers.get("accept", "")
        if pause := self._throttle.pause(keys):
            sentence = f"Too many wrong passwords. Try again in {pause:.0f} s."
            return _login_page(sentence, 429) if page else _json(429, sentence)
        assert self._logins is not None
        if not await run_in_threadpool(self._logins.accepts, name, password):
            self._throttle.failed(keys)
            sentence = "Wrong name or password."
            return _login_page(sentence, 401) if page else _json(401, sentence)
        self._throttle.succeeded(keys)
        token = secrets.token_urlsafe(32)
        self._sessions[token] = name, time.monotonic() + _SESSION_SECONDS
        while len(self._sessions) > _MOST_REMEMBERED:
            self._sessions.popitem(last=False)
        response: Response = RedirectResponse("/", 303) if page else JSONResponse({"success": True})
        response.set_cookie(
            self._cookie(request.scope), token, max_age=_SESSION_SECONDS, httponly=True, samesite="strict"
        )
        return response

    def _user(self, token: str) -> str | None:
        user, until = self._sessions.get(token, (None, 0.0))
        return user if time.monotonic() < until else None

    @staticmethod
    def _cookie(scope: Scope) -> str:
        # cookies do not know ports: two servers of one computer must not log each other out
        return f"{_COOKIE}-{(scope.get('server') or ('', 0))[1]}"


class _Throttle:
    """After some wrong passwords, a pause that doubles with each further one; by name and by address."""

    def __init__(self) -> None:
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def pause(self, keys: Collection[str]) -> float:
        """Seconds until the next attempt is allowed; 0 when it is now."""
        return max(self._pause(key) for key in keys)

    def _pause(self, key: str) -> float:
        count, last = self._failures.get(key, (0, 0.0))
        wait = min(_LONGEST_PAUSE, 2.0 ** (count - _FREE_ATTEMPTS + 1)) if count >= _FREE_ATTEMPTS else 0.0
        return max(0.0, last + wait - time.monotonic())

    def failed(self, keys: Collection[str]) -> None:
        """Note a wrong password."""
        now = time.monotonic()
        for key in keys:
            count, last = self._failures.pop(key, (0, 0.0))
            self._failures[key] = (count if now - last < _FORGET_SECONDS else 0) + 1, now
        while len(self._failures) > _MOST_REMEMBERED:
            self._failures.popitem(last=False)

    def succeeded(self, keys: Collection[str]) -> None:
        """Forget the wrong passwords before the right one."""
        for key in keys:
            self._failures.pop(key, None)


def _limit(scope: Scope) -> int:
    return _MOST_UPLOAD if scope["path"].startswith(_UPLOADS) else _MOST_BYTES


def _limited(receive: Receive, most: int) -> Receive:
    """The body up to a limit; a longer one ends like a lost connection."""
    total = 0

    async def limited() -> Message:
        nonlocal total
        message = await receive()
        total += len(message.get("body", b""))
        return message if total <= most else {"type": "http.disconnect"}

    return limited


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _short(text: str) -> str:
    return repr(text[:100])


def _json(status: int, sentence: str, hint: str = "") -> JSONResponse:
    return JSONResponse({"error": sentence, "hint": hint}, status)


def _login_page(sentence: str = "", status: int = 200) -> HTMLResponse:
    alert = f'<p role="alert">{escape(sentence)}</p>' if sentence else ""
    return HTMLResponse(_LOGIN.replace("{alert}", alert), status, {"Cache-Control": "no-store"})


_LOGIN = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>Maskwright: log in</title>
<style>
:root { color-scheme: light dark; font: 16px system-ui, sans-serif }
body { margin: 0; min-height: 100vh; display: grid; place-items: center }
form { display: grid; gap: 12px; width: min(320px, 90vw) }
label { display: grid; gap: 4px }
input, button { font: inherit; padding: 10px; min-height: 44px; box-sizing: border-box }
[role=alert] { margin: 0; padding: 8px; border: 2px solid #d55e00 }
</style></head>
<body><main><form method="post" action="/login"><h1>Maskwright</h1>{alert}
<label>Name <input name="username" autocomplete="username" required autofocus></label>
<label>Password <input name="password" type="password" autocomplete="current-password" required></label>
<button>Log in</button></form></main></body></html>
"""
