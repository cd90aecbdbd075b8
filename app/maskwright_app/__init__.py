"""The browser front end of Maskwright."""

from __future__ import annotations

import os
import socket
import sys
import threading
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import gradio as gr

    from maskwright.session import AnnotationSession

__all__ = ["launch"]

_FIRST_PORT, _PORTS = 7860, 100


def launch(
    *,
    project: str,
    preset: str = "tiny",
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int | None = None,
    auth: str | None = None,
) -> None:
    """Open or create a project and serve the page until interrupted.

    Args:
        project: folder or database URL.
        preset: preset name or checkpoint folder.
        device: as for `Engine.load`.
        host: address to listen on; other than loopback needs `auth`.
        port: TCP port; by default the first free one from 7860 on.
        auth: "USER:PASSWORD".

    Raises:
        UsageError: a malformed login, or none for an open address.
        MaskwrightError: the port is in use.
        BadProject, ProjectUnwritable: the project cannot be used.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    import gradio as gr

    from maskwright.session import AnnotationSession, UsageError
    from maskwright_app.page import build
    from maskwright_app.static import CSS, HEAD

    if auth is not None and (":" not in auth or auth.startswith(":")):
        raise UsageError("The login must be USER:PASSWORD, for example --auth ann:secret.")
    if auth is None and host not in ("127.0.0.1", "localhost", "::1"):
        raise UsageError(f"Listening on {host} lets others in without a login. Add --auth USER:PASSWORD.")
    # a port that is taken is known before anything is opened
    first = _free_port(host, port)
    session = AnnotationSession.open(project, preset=preset, device=device)
    page = build(session)
    page.queue(max_size=20, default_concurrency_limit=4)
    theme = gr.themes.Soft(primary_hue="blue", neutral_hue="slate", font=["system-ui", "sans-serif"])
    options = {
        "server_name": host, "prevent_thread_lock": True, "quiet": True, "share": False, "inbrowser": False,
        "auth": tuple(auth.split(":", 1)) if auth else None, "allowed_paths": [str(session.folder / "exports")],
        "max_file_size": "512mb", "theme": theme, "css": CSS, "head": HEAD, "footer_links": ["api"],
        "show_error": False,
    }  # fmt: skip
    _serve(page, host, port, first, options)
    print(f"Project: {session.folder}\nMaskwright is ready at {page.local_url}  (stop it with Ctrl+C)", flush=True)  # noqa: T201
    threading.Thread(target=_warm_up, args=(session,), daemon=True).start()
    try:
        threading.Event().wait()
    finally:
        page.close(verbose=False)
        session.close()


def _serve(page: gr.Blocks, host: str, requested: int | None, first: int, options: dict[str, Any]) -> None:
    """Start the server on the first port that is still free; raises OSError when the requested one is not."""
    while True:
        try:
            page.launch(server_port=first, **options)
            return
        except OSError:
            if requested is not None:
                raise
            # another program took the port meanwhile
            first = _free_port(host, requested, first + 1)


def _warm_up(session: AnnotationSession) -> None:
    """Load the model while the page is already open; a prompt raises again what is wrong with it."""
    from maskwright.session import MaskwrightError

    try:
        _ = session.engine
    except MaskwrightError as error:
        print(f"maskwright: {error}", file=sys.stderr, flush=True)  # noqa: T201


def _free_port(host: str, requested: int | None, first: int = _FIRST_PORT) -> int:
    """The requested port, else the first free one from `first` on; raises MaskwrightError."""
    from maskwright.session import MaskwrightError

    tried = [requested] if requested else range(first, _FIRST_PORT + _PORTS)
    for port in tried:
        with socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    if requested:
        raise MaskwrightError(f"Port {requested} is in use. Choose another, for example --port {requested + 1}.")
    raise MaskwrightError(f"No port from {_FIRST_PORT} on is free. Name one with --port.")
