"""Images of a project by a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Folder, Json, answer, engine, progress_bar, say

__all__ = ["find"]


def find(
    project: Folder,
    phrase: Annotated[str, typer.Argument(help='What the images should show: "a zebra in the grass".')],
    limit: Annotated[int, typer.Option(min=1, help="At most so many, the best first.")] = 20,
    preset: Annotated[str, typer.Option(help="A preset with Talk2DINO.")] = "tiny",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Find images of a project by what they show; an image is looked at once, whatever is looked for later."""
    from maskwright.project import Project
    from maskwright.project.search import find_images

    with Project.open(project) as opened, progress_bar("Images") as bar:
        matches = find_images(opened, engine(preset, device), phrase, limit=limit, progress=bar)
    for problem in matches.problems:
        say(problem)
    value = {
        "phrase": phrase,
        "images": [
            {"image": one.record.id, "file": one.record.file_name, "score": round(one.score, 4)}
            for one in matches.found
        ],
        "problems": list(matches.problems),
    }
    lines = [f"{one.score:.3f}  {one.record.id}: {Path(one.record.file_name).name}" for one in matches.found]
    answer(value, as_json, "\n".join(lines) or "This project has no images yet.")
    if matches.problems:
        raise typer.Exit(1)
