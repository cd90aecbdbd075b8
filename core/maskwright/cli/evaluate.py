"""`evaluate`: quality of a preset on labelled images, by text, example or click prompts."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.benchmark import BenchmarkOptions, measure_benchmark
from maskwright.cli.image_level import Comparison, measure_image_level
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
    from maskwright.evaluation.protocol import ImageSelection
    from maskwright.evaluation.text import PostProcessing

__all__ = ["evaluate"]


class _Task(StrEnum):
    text = "text"
    example = "example"
    click = "click"
    classify = "classify"
    retrieve = "retrieve"


class _Pooling(StrEnum):
    best_head = "best-head"
    mean = "mean"


class _Unlabelled(StrEnum):
    ignore = "ignore"
    background = "background"


_Instances = Annotated[
    bool, typer.Option("--instances", help="text: one mask per object, scored by F1, mean IoU and PQ as well.")
]
_UnlabelledPixels = Annotated[
    _Unlabelled, typer.Option(help="Pixels without annotation: ignore them, or score them as background.")
]
_Things = Annotated[
    bool, typer.Option("--things", help="Prompt only categories marked as things; the rest is background.")
]
_Refine = Annotated[
    str | None, typer.Option(help="text: pamr, crf or none (the default); example: crf (the default), pamr or none.")
]
_Benchmark = Annotated[
    str | None,
    typer.Option(help="A published benchmark instead of --task, such as voc21; DATA holds it as published."),
]
_Protocol = Annotated[
    str | None,
    typer.Option(help="As a paper measures: dinov3seg, dinotxt, dinotxt-hr, dinov3txt, talk2dino, ovs-dino, insid3."),
]
_RegionPooling = Annotated[_Pooling | None, typer.Option(help="Talk2DINO in classify and retrieve: best head or mean.")]
_Boundary = Annotated[
    bool, typer.Option("--boundary", help="text: boundary IoU as well, within 2 % of the diagonal of contours.")
]


def evaluate(
    data: Annotated[Path, typer.Argument(help="Folder with images/ and COCO annotations.json, or of a benchmark.")],
    task: Annotated[_Task | None, typer.Option(help="Kind of prompt to measure.")] = None,
    benchmark: _Benchmark = None,
    protocol: _Protocol = None,
    fold: Annotated[int, typer.Option(min=0, help="Fold of a few-shot benchmark.")] = 0,
    shots: Annotated[int, typer.Option(min=1, help="References per episode of a few-shot benchmark.")] = 1,
    method: Method = None,
    pooling: _RegionPooling = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    unlabelled: _UnlabelledPixels = _Unlabelled.ignore,
    held_out: Annotated[bool, typer.Option("--held-out", help="Only images that training leaves out.")] = False,
    things: _Things = False,
    cleaning: Cleaning = None,
    refine: _Refine = None,
    instances: _Instances = False,
    boundary: _Boundary = False,
    table: Annotated[bool, typer.Option("--table", help="With and without cleaning, with and without pamr.")] = False,
    limit: Annotated[int | None, typer.Option(min=1, help="Largest number of images or episodes.")] = None,
    seed: Annotated[int, typer.Option(help="Seed for drawing images or episodes.")] = 0,
    as_json: Json = False,
) -> None:
    """Measure a preset on labelled images: by text, example or clicks, or as a whole; or on a benchmark."""
    from maskwright.evaluation.protocol import ImageSelection

    background = unlabelled is _Unlabelled.background
    selection = ImageSelection(only_held_out=held_out, limit=limit, seed=seed, only_things=things)
    only_text = bool(background or things or instances or boundary or table)
    if benchmark is not None:
        if task or held_out or only_text:
            raise UsageError("--benchmark says what is measured. Leave --task and the options of labelled folders out.")
        options = BenchmarkOptions(benchmark, protocol, fold, shots, method, cleaning, refine)
        measure_benchmark(data, options, selection, preset=preset, device=device, as_json=as_json)
        return
    if protocol or fold or shots != 1:
        raise UsageError("--protocol, --fold and --shots go with --benchmark. Add it, or leave them out.")
    if task in (_Task.classify, _Task.retrieve):
        others = only_text or cleaning is not None or refine is not None
        compared = Comparison(task.value, method, pooling.value if pooling else None, others)
        measure_image_level(data, compared, selection, preset=preset, device=device, as_json=as_json)
        return
    _check(task, method or only_text or cleaning is not None, refine, pooling)
    if cleaning is not None and not (things or background or table):
        raise UsageError("--cleaning goes with --unlabelled background or --things. Add one of them.")
    if table and (refine or instances or boundary or cleaning is not None):
        raise UsageError("--table measures all settings of --cleaning and --refine. Leave other options of text out.")
    contours = refinement(refine or ("crf" if task is _Task.example else "none"))
    if task is _Task.example:
        _measure_example(data, contours, selection, preset=preset, device=device, as_json=as_json)
    elif task is _Task.click:
        _measure_click(data, selection, preset=preset, device=device, as_json=as_json)
    else:
        from maskwright.evaluation.text import CLEANING_TABLE, PostProcessing

        variants = CLEANING_TABLE if table else (PostProcessing(cleaning, contours, instances, boundary),)
        rows = _measure_text(
            data, method, variants, selection, background=table or background, engine=(preset, device)
        )  # fmt: skip
        _print_text(rows, as_json=as_json, table=table)


def _measure_text(
    data: Path,
    method: str | None,
    variants: Sequence[PostProcessing],
    selection: ImageSelection,
    *,
    background: bool,
    engine: tuple[str, str],
) -> list[Scores]:
    from maskwright.evaluation.text import evaluate_text

    model = load_engine(*engine)
    with progress_bar("Images") as bar:
        return evaluate_text(
            model, data, method=method, background=background, variants=variants, selection=selection, progress=bar
        )  # fmt: skip


def _measure_example(
    data: Path, contours: str | None, selection: ImageSelection, *, preset: str, device: str, as_json: bool
) -> None:
    from maskwright.evaluation.few_shot import evaluate_example

    model = load_engine(preset, device)
    with progress_bar("Episodes") as bar:
        episodes = evaluate_example(model, data, refine=contours, selection=selection, progress=bar)
    _print_example(episodes, as_json=as_json)


def _measure_click(data: Path, selection: ImageSelection, *, preset: str, device: str, as_json: bool) -> None:
    from maskwright.evaluation.clicks import evaluate_click

    model = load_engine(preset, device)
    with progress_bar("Images") as bar:
        objects = evaluate_click(model, data, selection=selection, progress=bar)
    _print_click(objects, as_json=as_json)


def _check(task: _Task | None, of_text: object, refine: str | None, pooling: _Pooling | None) -> None:
    if pooling:
        raise UsageError("--pooling goes with --task classify and retrieve. Leave it out.")
    if task is None:
        raise UsageError("Say what to measure: --task text, example, click, classify or retrieve, or --benchmark NAME.")
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
