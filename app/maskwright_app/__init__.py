"""The browser front end of Maskwright."""

from __future__ import annotations

import errno
import os
import socket
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from maskwright.session import AnnotationSession, Logins

__all__ = ["launch"]

_FIRST_PORT, _PORTS = 7860, 100
_WARM_UP_SECONDS = 3.0
"""A page that is opened at once is shown first: loading the model holds everything else up."""


def launch(
    *,
    project: str,
    preset: str = "tiny",
    device: str = "auto",
    host: str = "127.0.0.1",
    port: int | None = None,
    auth: str | None = None,
    auth_file: Path | None = None,
) -> None:
    """Open or create a project and serve the page until interrupted.

    Args:
        project: folder or database URL.
        preset: preset name or checkpoint folder.
        device: as for `Engine.load`.
        host: address to listen on; other than loopback needs `auth` or `auth_file`.
        port: TCP port; by default the first free one from 7860 on.
        auth: "USER:PASSWORD" of a single person.
        auth_file: file with names and hashed passwords; see `Logins.read`.

    Raises:
        UsageError: a malformed login, or none for an open address.
        MaskwrightError: the port is in use.
        PresetMissing: there is no such preset on this computer.
        BadProject, ProjectUnwritable: the project cannot be used.
    """
    os.environ["GRADIO_ANALYTICS_ENABLED"] = "False"
    from maskwright.session import AnnotationSession, UsageError
    from maskwright_app.security import LOOPBACK
    from maskwright_app.server import create_app, serve

    logins = _logins(auth, auth_file)
    if logins is None and host not in LOOPBACK:
        raise UsageError(
            f"Listening on {host} lets others in without a login.", "Add --auth-file FILE or --auth USER:PASSWORD."
        )
    # a port that is taken is known before anything is opened
    with _listen(host, port) as listener:
        session = AnnotationSession.open(project, preset=preset, device=device)
        address = f"http://{_url_host(host)}:{listener.getsockname()[1]}/"

        def ready() -> None:
            print(f"Project: {session.folder}\nMaskwright is ready at {address}  (stop it with Ctrl+C)", flush=True)  # noqa: T201
            warm_up = threading.Timer(_WARM_UP_SECONDS, _warm_up, (session,))
            warm_up.daemon = True
            warm_up.start()

        try:
            serve(create_app(session, hosts=LOOPBACK | _names(host), logins=logins), listener, ready)
        finally:
            session.close()


def _logins(auth: str | None, auth_file: Path | None) -> Logins | None:
    """Who may log in; None without a login; raises UsageError."""
    from maskwright.session import Logins, UsageError

    if auth_file is not None:
        return Logins.read(auth_file)
    if auth is None:
        return None
    name, _, password = auth.partition(":")
    if not name or not password:
        raise UsageError("The login must be USER:PASSWORD, for example --auth ann:secret.")
    return Logins.of(name, password)


def _names(host: str) -> set[str]:
    """Further names by which this computer may be called."""
    return {host, socket.gethostname(), socket.getfqdn()} if host not in ("127.0.0.1", "localhost", "::1") else set()


def _url_host(host: str) -> str:
    """How other computers or this one name a host in an address."""
    if host in ("0.0.0.0", "::"):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host


def _warm_up(session: AnnotationSession) -> None:
    """Load the model while the page is already open; a prompt raises again what is wrong with it."""
    from maskwright.session import MaskwrightError

    try:
        _ = session.engine
    except MaskwrightError as error:
        print(f"maskwright: {error}", file=sys.stderr, flush=True)  # noqa: T201


def _listen(host: str, requested: int | None) -> socket.socket:
    """A socket that listens on the requested port, else on the first free one; raises MaskwrightError."""
    from maskwright.session import MaskwrightError

    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for port in [requested] if requested else range(_FIRST_PORT, _FIRST_PORT + _PORTS):
        listener = socket.socket(family, socket.SOCK_STREAM)
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((host, port))
            # from now on no other program gets the port; connections wait until the server is up
            listener.listen(128)
        except OSError as error:
            listener.close()
            if error.errno not in (errno.EADDRINUSE, errno.EACCES):
                raise MaskwrightError(f"Cannot listen on {host}: {error.strerror}.", "Check the address.") from error
            continue
        return listener
    if requested:
        raise MaskwrightError(f"Port {requested} is in use. Choose another, for example --port {requested + 1}.")
    raise MaskwrightError(f"No port from {_FIRST_PORT} on is free. Name one with --port.")
