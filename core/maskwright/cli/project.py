"""`maskwright project`: create projects, add and list images, back up and restore."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, ProjectFolder, print_message, print_result, progress_bar
from maskwright.cli.project_images import register
from maskwright.errors import MaskwrightError

__all__ = ["app"]

_SHOWN = 5


class _Pages(StrEnum):
    first = "first"
    all = "all"


app = typer.Typer(
    help="Create a project, add and list images, back up and restore.",
    epilog="Example: maskwright project new streets",
    no_args_is_help=True,
)


@app.command("new", epilog="Example: maskwright project new streets")
def project_new(
    folder: Annotated[str, typer.Argument(help="Folder to create, or a database URL.")], as_json: Json = False
) -> None:
    """Create an empty project; an existing one is left as it is."""
    from maskwright.project import Project

    with Project.open(folder, create=True) as project:
        print_result({"project": str(project.folder)}, f"Project {project.folder} is ready.", as_json=as_json)


@app.command("add", epilog="Example: maskwright project add streets photos/ cow.jpg")
def project_add(
    folder: ProjectFolder,
    files: Annotated[
        list[str], typer.Argument(help="Images, folders of images, and addresses such as s3://bucket/photos.")
    ],
    link: Annotated[
        bool | None,
        typer.Option("--link/--copy", help="Link to files, which are copied by default; copy those of an address."),
    ] = None,
    pages: Annotated[
        _Pages, typer.Option(help="Of a TIFF with several pages: the first, or all as images.")
    ] = _Pages.first,
    as_json: Json = False,
) -> None:
    """Add images; files that cannot be read are listed and skipped."""
    from maskwright.project import AddResult, Project
    from maskwright.project.addresses import is_address

    with Project.open(folder) as project:
        all_pages = pages is _Pages.all
        results: list[AddResult] = []
        for file in files:
            if is_address(file):
                results += project.images.add_address(file, copy=link is False, all_pages=all_pages)
            else:
                results += project.images.add(file, copy=not link, all_pages=all_pages)
        folders = [file for file in files if not is_address(file) and Path(file).is_dir()]
        passed_over = [path for home in folders for path in project.images.passed_over(home)]
    problems = [row.problem for row in results if row.problem]
    for line in [*problems, *(row.notice for row in results if row.notice)]:
        print_message(line)
    if any(row.pages > 1 for row in results):
        print_message("--pages all adds every page as an image.")
    if passed_over:
        names = ", ".join(path.name for path in passed_over[:_SHOWN])
        more = f" and {len(passed_over) - _SHOWN} more" if len(passed_over) > _SHOWN else ""
        print_message(f"Passed over, because they are no images that are known: {names}{more}.")
    added = sum(row.new for row in results)
    known = len(results) - added - len(problems)
    text = f"{added} images added, {known} known already, {len(problems)} could not be read."
    value = {"added": added, "known": known, "problems": problems}
    if passed_over:
        value["passed_over"] = [str(path) for path in passed_over]
    print_result(value, text, as_json=as_json)
    if problems or not results:
        if not results:
            print_message("There are no images in that folder. Check its name.")
        raise typer.Exit(1)


@app.command("status", epilog="Example: maskwright project status streets")
def project_status(folder: ProjectFolder, as_json: Json = False) -> None:
    """Count images and masks; list missing image files and backups."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        counts = project.status()
        missing = [record.file_name for record in project.images.missing()]
        copies = _copies(project.folder)
        checkpoints = project.store.runs.checkpoints()
    lines = [f"{counts.images} images, {counts.annotated_images} with accepted masks"]
    lines += [f"{name}: {number}" for name, number in counts.accepted.items()]
    lines += [f"{counts.proposed} proposed, {counts.rejected} rejected, {counts.deleted} deleted"]
    if missing:
        lines.append(
            f"{len(missing)} image files are missing, such as {missing[0]}: `maskwright project relink` finds them."
        )
    if copies:
        lines.append(f"Newest backup: {copies[0]['file']} ({copies[0]['masks']} masks)")
    values = {
        "images": counts.images,
        "annotated_images": counts.annotated_images,
        "accepted": dict(counts.accepted),
        "rejected": counts.rejected,
        "proposed": counts.proposed,
        "deleted": counts.deleted,
        "missing": missing,
        "backups": copies,
        "checkpoints": [asdict(checkpoint) for checkpoint in checkpoints],
    }
    print_result(values, "\n".join(lines), as_json=as_json)


