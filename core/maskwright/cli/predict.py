"""`maskwright predict`: propose masks on all images of a project."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from maskwright.cli.output import Device, Folder, Json, Refine, answer, engine, progress_bar, refinement, say

__all__ = ["predict"]


def predict(
    project: Folder,
    text: Annotated[str | None, typer.Option(help='Class names, separated by commas; synonyms with "|".')] = None,
    like_category: Annotated[
        str | None, typer.Option(help="A category of the project: find more like its references.")
    ] = None,
    accept_above: Annotated[
        float | None, typer.Option(help="Accept masks with at least this score; the others wait for a person.")
    ] = None,
    threshold: Annotated[float | None, typer.Option(help="With --text: how sure a class must be, 0 to 1.")] = None,
    refine: Refine = "crf",
    force: Annotated[bool, typer.Option("--force", help="Also images that this prompt has been over.")] = False,
    preset: Annotated[str | None, typer.Option(help="Default: the model the project uses, or tiny.")] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Propose masks on all images of a project that lack them; goes on where it was stopped."""
    from maskwright.project import Project
    from maskwright.project.prelabel import predict_like, predict_text

    if (text is None) == (like_category is None):
        raise typer.BadParameter("give either --text or --like-category")
    if (text is None and threshold is not None) or (text is not None and refine != "crf"):
        raise typer.BadParameter("--threshold goes with --text, --refine with --like-category")
    with Project.open(project) as opened, progress_bar("Images") as bar:
        model = engine(preset or opened.runs.model() or "tiny", device)
        told: dict[str, Any] = {"accept_above": accept_above, "again": force, "progress": bar}
        if text is not None:
            results = predict_text(opened, model, text, threshold=threshold, **told)
        else:
            results = predict_like(opened, model, str(like_category), refine=refinement(refine), **told)
        rows = []
        for row in results:
            rows.append(row)
            if row.problem:
                say(row.problem)
    rows.sort(key=lambda row: (-row.score, row.record.id))
    proposed, accepted = sum(row.proposed for row in rows), sum(row.accepted for row in rows)
    problems = [row.problem for row in rows if row.problem]
    value = {
        "images": len(rows), "proposed": proposed, "accepted": accepted, "problems": problems,
        "results": [
            {"image": row.record.id, "file": row.record.file_name, "score": row.score, "proposed": row.proposed,
             "accepted": row.accepted}
            for row in rows if not row.problem
        ],
    }  # fmt: skip
    lines = [f"{row.score:.2f}  {row.record.id}: {Path(row.record.file_name).name}" for row in rows if row.score]
    head = f"{len(rows)} images, {proposed} masks proposed, {accepted} accepted"
    answer(value, as_json, "\n".join([head, *lines]))
    if problems:
        raise typer.Exit(1)
