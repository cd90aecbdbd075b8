"""`maskwright find`: images of a project by a phrase."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, ProjectFolder, load_engine, print_message, print_result, progress_bar
from maskwright.errors import EmptyPhrase

__all__ = ["find"]


def find(
    project: ProjectFolder,
    phrase: Annotated[str, typer.Argument(help='What the images should show, for example "a zebra in the grass".')],
    limit: Annotated[int, typer.Option(min=1, help="At most so many images, the best first.")] = 20,
    preset: Annotated[str, typer.Option(help="A preset with Talk2DINO.")] = "tiny",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Rank the images of a project by how well they fit a phrase.

    Each image is encoded once, however many phrases follow.
    """
    from maskwright.project import Project
    from maskwright.project.search import find_images

    if not phrase.strip():
        raise EmptyPhrase
    with Project.open(project) as opened, progress_bar("Images") as bar:
        matches = find_images(opened, load_engine(preset, device), phrase, limit=limit, progress=bar)
    for problem in matches.problems:
        print_message(problem)
    value = {
        "phrase": phrase,
        "images": [
            {"image": match.record.id, "file": match.record.file_name, "score": round(match.score, 4)}
            for match in matches.hits
        ],
        "problems": list(matches.problems),
    }
    lines = [f"{match.score:.3f}  {match.record.id}: {Path(match.record.file_name).name}" for match in matches.hits]
    print_result(value, "\n".join(lines) or "This project has no images yet.", as_json=as_json)
    if matches.problems:
        raise typer.Exit(1)
