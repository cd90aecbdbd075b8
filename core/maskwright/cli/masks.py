"""Masks of one picture, and how good they are on labelled ones."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from maskwright.cli.output import Device, Json, Preset, answer, engine, progress_bar, refinement, say
from maskwright.errors import MaskwrightError

__all__ = ["evaluate", "segment"]

Method = Annotated[
    str | None, typer.Option(help="dinov3seg (the default where the preset has it), dinotxt or talk2dino.")
]
Cleaning = Annotated[
    bool | None,
    typer.Option("--cleaning/--no-cleaning", help="Background cleaning, with --background; default: the preset's."),
]


def segment(
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    text: Annotated[str, typer.Option(help='Class names, separated by commas; synonyms with "|".')],
    method: Method = None,
    background: Annotated[bool, typer.Option("--background", help="Leave what was not named unlabelled.")] = False,
    cleaning: Cleaning = None,
    threshold: Annotated[float | None, typer.Option(help="How sure a class must be, 0 to 1; with background.")] = None,
    high_resolution: Annotated[
        bool, typer.Option("--high-resolution", help="Slow procedure for fine structures.")
    ] = False,
    refine: Annotated[str | None, typer.Option(help="pamr: contours follow the picture's colours.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Find regions by words: writes a label map, an overlay and the masks."""
    from maskwright.domain import Image
    from maskwright.formats.prediction_files import write_prediction

    picture = Image.open(image)
    model = engine(preset, device)
    with progress_bar("Encoding") as bar:
        found = model.segment_text(
            picture, text, method, background, refinement(refine or "none"), threshold=threshold, cleaning=cleaning,
            high_resolution=high_resolution, progress=bar,
        )  # fmt: skip
    if found.note:
        say(found.note)
    if found.unfamiliar:
        say(f"This model was not taught: {', '.join(found.unfamiliar)}. Expect little of it.")
    if found.removed is not None:
        say(f"Cleaning left {100 * found.removed.mean():.1f} % of the picture unlabelled that had a class before.")
    if len(found.categories) == 1 and not background and threshold is None:
        say("One class and no --background: the class covers the whole picture.")
    written = write_prediction(found, picture, out)
    lines = [
        f"{m['category']}: {100 * m['area'] / found.label_map.size:.1f} % of the picture" for m in written["masks"]
    ]
    answer(written, as_json, "\n".join([*lines, written["label_map"], written["overlay"], written["masks_file"]]))


class _Task(StrEnum):
    text = "text"
    example = "example"
    click = "click"


class _Unlabelled(StrEnum):
    ignore = "ignore"
    background = "background"


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and COCO annotations.json.")],
    task: Annotated[_Task, typer.Option(help="What is measured.")],
    method: Method = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    unlabelled: Annotated[
        _Unlabelled, typer.Option(help="Pixels without annotation: not counted, or counted as background.")
    ] = _Unlabelled.ignore,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only the images that training leaves out.")] = False,
    things: Annotated[
        bool, typer.Option("--things", help="Prompt only what the file marks as things; all else is background.")
    ] = False,
    cleaning: Cleaning = None,
    refine: Annotated[
        str | None,
        typer.Option(help="Words: pamr or none (the default); by example: crf (the default), pamr or none."),
    ] = None,
    table: Annotated[
        bool, typer.Option("--table", help="Without and with background cleaning, without and with pamr.")
    ] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images or episodes, by the seed.")] = None,
    seed: Annotated[int, typer.Option(help="Of the draw.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure a preset on labelled images: by words, by example, or by a robot that clicks."""
    words = method or unlabelled is _Unlabelled.background or things or table or cleaning is not None
    if task is not _Task.text and words:
        raise MaskwrightError("--method, --unlabelled, --things, --cleaning and --table go with --task text.")
    if task is _Task.click and refine:
        raise MaskwrightError("--refine goes with --task text and example. Leave it out.")
    if cleaning is not None and not (things or unlabelled is _Unlabelled.background or table):
        raise MaskwrightError("--cleaning goes with --unlabelled background or --things. Add one of them.")
    if table and (refine or cleaning is not None):
        raise MaskwrightError("--table tries all ways of cleaning and refining. Leave --cleaning and --refine out.")
    if task is _Task.example:
        _evaluate_example(engine(preset, device), data, refine, held_out, limit, seed, as_json)
        return
    if task is _Task.click:
        _evaluate_click(engine(preset, device), data, held_out, limit, seed, as_json)
        return
    from maskwright.evaluation.text import CLEANING_TABLE, Way, evaluate_text

    model = engine(preset, device)
    ways = CLEANING_TABLE if table else (Way(cleaning, refinement(refine or "none")),)
    with progress_bar("Images") as bar:
        found = evaluate_text(
            model, data, method=method, background=table or unlabelled is _Unlabelled.background, things=things,
            ways=ways, only_held_out=held_out, limit=limit, seed=seed, progress=bar,
        )  # fmt: skip
    if table:
        answer(
            [asdict(row) for row in found], as_json, "\n".join(["cleaning  pamr  background  mIoU", *map(_row, found)])
        )
        return
    (scores,) = found
    head = f"mIoU {scores.miou:.3f} over {scores.classes} classes, pixel accuracy {scores.pixel_accuracy:.3f}"
    head += f", background {scores.background:.3f}" if scores.background is not None else ""
    _tell(scores, f"{head}, {scores.images} images", as_json)


def _row(scores: Any) -> str:
    marks = "yes" if scores.cleaning else "no", "yes" if scores.refine else "no"
    return f"{marks[0]:8}  {marks[1]:4}  {scores.background or 0:10.3f}  {scores.miou:.4f}"


def _evaluate_example(
    model: Any, data: Path, refine: str | None, held_out: bool, limit: int | None, seed: int, as_json: bool
) -> None:
    from maskwright.evaluation.few_shot import evaluate_example

    with progress_bar("Episodes") as bar:
        scores = evaluate_example(
            model,
            data,
            refine=refinement(refine or "crf"),
            only_held_out=held_out,
            limit=limit,
            seed=seed,
            progress=bar,
        )
    head = f"mean IoU {scores.miou:.3f} over {scores.episodes} episodes of {scores.classes} classes, seed {seed}"
    _tell(scores, f"{head}; score against IoU, rank correlation {scores.ranking:.2f}", as_json)


def _evaluate_click(model: Any, data: Path, held_out: bool, limit: int | None, seed: int, as_json: bool) -> None:
    from maskwright.evaluation.clicks import evaluate_click

    with progress_bar("Images") as bar:
        scores = evaluate_click(model, data, only_held_out=held_out, limit=limit, seed=seed, progress=bar)
    head = f"IoU {scores.iou_1click:.3f} after one click, {scores.iou_5click:.3f} after five"
    head += f"; {scores.noc85:.1f} clicks to 0.85; {scores.objects} objects on {scores.images} images"
    _tell(scores, head, as_json)


def _tell(scores: Any, head: str, as_json: bool) -> None:
    rows = sorted(scores.per_class.items(), key=lambda row: -(row[1] if row[1] is not None else -1))
    table = [f"{'-' if iou is None else f'{iou:.3f}'}  {name}" for name, iou in rows]
    answer(asdict(scores), as_json, "\n".join([head, *table]))
