"""`maskwright export`: masks of a project as COCO, or in another tool's format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Json, ProjectFolder, print_message, print_result, progress_bar

__all__ = ["export"]


class _Format(StrEnum):
    coco = "coco"
    predictions = "predictions"
    masks = "masks"
    yolo = "yolo"
    datasets = "datasets"
    csv = "csv"


class _Segmentation(StrEnum):
    rle = "rle"
    rle_list = "rle-list"
    polygon = "polygon"


class _Holes(StrEnum):
    rle = "rle"
    fill = "fill"


def export(
    project: ProjectFolder,
    out: Annotated[Path, typer.Argument(help="File to write; a folder for masks, yolo and datasets.")],
    format: Annotated[_Format, typer.Option(help="Format to write.")] = _Format.coco,  # noqa: A002
    segmentation: Annotated[_Segmentation, typer.Option(help="Encoding of COCO masks.")] = _Segmentation.rle,
    holes: Annotated[
        _Holes, typer.Option(help="With polygons: write masks with holes as RLE, or fill the holes.")
    ] = _Holes.rle,
    simplify: Annotated[float, typer.Option(help="Tolerance of polygons in pixels, 0 to 100.")] = 0.0,
    states: Annotated[
        str | None,
        typer.Option(help="accepted, proposed, rejected; separated by commas.", show_default="accepted"),
    ] = None,
    images: Annotated[
        bool, typer.Option("--images", help="Copy the images beside the file, EXIF orientation applied.")
    ] = False,
    only_annotated: Annotated[bool, typer.Option("--only-annotated", help="Leave out images without masks.")] = False,
    all_categories: Annotated[bool, typer.Option("--all-categories", help="Include categories without masks.")] = False,
    as_json: Json = False,
) -> None:
    """Write the accepted masks of a project as COCO, or in another format."""
    from maskwright.formats.coco_writer import CocoOptions
    from maskwright.project import Project

    options = CocoOptions("", segmentation.value, holes.value, simplify, only_annotated, all_categories)
    # COCO's list of results holds what has not been decided on yet
    chosen = states or ("proposed" if format is _Format.predictions else "accepted")
    with Project.open(project) as opened, progress_bar("Images") as bar:
        exported = opened.exchange.export(
            out,
            format.value,
            states=[state.strip() for state in chosen.split(",")],
            options=options,
            images=images,
            progress=bar,
        )
    for note in exported.notes:
        print_message(note)
    value = {
        "file": str(exported.file),
        "format": format.value,
        "images": exported.images,
        "masks": exported.masks,
        "notes": list(exported.notes),
    }
    print_result(value, f"Wrote {exported.file}: {exported.masks} masks.", as_json=as_json)
