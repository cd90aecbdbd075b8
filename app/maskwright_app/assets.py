"""The page and its files: the address of each file holds the hash of all, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Match, Route
from starlette.staticfiles import StaticFiles
from starlette.types import Scope

__all__ = ["HEADERS", "add_page"]

_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}


class _Forever(StaticFiles):
    """Files that never change under their address."""

    async def get_response(self, path: str, scope: Scope) -> Response:
        """A file that browsers keep."""
        response = await super().get_response(path, scope)
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


class _Index(Route):
    """The page, except where an address asks for a view of Gradio's."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match `/` without `view=`."""
        match, child = super().matches(scope)
        return (Match.NONE, {}) if b"view=" in scope.get("query_string", b"") else (match, child)


def add_page(app: FastAPI) -> str:
    """Serve `static/index.html` at `/`, except where `/?view=` asks for one of Gradio's pages, and its files.

    Returns:
        The address of the files, `/static/HASH`.
    """
    # a system's own table may call modules text/plain, which browsers refuse
    mimetypes.add_type("text/javascript", ".js")
    folder = Path(str(files("maskwright_app") / "static"))
    address = f"/static/{_hash(folder)}"
    page = folder / "index.html"
    app.mount(address, _Forever(directory=folder), "static")

    async def index(_: Request) -> HTMLResponse:
        return HTMLResponse(page.read_text(encoding="utf-8").replace("{static}", address), headers=HEADERS)

    app.router.routes.append(_Index("/", index, methods=["GET"]))
    return address


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
