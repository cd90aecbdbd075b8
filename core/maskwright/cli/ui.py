"""`maskwright ui`: open the browser page on a project."""

from __future__ import annotations

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
        str, typer.Option(help="Address to listen on; any but this computer's own needs --auth.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860.")] = None,
    auth: Annotated[str | None, typer.Option(help="USER:PASSWORD.")] = None,
) -> None:
    """Open the browser page on a project and print its address."""
    from maskwright.settings import Settings

    launch = front_end("app")
    folder = project or str(Settings.load().project.expanduser())
    launch(project=folder, preset=preset, device=device, host=host, port=port, auth=auth)
