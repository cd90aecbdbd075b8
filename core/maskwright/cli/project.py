"""Projects: made, filled with pictures, looked at, kept safe."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Folder, Json, answer, progress_bar, say
from maskwright.errors import MaskwrightError

__all__ = ["app"]

app = typer.Typer(
    help="Make a project, add pictures, look at it, keep it safe.", epilog="Example: maskwright project new streets",
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
    """Count images and masks; say which pictures are missing and which copies of the database there are."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        counts = project.status()
        missing = [record.file_name for record in project.missing()]
        copies = _copies(project.folder)
        checkpoints = project.store.checkpoints()
    lines = [f"{counts.images} images, {counts.annotated_images} with accepted masks"]
    lines += [f"{name}: {number}" for name, number in counts.accepted.items()]
    lines += [f"{counts.proposed} proposed, {counts.rejected} rejected, {counts.deleted} deleted"]
    if missing:
        lines.append(
            f"{len(missing)} pictures are missing, such as {missing[0]}: `maskwright project relink` finds them."
        )
    if copies:
        lines.append(f"Newest backup: {copies[0]['file']} ({copies[0]['masks']} masks)")
    values = {
        "images": counts.images, "annotated_images": counts.annotated_images, "accepted": dict(counts.accepted),
        "rejected": counts.rejected, "proposed": counts.proposed, "deleted": counts.deleted, "missing": missing,
        "backups": copies, "checkpoints": [asdict(one) for one in checkpoints],
    }  # fmt: skip
    answer(values, as_json, "\n".join(lines))


@app.command("images", epilog="Example: maskwright project images streets --after 100 --limit 50")
def project_images(
    folder: Folder,
    after: Annotated[int, typer.Option(min=0, help="Only images with a larger id.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.")] = None,
    missing: Annotated[bool, typer.Option("--missing", help="Only those whose file is not there.")] = False,
    as_json: Json = False,
) -> None:
    """List the images with their ids and the numbers of their masks."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        gone = {record.id for record in project.missing()} if missing else set()
        rows = [
            {**asdict(one.record), "accepted": one.accepted, "proposed": one.proposed}
            for one in project.page(after, limit)
            if one.record.id in gone or not missing
        ]
    lines = [f"{r['id']}  {r['file_name']}  {r['width']} x {r['height']}  {r['accepted']} masks" for r in rows]
    answer(rows, as_json, "\n".join(lines))


@app.command("relink", epilog="Example: maskwright project relink streets /media/photos")
def project_relink(
    folder: Folder,
    pictures: Annotated[Path, typer.Argument(help="Where to look, with all folders inside.")],
    as_json: Json = False,
) -> None:
    """Find missing pictures again: by their bytes, then by path and size."""
    from maskwright.project import Project

    if not pictures.is_dir():
        raise MaskwrightError(f"There is no folder {pictures}. Check the name.")
    with Project.open(folder) as project, progress_bar("Pictures") as bar:
        done = project.relink(pictures, progress=bar)
    for name in done.by_path:
        say(f"{name}: path and size are the same, but the bytes are not; check that its masks fit.")
    for name in done.missing:
        say(f"{name} is still missing.")
    text = f"{len(done.by_content) + len(done.by_path)} pictures found, {len(done.missing)} still missing."
    answer(asdict(done), as_json, text)
    if done.missing:
        raise typer.Exit(1)


@app.command("backup", epilog="Example: maskwright project backup streets")
def project_backup(folder: Folder, as_json: Json = False) -> None:
    """Copy the database into backups/; once a day that happens by itself."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        copy = project.store.back_up()
    answer({"file": str(copy)}, as_json, f"Wrote {copy}.")


@app.command("restore", epilog="Example: maskwright project restore streets")
def project_restore(
    folder: Folder,
    backup: Annotated[Path | None, typer.Argument(help="The copy; by default the newest.")] = None,
    as_json: Json = False,
) -> None:
    """Put a backup in the place of the database; the replaced file is kept."""
    from maskwright.store.backups import restore
    from maskwright.store.location import database_file

    chosen, aside = restore(database_file(folder), backup)
    kept = f" The replaced file is {aside}." if aside else ""
    answer(
        {"restored": str(chosen.file), "masks": chosen.masks, "replaced": str(aside) if aside else None},
        as_json,
        f"Restored {chosen.file} with {chosen.masks} masks.{kept}",
    )


@app.command("purge", epilog="Example: maskwright project purge streets --yes")
def project_purge(
    folder: Folder,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Json = False,
) -> None:
    """Remove rejected and deleted masks for good, after a backup; undo does not bring them back."""
    from maskwright.project import Project

    with Project.open(folder) as project:
        counts = project.status()
        number = counts.rejected + counts.deleted
        if number and not yes and not typer.confirm(f"Remove {number} rejected and deleted masks for good?", err=True):
            raise MaskwrightError("Nothing was removed.")
        removed, copy = project.purge() if number else (0, None)
    kept = f" A copy of the database from before is {copy}." if copy else ""
    answer({"removed": removed, "backup": str(copy) if copy else None}, as_json, f"{removed} masks removed.{kept}")


def _copies(folder: Path) -> list[dict[str, object]]:
    from maskwright.store.backups import backups

    return [
        {"file": str(one.file), "made": one.made.isoformat(timespec="seconds"), "masks": one.masks}
        for one in backups(folder / "project.db")
    ]
