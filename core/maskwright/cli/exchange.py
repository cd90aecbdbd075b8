"""Masks out to other tools, in from them, and whether a file is what others can read."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from maskwright.cli.output import Folder, Json, answer, progress_bar, say
from maskwright.errors import BadCoco, MaskwrightError

__all__ = ["export", "import_", "validate"]

_TOLD = 20
"""Lines of one kind that a person is shown; `--json` has them all."""


class _Format(StrEnum):
    coco = "coco"
    predictions = "predictions"
    masks = "masks"
    yolo = "yolo"
    datasets = "datasets"


class _Segmentation(StrEnum):
    rle = "rle"
    rle_list = "rle-list"
    polygon = "polygon"


class _Holes(StrEnum):
    rle = "rle"
    fill = "fill"


def export(
    project: Folder,
    out: Annotated[Path, typer.Argument(help="File to write; for masks, yolo and datasets a folder.")],
    format: Annotated[_Format, typer.Option(help="What to write.")] = _Format.coco,  # noqa: A002
    segmentation: Annotated[_Segmentation, typer.Option(help="How COCO masks are written.")] = _Segmentation.rle,
    holes: Annotated[_Holes, typer.Option(help="Polygons of masks with holes: keep RLE, or fill.")] = _Holes.rle,
    simplify: Annotated[float, typer.Option(help="Pixels by which polygons may differ.")] = 0.0,
    states: Annotated[str | None, typer.Option(help="States, separated by commas.", show_default="accepted")] = None,
    images: Annotated[bool, typer.Option("--images", help="Copy the pictures, upright, beside the file.")] = False,
    only_annotated: Annotated[bool, typer.Option("--only-annotated", help="Leave out images without masks.")] = False,
    all_categories: Annotated[bool, typer.Option("--all-categories", help="Also those without masks.")] = False,
    as_json: Json = False,
) -> None:
    """Write the accepted masks as COCO, or in another format."""
    from maskwright.formats.coco_writer import CocoOptions
    from maskwright.project import Project

    options = CocoOptions("", segmentation.value, holes.value, simplify, only_annotated, all_categories)
    # a list of predictions is one of what nobody has decided on yet
    wanted = states or ("proposed" if format is _Format.predictions else "accepted")
    with Project.open(project) as opened, progress_bar("Pictures") as bar:
        done = opened.export(
            out, format.value, states=[s.strip() for s in wanted.split(",")], options=options, images=images,
            progress=bar,
        )  # fmt: skip
    for note in done.notes:
        say(note)
    value = {
        "file": str(done.file), "format": format.value, "images": done.images, "masks": done.masks,
        "notes": list(done.notes),
    }  # fmt: skip
    answer(value, as_json, f"Wrote {done.file}: {done.masks} masks.")


def import_(
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


def validate(file: Annotated[Path, typer.Argument(help="COCO instances file.")], as_json: Json = False) -> None:
    """Check that common readers take a COCO file as it is meant."""
    from maskwright.formats.coco_rules import validate as faults_of
    from maskwright.formats.labelled_folder import read_coco

    try:
        faults = faults_of(read_coco(file))
    except BadCoco as error:
        faults = [str(error)]
    except (AttributeError, TypeError, KeyError) as error:
        faults = [f"A row is not an object, or lacks what every row has ({error})."]
    for fault in faults if not as_json else ():
        say(fault)
    text = f"{len(faults)} faults." if faults else f"{file} is as every reader expects it."
    answer({"file": str(file), "valid": not faults, "faults": faults}, as_json, text)
    if faults:
        raise typer.Exit(1)
