"""`maskwright find`: images of a project by a phrase, near-duplicates, and what to label next."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.output import Device, Json, ProjectFolder, load_engine, print_message, print_result, progress_bar
from maskwright.errors import EmptyPhrase, UsageError

if TYPE_CHECKING:
    from maskwright.project.search import SearchHit

__all__ = ["find"]


def find(
    project: ProjectFolder,
    phrase: Annotated[
        str | None, typer.Argument(help='What the images should show, for example "a zebra in the grass".')
    ] = None,
    duplicates: Annotated[bool, typer.Option("--duplicates", help="Groups of images that show the same.")] = False,
    label_next: Annotated[
        bool,
        typer.Option("--label-next", help="Images without masks, the most different from those with masks first."),
    ] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many images or groups, the best first.")] = 20,
    preset: Annotated[str, typer.Option(help="A preset with Talk2DINO.")] = "tiny",
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Rank the images of a project by how well they fit a phrase, find near-duplicates, or what to label next.

    Each image is encoded once, however many searches follow.
    """
    from maskwright.project import Project
    from maskwright.project.search import find_duplicates, find_images, rank_unlabelled

    if (phrase is not None) + duplicates + label_next != 1:
        raise UsageError("Say what to find: a phrase, --duplicates or --label-next.")
    if phrase is not None and not phrase.strip():
        raise EmptyPhrase
    with Project.open(project) as opened, progress_bar("Images") as bar:
        engine = load_engine(preset, device)
        if duplicates:
            groups, problems = find_duplicates(opened, engine, progress=bar)
        elif phrase is None:
            result = rank_unlabelled(opened, engine, limit=limit, progress=bar).result(opened, limit)
        else:
            result = find_images(opened, engine, phrase, limit=limit, progress=bar)
    if duplicates:
        value = {"groups": [[_row(hit) for hit in group.hits] for group in groups[:limit]], "problems": list(problems)}
        lines = ["\n".join(map(_line, group.hits)) for group in groups[:limit]]
        text = "\n\n".join(lines) or "No two images of this project show the same."
    else:
        problems = result.problems
        value = {"phrase": phrase, "images": [_row(hit) for hit in result.hits], "problems": list(problems)}
        none = "This project has no images yet." if phrase is not None else "Every image of this project has masks."
        text = "\n".join(map(_line, result.hits)) or none
    for problem in problems:
        print_message(problem)
    print_result(value, text, as_json=as_json)
    if problems:
        raise typer.Exit(1)


def _row(hit: SearchHit) -> dict[str, object]:
    return {"image": hit.record.id, "file": hit.record.file_name, "score": round(hit.score, 4)}


def _line(hit: SearchHit) -> str:
    return f"{hit.score:.3f}  {hit.record.id}: {Path(hit.record.file_name).name}"
