"""`evaluate`: quality of a preset on labelled images, by text, example or click prompts."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.output import (
    Cleaning,
    Device,
    Json,
    Method,
    Preset,
    load_engine,
    print_result,
    progress_bar,
    refinement,
)
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.domain import InstanceScores, Scores
    from maskwright.evaluation.clicks import ClickScores
    from maskwright.evaluation.few_shot import ExampleScores

__all__ = ["evaluate"]


class _Task(StrEnum):
    text = "text"
    example = "example"
    click = "click"


class _Unlabelled(StrEnum):
    ignore = "ignore"
    background = "background"


_Instances = Annotated[
    bool, typer.Option("--instances", help="text: one mask per object, scored by F1, mean IoU and PQ as well.")
]

_Boundary = Annotated[
    bool, typer.Option("--boundary", help="text: boundary IoU as well, within 2 % of the diagonal of contours.")
]


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and COCO annotations.json.")],
    task: Annotated[_Task, typer.Option(help="Kind of prompt to measure.")],
    method: Method = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    unlabelled: Annotated[
        _Unlabelled, typer.Option(help="Pixels without annotation: ignore them, or score them as background.")
    ] = _Unlabelled.ignore,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only images that training leaves out.")] = False,
    things: Annotated[
        bool, typer.Option("--things", help="Prompt only categories marked as things; the rest is background.")
    ] = False,
    cleaning: Cleaning = None,
    refine: Annotated[
        str | None,
        typer.Option(help="text: pamr, crf or none (the default); example: crf (the default), pamr or none."),
    ] = None,
    instances: _Instances = False,
    boundary: _Boundary = False,
    table: Annotated[bool, typer.Option("--table", help="With and without cleaning, with and without pamr.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of images or episodes.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawing images or episodes.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure a preset on labelled images: by text, by example, or with simulated clicks."""
    from maskwright.evaluation.protocol import ImageSelection

    background = unlabelled is _Unlabelled.background
    _check(task, method or background or things or table or instances or boundary or cleaning is not None, refine)
    if cleaning is not None and not (things or background or table):
        raise UsageError("--cleaning goes with --unlabelled background or --things. Add one of them.")
    if table and (refine or instances or boundary or cleaning is not None):
        raise UsageError(
            "--table measures all settings of --cleaning and --refine. Leave them, --instances and --boundary out."
        )
    contours = refinement(refine or ("crf" if task is _Task.example else "none"))
    selection = ImageSelection(only_held_out=held_out, limit=limit, seed=seed, only_things=things)
    model = load_engine(preset, device)
    if task is _Task.example:
        from maskwright.evaluation.few_shot import evaluate_example

        with progress_bar("Episodes") as bar:
            episodes = evaluate_example(model, data, refine=contours, selection=selection, progress=bar)
        _print_example(episodes, as_json=as_json)
    elif task is _Task.click:
        from maskwright.evaluation.clicks import evaluate_click

        with progress_bar("Images") as bar:
            objects = evaluate_click(model, data, selection=selection, progress=bar)
        _print_click(objects, as_json=as_json)
    else:
        from maskwright.evaluation.text import CLEANING_TABLE, PostProcessing, evaluate_text

        variants = CLEANING_TABLE if table else (PostProcessing(cleaning, contours, instances, boundary),)
        with progress_bar("Images") as bar:
            rows = evaluate_text(
                model, data, method=method, background=table or background, variants=variants,
                selection=selection, progress=bar,
            )  # fmt: skip
        _print_text(rows, as_json=as_json, table=table)


def _check(task: _Task, of_text: object, refine: str | None) -> None:
    if task is not _Task.text and of_text:
        raise UsageError(
            "--method, --unlabelled, --things, --cleaning, --instances, --boundary and --table go with --task text."
        )
    if task is _Task.click and refine:
        raise UsageError("--refine goes with --task text and example. Leave it out.")


def _print_text(rows: list[Scores], *, as_json: bool, table: bool) -> None:
    if not table:
        (scores,) = rows
        head = f"mIoU {scores.miou:.3f} over {scores.classes} classes, pixel accuracy {scores.pixel_accuracy:.3f}"
        head += f", boundary IoU {scores.boundary_iou:.3f}" if scores.boundary_iou is not None else ""
        head += f", background {scores.background:.3f}" if scores.background is not None else ""
        head += f", {scores.images} images"
        if scores.instances is not None:
            head += f"\n{_instances_table(scores.instances)}\nIoU of the classes:"
        _print(scores, head, as_json=as_json)
        return
    lines = ["cleaning  pamr  background  mIoU"]
    for row in rows:
        marks = "yes" if row.cleaning else "no", "yes" if row.refine else "no"
        lines.append(f"{marks[0]:8}  {marks[1]:4}  {row.background or 0:10.3f}  {row.miou:.4f}")
    print_result([row.to_dict() for row in rows], "\n".join(lines), as_json=as_json)


def _instances_table(scores: InstanceScores) -> str:
    lines = [
        f"{scores.objects} objects, matched at IoU 0.5: F1 {scores.f1:.3f}, mean IoU {scores.mean_iou:.3f}, "
        f"PQ {scores.pq:.3f} (means over classes)",
        "F1     IoU    PQ",
    ]
    for name, row in scores.per_class.items():
        numbers = ("-    ",) * 3 if row is None else tuple(f"{row[key]:.3f}" for key in ("f1", "mean_iou", "pq"))
        lines.append("  ".join((*numbers, name)))
    return "\n".join(lines)


def _print_example(scores: ExampleScores, *, as_json: bool) -> None:
    head = f"mean IoU {scores.miou:.3f} over {scores.episodes} episodes of {scores.classes} classes, seed {scores.seed}"
    _print(scores, f"{head}; rank correlation of score and IoU {scores.ranking:.2f}", as_json=as_json)


def _print_click(scores: ClickScores, *, as_json: bool) -> None:
    head = f"IoU {scores.iou_1click:.3f} after one click, {scores.iou_5click:.3f} after five"
    head += f"; {scores.noc85:.1f} clicks to IoU 0.85; {scores.objects} objects on {scores.images} images"
    _print(scores, head, as_json=as_json)


def _print(scores: Scores | ExampleScores | ClickScores, head: str, *, as_json: bool) -> None:
    """Print all scores as JSON, or the summary line and the IoU of each class, the best first."""
    rows = sorted(scores.per_class.items(), key=lambda row: -(row[1] if row[1] is not None else -1))
    table = [f"{'-' if iou is None else f'{iou:.3f}'}  {name}" for name, iou in rows]
    print_result(scores.to_dict(), "\n".join([head, *table]), as_json=as_json)
