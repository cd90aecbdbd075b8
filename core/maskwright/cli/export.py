"""Masks out to other tools, in from them, and whether a file is what others can read."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Folder, Json, answer, progress_bar, say

__all__ = ["export"]


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
