"""`maskwright evaluate`: measure a preset on labelled images."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from maskwright.cli.output import Cleaning, Device, Json, Method, Preset, answer, engine, progress_bar, refinement
from maskwright.errors import UsageError

__all__ = ["evaluate"]


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
    """Measure a preset on labelled images: by text, by example, or with simulated clicks."""
    words = method or unlabelled is _Unlabelled.background or things or table or cleaning is not None
    if task is not _Task.text and words:
        raise UsageError("--method, --unlabelled, --things, --cleaning and --table go with --task text.")
    if task is _Task.click and refine:
        raise UsageError("--refine goes with --task text and example. Leave it out.")
    if cleaning is not None and not (things or unlabelled is _Unlabelled.background or table):
        raise UsageError("--cleaning goes with --unlabelled background or --things. Add one of them.")
    if table and (refine or cleaning is not None):
        raise UsageError("--table tries all ways of cleaning and refining. Leave --cleaning and --refine out.")
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
