"""`maskwright predict`: propose masks on all images of a project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from maskwright.cli.output import (
    Device,
    Json,
    ProjectFolder,
    Refine,
    load_engine,
    print_message,
    print_result,
    progress_bar,
    refinement,
)
from maskwright.errors import UsageError

if TYPE_CHECKING:
    from maskwright.project.prelabel import ImagePrediction

__all__ = ["predict"]


def predict(
    project: ProjectFolder,
    text: Annotated[str | None, typer.Option(help='Class names, separated by commas; synonyms with "|".')] = None,
    like_category: Annotated[
        str | None, typer.Option(help="A category of the project; its accepted masks are the references.")
    ] = None,
    accept_above: Annotated[
        float | None, typer.Option(help="Accept masks with at least this score, 0 to 1; the others stay proposals.")
    ] = None,
    threshold: Annotated[
        float | None, typer.Option(help="With --text: probability that a class needs, 0 to 1.")
    ] = None,
    instances: Annotated[
        bool, typer.Option("--instances", help="With --text: one mask per object instead of one per class.")
    ] = False,
    refine: Refine = "crf",
    force: Annotated[bool, typer.Option("--force", help="Include images that this prompt has already run on.")] = False,
    preset: Annotated[str | None, typer.Option(help="Default: the model the project uses, or tiny.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Propose masks on all images of a project that lack them; continues where it was stopped."""
    from maskwright.domain import TextPrompt
    from maskwright.project import Project
    from maskwright.project.prelabel import predict_like, predict_text

    if (text is None) == (like_category is None):
        raise UsageError("predict takes one prompt: either --text or --like-category.")
    if text is None and (threshold is not None or instances):
        raise UsageError("--threshold and --instances need --text. Leave them out.")
    if text is not None and refine != "crf":
        raise UsageError("--refine needs --like-category. Leave it out.")
    if accept_above is not None and not 0 <= accept_above <= 1:
        raise UsageError(f"--accept-above must lie between 0 and 1, got {accept_above}.")
    contours = refinement(refine)
    prompt = None
    if text is not None:
        prompt = TextPrompt.parse(text, background=True, threshold=threshold, instances=instances)
    with Project.open(project) as opened, progress_bar("Images") as bar:
        engine = load_engine(preset or opened.runs.model() or "tiny", device)
        options: dict[str, Any] = {"accept_above": accept_above, "again": force, "progress": bar}
        results: Iterator[ImagePrediction]
        if prompt is not None:
            results = predict_text(opened, engine, prompt, **options)
        else:
            results = predict_like(opened, engine, str(like_category), refine=contours, **options)
        rows = []
        for row in results:
            rows.append(row)
            if row.problem:
                print_message(row.problem)
    _print_rows(rows, as_json=as_json)
    if any(row.problem for row in rows):
        raise typer.Exit(1)


def _print_rows(rows: list[ImagePrediction], *, as_json: bool) -> None:
    rows.sort(key=lambda row: (-row.score, row.record.id))
    problems = [row.problem for row in rows if row.problem]
    value = {
        "images": len(rows),
        "proposed": sum(row.proposed for row in rows),
        "accepted": sum(row.accepted for row in rows),
        "problems": problems,
        "results": [
            {
                "image": row.record.id,
                "file": row.record.file_name,
                "score": row.score,
                "proposed": row.proposed,
                "accepted": row.accepted,
            }
            for row in rows
            if not row.problem
        ],
    }
    lines = [f"{value['images']} images, {value['proposed']} masks proposed, {value['accepted']} accepted"]
    lines += [f"{row.score:.2f}  {row.record.id}: {Path(row.record.file_name).name}" for row in rows if row.score]
    print_result(value, "\n".join(lines), as_json=as_json)
