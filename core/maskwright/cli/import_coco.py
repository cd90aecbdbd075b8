"""`maskwright import`: masks of a file or folder of another tool into a project."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from maskwright.cli.output import Json, print_message, print_result, progress_bar
from maskwright.errors import MaskwrightError

__all__ = ["import_coco"]

_LINES = 20
"""Lines of one kind that are printed; `--json` has them all."""


def import_coco(
    project: Annotated[str, typer.Argument(help="The project: its folder, or a database URL; created when missing.")],
    file: Annotated[Path, typer.Argument(help="COCO, CVAT, VIA, LabelMe or VOC file, YOLO's data.yaml, or a folder.")],
    images: Annotated[Path | None, typer.Option(help="Another folder to look for the images in.")] = None,
    as_proposals: Annotated[
        bool, typer.Option("--as-proposals", help="Import every mask as a proposal to decide on.")
    ] = False,
    rotate: Annotated[
        bool, typer.Option("--rotate", help="Rotate masks that were drawn on images before EXIF orientation.")
    ] = False,
    groups_as_objects: Annotated[
        bool, typer.Option("--groups-as-objects", help="Treat iscrowd 1 as an ordinary mask, as CVAT writes it.")
    ] = False,
    update: Annotated[
        bool, typer.Option("--update", help="Take known masks that differ in the file as corrections.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print what would change; change nothing.")] = False,
    as_json: Json = False,
) -> None:
    """Import masks of COCO, YOLO, LabelMe, CVAT, Pascal VOC, Cityscapes, Supervisely or VIA, all or nothing.

    Importing the same file again adds nothing.
    """
    from maskwright.project import Project
    from maskwright.project.coco_import import ImportOptions
    from maskwright.store.location import exists

    if images is not None and not images.is_dir():
        raise MaskwrightError(f"There is no folder {images}. Check the name.")
    options = ImportOptions(images and images.absolute(), as_proposals, rotate, groups_as_objects, update, dry_run)
    with ExitStack() as stack:
        if dry_run and not exists(project):
            # analyze against an empty project, without creating one
            project = stack.enter_context(TemporaryDirectory())
        opened = stack.enter_context(Project.open(project, create=True))
        imported = opened.exchange.import_coco(
            file, options=options, progress=stack.enter_context(progress_bar("Images"))
        )
    # first what changes labels, then what is cosmetic
    for lines in (imported.warnings, imported.skipped, imported.notes):
        for line in lines[:_LINES]:
            print_message(line)
        if len(lines) > _LINES:
            print_message(f"... and {len(lines) - _LINES} more like these; --json lists them all.")
    boxes = f" {imported.boxes} boxes without a mask," if imported.boxes else ""
    text = (
        f"{'Would add' if dry_run else 'Added'} {imported.masks} masks ({imported.proposals} as proposals) on "
        f"{imported.images} images ({imported.added} of them new),{boxes} {imported.known} known already, "
        f"{len(imported.skipped)} skipped."
    )
    print_result(asdict(imported), text, as_json=as_json)
