"""`maskwright ui`: open the browser page on a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.front_ends import front_end
from maskwright.cli.output import Device, Preset

__all__ = ["ui"]


def ui(
    project: Annotated[str | None, typer.Option(help="Folder or database URL; created when missing.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on; any but this computer's own needs --auth-file or --auth.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860.")] = None,
    auth: Annotated[
        str | None, typer.Option(help="USER:PASSWORD of a single person; other users of this computer can read it.")
    ] = None,
    auth_file: Annotated[Path | None, typer.Option(help="File of names and hashed passwords.")] = None,
    add_user: Annotated[
        str | None, typer.Option(help="Ask for a password and add this name to --auth-file; nothing is opened.")
    ] = None,
) -> None:
    """Open the browser page on a project and print its address."""
    from maskwright.settings import Settings

    if add_user is not None:
        _add_user(auth_file, add_user)
        return
    launch = front_end("app")
    folder = project or str(Settings.load().project.expanduser())
    launch(project=folder, preset=preset, device=device, host=host, port=port, auth=auth, auth_file=auth_file)


def _add_user(file: Path | None, name: str) -> None:
    from maskwright.errors import UsageError
    from maskwright.files.logins import set_password

    if file is None:
        raise UsageError("Name the file of logins, too: --auth-file FILE.")
    password = typer.prompt(f"Password of {name}", hide_input=True, confirmation_prompt=True, err=True)
    new = set_password(file, name, password)
    typer.echo(f"{name} can log in now." if new else f"The password of {name} is changed.")
