"""The front ends, found by entry point, and what this machine lacks for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import entry_points
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, Preset, answer
from maskwright.errors import AppMissing

__all__ = ["doctor", "napari", "ui"]


def doctor(
    project: Annotated[Path | None, typer.Option(help="A project to check; default: yours, if there is one.")] = None,
    as_json: Json = False,
) -> None:
    """Say what this machine has, what is missing, and the command that mends it."""
    from maskwright.cli.doctor_checks import diagnose

    report = diagnose(project)
    width = max(len(line.subject) for line in report)
    text = "\n".join(
        f"{'ok ' if line.ok else 'NO '} {line.subject:<{width}}  {line.found}"
        + (f" -> {line.mend}" if line.mend else "")
        for line in report
    )
    answer([asdict(line) for line in report], as_json, text)
    if any(line.needed and not line.ok for line in report):
        raise typer.Exit(1)


def ui(
    project: Annotated[str | None, typer.Option(help="Folder or database URL; made when new.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    host: Annotated[
        str, typer.Option(help="Address to listen on; other than this computer needs --auth.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Default: the first free one from 7860.")] = None,
    auth: Annotated[str | None, typer.Option(help="USER:PASSWORD.")] = None,
) -> None:
    """Open the browser page on a project and print its address."""
    from maskwright.settings import Settings

    launch = _front_end("app")
    launch(
        project=project or str(Settings.load().project.expanduser()), preset=preset, device=device, host=host,
        port=port, auth=auth,
    )  # fmt: skip


def napari(
    project: Annotated[str | None, typer.Option(help="Folder or database URL; made when new.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
) -> None:
    """Open napari with a project."""
    from maskwright.settings import Settings

    launch = _front_end("napari")
    launch(project=project or str(Settings.load().project.expanduser()), preset=preset, device=device)


def _front_end(name: str) -> Callable[..., None]:
    for entry in entry_points(group="maskwright.frontends", name=name):
        try:
            launch: Callable[..., None] = entry.load()
        except ImportError as error:
            raise AppMissing(name) from error
        return launch
    raise AppMissing(name)
