"""`maskwright import`: masks of a COCO file into a project."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from maskwright.cli.output import Json, answer, progress_bar, say
from maskwright.errors import MaskwrightError

__all__ = ["import_coco"]

_TOLD = 20
"""Lines of one kind that a person is shown; `--json` has them all."""


def import_coco(
    project: Annotated[str, typer.Argument(help="The project: its folder, or a database URL; made when new.")],
    file: Annotated[Path, typer.Argument(help="COCO instances file; its pictures lie in images/ beside it.")],
    images: Annotated[Path | None, typer.Option(help="Another folder to look for the pictures in.")] = None,
    as_proposals: Annotated[bool, typer.Option("--as-proposals", help="Every mask waits for a person.")] = False,
    rotate: Annotated[bool, typer.Option("--rotate", help="Turn masks that were made before the EXIF turn.")] = False,
    groups_as_objects: Annotated[
        bool, typer.Option("--groups-as-objects", help="Take iscrowd 1 for an ordinary mask, as CVAT writes it.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Tell what would happen; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Take the masks of a COCO file, all or nothing; a second import of the same file adds nothing."""
    from maskwright.project import Project
    from maskwright.project.coco_import import ImportOptions
    from maskwright.store.location import exists

    if images is not None and not images.is_dir():
        raise MaskwrightError(f"There is no folder {images}. Check the name.")
    options = ImportOptions(images and images.absolute(), as_proposals, rotate, groups_as_objects, dry_run)
    with ExitStack() as stack:
        if dry_run and not exists(project):
            # what a new project would get, without making one
            project = stack.enter_context(TemporaryDirectory())
        opened = stack.enter_context(Project.open(project, create=True))
        done = opened.import_coco(file, options=options, progress=stack.enter_context(progress_bar("Images")))
    for lines in (done.warnings, done.skipped):
        for line in lines[:_TOLD]:
            say(line)
        if len(lines) > _TOLD:
            say(f"... and {len(lines) - _TOLD} more like these; --json lists them all.")
    boxes = f" {done.boxes} boxes without a mask," if done.boxes else ""
    text = (
        f"{'Would add' if dry_run else 'Added'} {done.masks} masks ({done.proposals} as proposals) on {done.images} "
        f"images ({done.added} of them new),{boxes} {done.known} known already, {len(done.skipped)} skipped."
    )
    answer(asdict(done), as_json, text)
