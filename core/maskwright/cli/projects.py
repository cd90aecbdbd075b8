"""Projects: pictures in, masks out and in as COCO."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.terminal import Folder, Json, answer, progress, say

__all__ = ["app", "export", "import_"]

app = typer.Typer(
    help="Make a project, add pictures, look at it.", epilog="Example: maskwright project new streets",
    no_args_is_help=True,
)  # fmt: skip


@app.command("new", epilog="Example: maskwright project new streets")
def project_new(
    folder: Annotated[str, typer.Argument(help="Folder to make, or a database URL.")], as_json: Json = False
) -> None:
    """Make an empty project; an existing one is left as it is."""
    from maskwright.project import Project

    with Project.open(folder, create=True) as project:
        answer({"project": str(project.folder)}, as_json, f"Project {project.folder} is ready.")


@app.command("add", epilog="Example: maskwright project add streets photos/ cow.jpg")
def project_add(
    folder: Folder,
    files: Annotated[list[Path], typer.Argument(help="Pictures and folders of pictures.")],
    link: Annotated[bool, typer.Option("--link", help="Do not copy the pictures; link to them.")] = False,
    as_json: Json = False,
) -> None:
    """Add pictures; what cannot be read is listed and skipped."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        results = [row for file in files for row in project.add(file, copy=not link)]
    bad = [row.problem for row in results if row.problem]
    for line in [*bad, *(row.notice for row in results if row.notice)]:
        say(line)
    added = sum(row.new for row in results)
    known = len(results) - added - len(bad)
    answer(
        {"added": added, "known": known, "problems": bad},
        as_json,
        f"{added} pictures added, {known} known already, {len(bad)} could not be read.",
    )
    if bad or not results:
        if not results:
            say("No pictures were found there. Check the folder.")
        raise typer.Exit(1)


@app.command("status", epilog="Example: maskwright project status streets")
def project_status(folder: Folder, as_json: Json = False) -> None:
    """Count images and masks."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        counts = project.status()
    lines = [f"{counts.images} images, {counts.annotated_images} with accepted masks"]
    lines += [f"{name}: {number}" for name, number in counts.accepted.items()]
    values = {
        "images": counts.images, "annotated_images": counts.annotated_images, "accepted": dict(counts.accepted),
        "rejected": counts.rejected,
    }  # fmt: skip
    answer(values, as_json, "\n".join(lines))


@app.command("images", epilog="Example: maskwright project images streets")
def project_images(folder: Folder, as_json: Json = False) -> None:
    """List the images with their ids."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        rows = [asdict(record) for record in project.images()]
    answer(rows, as_json, "\n".join(f"{r['id']}  {r['file_name']}  {r['width']} x {r['height']}" for r in rows))


class _Format(StrEnum):
    coco = "coco"


class _Segmentation(StrEnum):
    rle = "rle"
    polygon = "polygon"


def export(
    project: Folder,
    out: Annotated[Path, typer.Argument(help="File to write.")],
    format: Annotated[_Format, typer.Option(help="File format.")] = _Format.coco,  # noqa: A002
    segmentation: Annotated[_Segmentation, typer.Option(help="How masks are written.")] = _Segmentation.rle,
    states: Annotated[str, typer.Option(help="States, separated by commas.")] = "accepted",
    only_annotated: Annotated[bool, typer.Option("--only-annotated", help="Leave out images without masks.")] = False,
    all_categories: Annotated[bool, typer.Option("--all-categories", help="Also those without masks.")] = False,
    as_json: Json = False,
) -> None:
    """Write the accepted masks as a COCO file."""
    from maskwright.project import Project

    with Project.open(project) as opened:
        file = opened.export_coco(
            out, states=[s.strip() for s in states.split(",")], segmentation=segmentation.value,
            only_annotated=only_annotated, all_categories=all_categories,
        )  # fmt: skip
        counts = opened.status()
    value = {"file": str(file), "format": format.value, "images": counts.images}
    answer(value, as_json, f"Wrote {file}.")


def import_(
    project: Annotated[str, typer.Argument(help="The project: its folder, or a database URL; made when new.")],
    file: Annotated[Path, typer.Argument(help="COCO instances file; its pictures lie in images/ beside it.")],
    as_json: Json = False,
) -> None:
    """Take the masks of a COCO file as accepted; a second import of the same file adds nothing."""
    from maskwright.project import Project

    with Project.open(project, create=True) as opened, progress("Images") as bar:
        done = opened.import_coco(file, progress=bar)
    for line in [*done.warnings, *done.skipped]:
        say(line)
    text = (
        f"{done.masks} masks added on {done.images} images ({done.added} of them new), {done.known} known already, "
        f"{len(done.skipped)} skipped."
    )
    answer(asdict(done), as_json, text)
