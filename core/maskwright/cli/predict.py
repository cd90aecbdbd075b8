"""`maskwright predict`: propose masks on all images of a project."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperCommand

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
    from maskwright.domain import TextPrompt
    from maskwright.project.prelabel import ImagePrediction

__all__ = ["RayCommand", "predict"]

_ANY = "auto"
_Ray = Annotated[
    str | None,
    typer.Option(
        metavar="[ADDRESS]",
        help="Segment on a Ray cluster: that at the address, else the one that runs here; local starts one.",
    ),
]
_Workers = Annotated[
    int | None, typer.Option(min=1, help="With --ray: number of workers; default: one for each GPU, or 2 cores.")
]


class RayCommand(TyperCommand):
    """A command whose option --ray may stand without a value, which typer does not support."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Give such an option a value, then parse as usual."""
        rest = list(args)
        for place, argument in enumerate(args):
            if argument == "--ray" and (place + 1 == len(args) or args[place + 1].startswith("-")):
                rest[place] = f"--ray={_ANY}"
        return super().parse_args(ctx, rest)


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
    ray: _Ray = None,
    workers: _Workers = None,
    as_json: Json = False,
) -> None:
    """Propose masks on all images of a project that lack them; continues where it was stopped."""
    from maskwright.project import Project
    from maskwright.project.prelabel import BatchOptions, batch_settings, predict_like, predict_text
    from maskwright.project.ray_workers import RayWorkers

    prompt = _prompt(text, like_category, threshold, refine, instances=instances)
    if accept_above is not None and not 0 <= accept_above <= 1:
        raise UsageError(f"--accept-above must lie between 0 and 1, got {accept_above}.")
    if ray is None and workers is not None:
        raise UsageError("--workers needs --ray. Add it, or leave --workers out.")
    contours = refinement(refine)
    with Project.open(project) as opened, progress_bar("Images") as bar:
        name = preset or opened.runs.model() or "tiny"
        cluster = None
        if ray is not None:
            cluster = RayWorkers("" if ray == _ANY else ray, preset=name, device=device, workers=workers)
            print_message(f"Workers on the Ray cluster: {cluster.count}.")
        # with a cluster, only for the hash of its weights
        engine = load_engine(name, "cpu" if cluster else device, settings=batch_settings())
        options = BatchOptions(accept_above, force)
        results: Iterator[ImagePrediction]
        if prompt is not None:
            results = predict_text(opened, engine, prompt, options, workers=cluster, progress=bar)
        else:
            results = predict_like(
                opened, engine, str(like_category), options, refine=contours, workers=cluster, progress=bar
            )
        rows = []
        for row in results:
            rows.append(row)
            if row.problem:
                print_message(row.problem)
    _print_rows(rows, as_json=as_json)
    if any(row.problem for row in rows):
        raise typer.Exit(1)


def _prompt(
    text: str | None, like_category: str | None, threshold: float | None, refine: str, *, instances: bool
) -> TextPrompt | None:
    """The text prompt; None for a prompt by example. Raises UsageError for options that do not go together."""
    from maskwright.domain import TextPrompt

    if (text is None) == (like_category is None):
        raise UsageError("predict takes one prompt: either --text or --like-category.")
    if text is None and (threshold is not None or instances):
        raise UsageError("--threshold and --instances need --text. Leave them out.")
    if text is not None and refine != "crf":
        raise UsageError("--refine needs --like-category. Leave it out.")
    return None if text is None else TextPrompt.parse(text, background=True, threshold=threshold, instances=instances)


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
