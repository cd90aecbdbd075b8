"""`maskwright project delete|exclude|include|replace|freeze|diff`: images of a project, and its frozen versions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.output import Json, ProjectFolder, print_message, print_result
from maskwright.errors import MaskwrightError

if TYPE_CHECKING:
    from maskwright.domain import ImageRecord
    from maskwright.project import Project

__all__ = ["register"]

_Images = Annotated[list[str], typer.Argument(help="Images: their ids, or their names as in `project images`.")]


def register(app: typer.Typer) -> None:
    """Add the commands to `maskwright project`."""
    for name, command, example in (
        ("delete", _delete, "streets 12 images/blurred.jpg"),
        ("exclude", _exclude, "streets 12"),
        ("include", _include, "streets 12"),
        ("replace", _replace, "streets 12 sharper.jpg"),
        ("freeze", _freeze, "streets v1"),
        ("diff", _diff, "streets v1 v2 --draw changes"),
    ):
        app.command(name, epilog=f"Example: maskwright project {name} {example}")(command)


def _delete(folder: ProjectFolder, images: _Images, as_json: Json = False) -> None:
    """Delete images with their masks; undo takes it back, and the files stay."""
    from maskwright.project import Project, user_name

    with Project.open(folder) as project:
        records = [_record(project, name) for name in images]
        masks = sum(project.store.images.delete(record.id, user_name()) for record in records)
    value = {"deleted": [record.id for record in records], "masks": masks}
    print_result(value, f"{len(records)} images with {masks} masks deleted.", as_json=as_json)


def _exclude(folder: ProjectFolder, images: _Images, as_json: Json = False) -> None:
    """Leave images out of batches, training and exports; their masks stay."""
    _review(folder, images, "excluded", as_json=as_json)


def _include(folder: ProjectFolder, images: _Images, as_json: Json = False) -> None:
    """Let excluded images take part again."""
    _review(folder, images, "", as_json=as_json)


def _review(folder: str, images: list[str], review: str, *, as_json: bool) -> None:
    from maskwright.project import Project, user_name

    with Project.open(folder) as project:
        records = [_record(project, name) for name in images]
        for record in records:
            project.store.images.review(record.id, review, user_name())
    verb = "excluded" if review else "included"
    print_result({verb: [record.id for record in records]}, f"{len(records)} images {verb}.", as_json=as_json)


def _replace(
    folder: ProjectFolder,
    image: Annotated[str, typer.Argument(help="The image: its id or its name.")],
    file: Annotated[Path, typer.Argument(help="Its new file, of the same size.")],
    as_json: Json = False,
) -> None:
    """Give an image another file of the same size; its masks stay."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        record = project.images.replace(_record(project, image).id, file)
    print_result(asdict(record), f"Image {record.id} is {record.file_name} now.", as_json=as_json)


def _freeze(
    folder: ProjectFolder,
    name: Annotated[str, typer.Argument(help="Name of the version, such as v1.")],
    as_json: Json = False,
) -> None:
    """Keep the accepted masks as they are now under a name; `export --version NAME` writes them in any format."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        file = project.versions.freeze(name)
        names = project.versions.names()
    value = {"version": name, "file": str(file), "versions": names}
    print_result(value, f"Version {name} is in {file}.", as_json=as_json)


def _diff(
    folder: ProjectFolder,
    first: Annotated[str, typer.Argument(help="Name of the earlier version.")],
    second: Annotated[str, typer.Argument(help="Name of the later one; the project as it is without.")] = "",
    draw: Annotated[Path | None, typer.Option(help="Folder for images with the changes drawn in.")] = None,
    as_json: Json = False,
) -> None:
    """Compare two versions mask by mask."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        found = project.versions.difference(first, second, draw_into=draw)
    score = "" if found.corrected_iou is None else f" (mean IoU {found.corrected_iou:.3f} with what they were)"
    lines = [f"{len(found.images_added)} images added, {len(found.images_removed)} removed"]
    lines += [
        f"{sum(numbers.values())} masks {what}{end}" + (f": {_list(numbers)}" if numbers else "")
        for numbers, what, end in (
            (found.added, "added", ""),
            (found.removed, "removed", ""),
            (found.renamed, "of another class", ""),
            (found.corrected, "corrected", score),
        )
    ]
    lines.append(f"{found.unchanged} masks unchanged")
    if draw:
        print_message(f"{len(found.drawn)} images in {draw}: new green, removed red, corrected orange, then blue.")
    value = {**asdict(found), "drawn": [str(file) for file in found.drawn]}
    print_result(value, "\n".join(lines), as_json=as_json)


def _list(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {number}" for name, number in numbers.items())


def _record(project: Project, name: str) -> ImageRecord:
    """The image with this id, path, or unique last part of a path."""
    records = project.images.all()
    exact = [one for one in records if str(one.id) == name or one.file_name in (name, f"images/{name}")]
    found = exact or [one for one in records if Path(one.file_name).name == name]
    if len(found) != 1:
        reason = "several images are called" if found else "the project has no image"
        raise MaskwrightError(f"{reason[:1].upper()}{reason[1:]} {name}.", "`maskwright project images` lists ids.")
    return found[0]
