"""`maskwright napari`: open napari on a project."""

from __future__ import annotations

from typing import Annotated

import typer

from maskwright.cli.front_ends import front_end
from maskwright.cli.output import Device, Preset

__all__ = ["napari"]


def napari(
    project: Annotated[str | None, typer.Option(help="Folder or database URL; created when missing.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    engine: Annotated[
        str | None,
        typer.Option(help="Address of a running `maskwright ui` that answers prompts, on this computer or another."),
    ] = None,
) -> None:
    """Open napari on a project."""
    from maskwright.settings import Settings

    launch = front_end("napari")
    settings = Settings.load()
    launch(
        project=project or str(settings.project.expanduser()),
        preset=preset,
        device=device,
        engine=settings.engine if engine is None else engine,
    )
