"""`maskwright export`: masks of a project as COCO, or in another tool's format."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.output import Json, ProjectFolder, print_message, print_result, progress_bar
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.project.exchange import ExportResult
    from maskwright.project.splitting import SplitOptions

__all__ = ["export"]


class _Format(StrEnum):
    coco = "coco"
    yolo = "yolo"
    labelme = "labelme"
    cvat = "cvat"
    voc = "voc"
    panoptic = "panoptic"
    datasets = "datasets"
    masks = "masks"
    overlays = "overlays"
    csv = "csv"
    predictions = "predictions"


class _Segmentation(StrEnum):
    rle = "rle"
    rle_list = "rle-list"
    polygon = "polygon"


class _Holes(StrEnum):
    rle = "rle"
    fill = "fill"


def _check_push(push: str | None, format: _Format) -> None:  # noqa: A002
    if push and format is not _Format.datasets:
        raise UsageError("--push uploads a datasets folder.", "Add --format datasets.")


def _split(shares: str | None, subject: str) -> SplitOptions | None:
    """The values of --split and --subject."""
    from maskwright.project.splitting import SplitOptions

    if shares is None:
        if subject:
            raise UsageError("--subject says how --split keeps images together.", "Add --split 0.2.")
        return None
    try:
        values = [float(share) for share in shares.split(",")]
    except ValueError:
        values = []
    if len(values) not in (1, 2):
        raise UsageError(f"{shares!r} is no split.", "Name the shares for validation and test, such as 0.2 or 0.2,0.1.")
    return SplitOptions(values[0], values[1] if len(values) == 2 else 0.0, subject)


def export(
    project: ProjectFolder,
    out: Annotated[Path, typer.Argument(help="File to write; a folder for the formats that are one.")],
    format: Annotated[_Format, typer.Option(help="Format to write.")] = _Format.coco,  # noqa: A002
    segmentation: Annotated[
        _Segmentation, typer.Option(help="Encoding of COCO masks; polygon also for labelme and cvat.")
    ] = _Segmentation.rle,
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
    split: Annotated[
        str | None,
        typer.Option(help="Shares for validation and test, such as 0.2 or 0.2,0.1; near-duplicates stay together."),
    ] = None,
    subject: Annotated[
        str, typer.Option(help="With --split: a regular expression; images whose names match alike stay together.")
    ] = "",
    version: Annotated[str, typer.Option(help="Export a version made by `project freeze`.")] = "",
    push: Annotated[
        str | None, typer.Option(help="With datasets: also upload the folder as this Hugging Face dataset.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Write the accepted masks of a project as COCO, or in another format."""
    from maskwright.formats.coco_writer import CocoOptions
    from maskwright.project import Project
    from maskwright.project.export_formats import ExportOptions

    _check_push(push, format)
    coco = CocoOptions("", segmentation.value, holes.value, simplify, only_annotated, all_categories)
    options = ExportOptions(coco, _split(split, subject), version)
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
    if push:
        from maskwright.presets.hub import push_dataset

        print_message(f"Uploaded to {push_dataset(exported.file, push)}.")
    _print(exported, format, as_json=as_json)


def _print(exported: ExportResult, format: _Format, *, as_json: bool) -> None:  # noqa: A002
    value = {
        "file": str(exported.file),
        "format": format.value,
        "images": exported.images,
        "masks": exported.masks,
        "notes": list(exported.notes),
    }
    print_result(value, f"Wrote {exported.file}: {exported.masks} masks.", as_json=as_json)
