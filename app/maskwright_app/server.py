"""The server: private routes of the page, static files, and Gradio's endpoints, behind the checks of `security`."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable, Collection

import gradio as gr
import uvicorn
from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Match, Mount, Route
from starlette.types import Scope

from maskwright.session import AnnotationSession, Logins
from maskwright_app.api import Api
from maskwright_app.api_page import api_page
from maskwright_app.assets import HEADERS, add_page
from maskwright_app.endpoints import build
from maskwright_app.security import LOOPBACK, Guard
from maskwright_app.ui import Site, router
from maskwright_app.ui.errors import add_error_handlers, malformed
from maskwright_app.ui.site import user_of

__all__ = ["create_app", "page_app", "serve"]

_LEAVE_SECONDS = 3
"""Seconds that requests get to end when the server stops."""


def page_app(session: AnnotationSession, *, hosts: Collection[str] = LOOPBACK, logins: Logins | None = None) -> FastAPI:
    """The page and its routes, without Gradio's endpoints; arguments as `create_app`."""
    site = Site(session)
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    app.state.site = site
    add_error_handlers(app)
    app.include_router(router(site))
    app.state.static = add_page(app)
    app.add_middleware(GZipMiddleware, minimum_size=1000, compresslevel=3)
    app.add_middleware(Guard, hosts=hosts, logins=logins)
    return app


def create_app(
    session: AnnotationSession, *, hosts: Collection[str] = LOOPBACK, logins: Logins | None = None
) -> FastAPI:
    """All that the server answers, on one session.

    Args:
        session: on an open project; the caller closes it after the server.
        hosts: names by which requests may call this server.
        logins: who may log in; None lets everybody in whom `hosts` lets in.
    """
    app = page_app(session, hosts=hosts, logins=logins)
    _add_api_page(app, Api(session))
    blocks = build(session)
    blocks.queue(max_size=20, default_concurrency_limit=4)
    served: FastAPI = gr.mount_gradio_app(
        app, blocks, path="/", allowed_paths=[str(session.folder / "exports")], max_file_size="512mb",
        footer_links=["api"], show_error=True, auth_dependency=user_of if logins else None,
    )  # fmt: skip
    names = {function.api_name for function in blocks.fns.values() if isinstance(function.api_name, str)}
    served.router.routes.insert(0, _UnknownEndpoint("/gradio_api/call/{name}", _no_such_endpoint, names))
    for route in served.routes:
        if isinstance(route, Mount) and isinstance(route.app, FastAPI):
            route.app.add_exception_handler(RequestValidationError, malformed)
            route.app.add_exception_handler(HTTPException, _of_gradio)
    return served


def _add_api_page(app: FastAPI, api: Api) -> None:
    async def page(request: Request) -> HTMLResponse:
        functions: list[Callable[..., object]] = [*api.endpoints, api.export_coco]
        return HTMLResponse(api_page(functions, app.state.static, str(request.base_url)), headers=HEADERS)

    app.router.routes.append(Route("/api", page, methods=["GET"]))


class _UnknownEndpoint(Route):
    """Calls of endpoints that do not exist, at which Gradio stumbles."""

    def __init__(self, path: str, endpoint: Callable[[Request], Awaitable[Response]], known: Collection[str]) -> None:
        super().__init__(path, endpoint, methods=["POST"])
        self._known = known

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Match only names that are not known."""
        match, child = super().matches(scope)
        known = match is Match.FULL and child["path_params"]["name"] in self._known
        return (Match.NONE, {}) if known else (match, child)


async def _of_gradio(_: Request, error: Exception) -> JSONResponse:
    """An error of Gradio's routes in our form, beside its own, which its clients read."""
    assert isinstance(error, HTTPException)
    return JSONResponse(
        {"detail": error.detail, "error": f"{error.detail}", "hint": ""}, error.status_code, error.headers
    )


async def _no_such_endpoint(request: Request) -> JSONResponse:
    sentence = f"There is no endpoint {request.path_params['name'][:100]}."
    return JSONResponse({"error": sentence, "hint": "The page of the API lists them."}, 404)


class _Server(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, ready: Callable[[], None]) -> None:
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start, then say so."""
        await super().startup(sockets=sockets)
        if self.started:
            self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End the event streams first: they never end by themselves."""
        self.config.app.state.site.close()  # type: ignore[union-attr]
        await super().shutdown(sockets=sockets)


def serve(app: FastAPI, listener: socket.socket, ready: Callable[[], None]) -> None:
    """Serve until interrupted.

    Args:
        app: from `create_app`.
        listener: socket that listens already.
        ready: called once requests are answered.
    """
    config = uvicorn.Config(
        app, log_level="warning", access_log=False, timeout_graceful_shutdown=_LEAVE_SECONDS, ws="none", lifespan="on"
    )
    _Server(config, ready).run(sockets=[listener])