@app.command("images", epilog="Example: maskwright project images streets --after 100 --limit 50")
def project_images(
    folder: ProjectFolder,
    after: Annotated[int, typer.Option(min=0, help="Only images with a larger id.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only images whose file is missing.")] = False,
    as_json: Json = False,
) -> None:
    """List the images with their ids and how many masks they have."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        without_file = {record.id for record in project.images.missing()} if missing else set()
        rows = [
            {**asdict(row.record), "accepted": row.accepted, "proposed": row.proposed}
            for row in project.images.page(after, limit)
            if row.record.id in without_file or not missing
        ]
    lines = [f"{r['id']}  {r['file_name']}  {r['width']} x {r['height']}  {r['accepted']} masks" for r in rows]
    print_result(rows, "\n".join(lines), as_json=as_json)


@app.command("relink", epilog="Example: maskwright project relink streets /media/photos")
def project_relink(
    folder: ProjectFolder,
    images: Annotated[Path, typer.Argument(help="Folder to search, with all its subfolders.")],
    as_json: Json = False,
) -> None:
    """Find missing image files again: by SHA-256, then by path and size."""
    from maskwright.project import Project

    if not images.is_dir():
        raise MaskwrightError(f"There is no folder {images}. Check the name.")
    with Project.open(folder) as project, progress_bar("Images") as bar:
        relinked = project.images.relink(images, progress=bar)
    for name in relinked.by_path:
        print_message(f"{name}: path and size match, but the content differs; check that its masks fit.")
    for name in relinked.missing:
        print_message(f"{name} is still missing.")
    text = (
        f"{len(relinked.by_content) + len(relinked.by_path)} image files found, {len(relinked.missing)} still missing."
    )
    print_result(asdict(relinked), text, as_json=as_json)
    if relinked.missing:
        raise typer.Exit(1)


@app.command("backup", epilog="Example: maskwright project backup streets")
def project_backup(folder: ProjectFolder, as_json: Json = False) -> None:
    """Copy the database into backups/; this also happens by itself once a day."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        copy = project.store.back_up()
    print_result({"file": str(copy)}, f"Wrote {copy}.", as_json=as_json)


@app.command("restore", epilog="Example: maskwright project restore streets")
def project_restore(
    folder: ProjectFolder,
    backup: Annotated[Path | None, typer.Argument(help="The backup file; default: the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Replace the database by a backup; the replaced file is kept."""
    from maskwright.store.backups import restore
    from maskwright.store.location import database_file

    chosen, replaced = restore(database_file(folder), backup)
    note = f" The replaced file is {replaced}." if replaced else ""
    value = {"restored": str(chosen.file), "masks": chosen.masks, "replaced": str(replaced) if replaced else None}
    print_result(value, f"Restored {chosen.file} with {chosen.masks} masks.{note}", as_json=as_json)


@app.command("purge", epilog="Example: maskwright project purge streets --yes")
def project_purge(
    folder: ProjectFolder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask for confirmation.")] = False,
    as_json: Json = False,
) -> None:
    """Remove rejected and deleted masks for good, after a backup; this cannot be undone."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        counts = project.status()
        number = counts.rejected + counts.deleted
        if number and not yes and not typer.confirm(f"Remove {number} rejected and deleted masks for good?", err=True):
            raise MaskwrightError("Nothing was removed.")
        removed, backup = project.purge() if number else (0, None)
    note = f" Backup: {backup}." if backup else ""
    value = {"removed": removed, "backup": str(backup) if backup else None}
    print_result(value, f"{removed} masks removed.{note}", as_json=as_json)


register(app)


def _copies(folder: Path) -> list[dict[str, object]]:
    from maskwright.store.backups import backups

    return [
        {"file": str(backup.file), "made": backup.made.isoformat(timespec="seconds"), "masks": backup.masks}
        for backup in backups(folder / "project.db")
    ]
