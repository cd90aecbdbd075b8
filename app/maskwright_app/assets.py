"""The page and its files: the address of each file holds the hash of all, so that browsers keep them for good."""

from __future__ import annotations

import hashlib
import mimetypes
from importlib.resources import files
from pathlib import Path

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.staticfiles import StaticFiles

__all__ = ["add_page"]

_POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; style-src 'self' 'unsafe-inline'; worker-src 'self' blob:; "
    "frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
)
_HEADERS = {"Content-Security-Policy": _POLICY, "X-Content-Type-Options": "nosniff", "Cache-Control": "no-cache"}


class _Forever(StaticFiles):
    """Files that never change under their address."""

    async def get_response(self, path: str, scope: object) -> Response:
        """A file that browsers keep."""
        response = await super().get_response(path, scope)  # type: ignore[arg-type]
        response.headers["Cache-Control"] = "public, max-age=31536000, immutable"
        response.headers["X-Content-Type-Options"] = "nosniff"
        return response


def add_page(app: FastAPI) -> None:
    """Serve `static/index.html` at `/new`, and its files at `/static/HASH/`."""
    # a system's own table may call modules text/plain, which browsers refuse
    mimetypes.add_type("text/javascript", ".js")
    folder = Path(str(files("maskwright_app") / "static"))
    address = f"/static/{_hash(folder)}"
    page = folder / "index.html"
    app.mount(address, _Forever(directory=folder), "static")

    async def index(_: Request) -> HTMLResponse:
        return HTMLResponse(page.read_text(encoding="utf-8").replace("{static}", address), headers=_HEADERS)

    if page.is_file():
        app.add_route("/new", index, methods=["GET"])


def _hash(folder: Path) -> str:
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        if file.is_file() and file.suffix != ".pyc":
            digest.update(file.relative_to(folder).as_posix().encode() + b"\0" + file.read_bytes() + b"\0")
    return digest.hexdigest()[:16]
