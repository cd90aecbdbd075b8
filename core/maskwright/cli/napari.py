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
) -> None:
    """Open napari on a project."""
    from maskwright.settings import Settings

    launch = front_end("napari")
    launch(project=project or str(Settings.load().project.expanduser()), preset=preset, device=device)
