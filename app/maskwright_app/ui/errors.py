"""Errors of routes as JSON: a sentence with the cause, and a hint what to do."""

from __future__ import annotations

import logging
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse

from maskwright.session import Cancelled, Conflict, MaskwrightError, OtherImage, ProjectUnwritable
from maskwright_app.ui.site import Busy

__all__ = ["add_error_handlers", "malformed"]

log = logging.getLogger(__name__)
_STATUS: tuple[tuple[type[MaskwrightError], int], ...] = (
    (Conflict, 409), (OtherImage, 409), (ProjectUnwritable, 507), (Busy, 503), (Cancelled, 499),
)  # fmt: skip


def add_error_handlers(app: FastAPI) -> None:
    """Answer every error with `{"error": sentence, "hint": ...}`."""
    app.add_exception_handler(RequestValidationError, malformed)
    app.add_exception_handler(MaskwrightError, _refused)
    app.add_exception_handler(HTTPException, _http)
    app.add_exception_handler(Exception, _unexpected)


def _json(status: int, sentence: str, hint: str = "", **values: Any) -> JSONResponse:
    return JSONResponse({"error": sentence, "hint": hint, **values}, status)


async def malformed(_: Request, error: Exception) -> JSONResponse:
    """Answer to a body or a query that is not what the route takes."""
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    place = ".".join(str(part) for part in first.get("loc", ()) if part not in ("body", "query", "path"))
    reason = str(first.get("msg", "it is malformed")).removeprefix("Value error, ")
    where = f" ({place})" if place else ""
    return _json(422, f"The request is malformed{where}: {reason[:1].lower()}{reason[1:]}.", "Nothing was changed.")


async def _refused(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, MaskwrightError)
    status = next((status for kind, status in _STATUS if isinstance(error, kind)), 400)
    values = {"image": error.image_id} if isinstance(error, OtherImage) else {}
    return _json(status, str(error), error.hint, **values)


async def _http(_: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HTTPException)
    return _json(error.status_code, f"{error.detail}.")


async def _unexpected(request: Request, error: Exception) -> JSONResponse:
    log.error("%s %s failed", request.method, request.url.path, exc_info=error)
    return _json(500, "Something went wrong on the server; nothing that was saved is lost.", "Its log says what.")
