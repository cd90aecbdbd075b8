"""`finetune`: fine-tune a model on a project's accepted masks."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.output import Device, Json, ProjectFolder, print_message, print_result, progress_bar

if TYPE_CHECKING:
    from maskwright.domain import Run
    from maskwright.progress import Progress

__all__ = ["finetune"]


class _Recipe(StrEnum):
    full = "full"
    head = "head"


def finetune(
    project: ProjectFolder,
    recipe: Annotated[
        _Recipe, typer.Option(help="What is trained: the whole visual model, or its head alone.")
    ] = _Recipe.full,
    base: Annotated[
        str | None, typer.Option(help="Preset or checkpoint to start from; default: the project's model, or tiny.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the images; default: 320, within 100 to 800 steps.")
    ] = None,
    measure_on: Annotated[
        Path | None,
        typer.Option(help="Labelled folder to measure on; default: one image in five, held out of training."),
    ] = None,
    resume: Annotated[str | None, typer.Option(help="A run that was cancelled, failed or interrupted.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the split and of training.")] = 0,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on the accepted masks, and measure it before and after on the same images."""
    from maskwright.project import Project
    from maskwright.project.images import user_name

    with Project.open(project) as opened:
        if resume:
            run = opened.runs.resume(resume, user=user_name())
        else:
            run = opened.finetune(
                recipe=recipe.value, base=base, epochs=epochs, measure_on=measure_on, device=device, seed=seed
            )
        plan = run.status().plan
        print_message(
            f"{run.name}: {len(plan.categories)} classes, {len(plan.masks)} masks, {len(plan.train)} training images, "
            f"measured on {len(plan.validation) or 'a folder of'} more."
        )
        if plan.left_out:
            print_message(f"Left out, with fewer than 3 masks: {', '.join(plan.left_out)}.")
        try:
            with progress_bar("Steps") as bar:
                done = run.wait(_progress_printer(bar))
        except KeyboardInterrupt:
            run.cancel()
            print_message(f"{run.name} is stopping; `maskwright finetune {project} --resume {run.name}` resumes it.")
            raise
    before, after = done.before, done.after
    assert before is not None
    assert after is not None
    rows = [f"{_cell(before.per_class.get(name))}  {_cell(value)}  {name}" for name, value in after.per_class.items()]
    head = f"mIoU {before.miou:.3f} before, {after.miou:.3f} after, on {after.images} images"
    use = f"{run.checkpoint}\nUse it: maskwright activate {project} {run.name}"
    value = {
        "run": run.name, "checkpoint": str(run.checkpoint), "before": before.to_dict(), "after": after.to_dict(),
    }  # fmt: skip
    print_result(value, "\n".join([head, "before after", *rows, use]), as_json=as_json)


def _progress_printer(bar: Progress) -> Callable[[Run], None]:
    """Show the state of a run: a line for each new phase, and the bar while it trains."""
    phase: str | None = None

    def show(run: Run) -> None:
        nonlocal phase
        progress = run.progress
        if progress.phase is not None and progress.phase != phase:
            phase = progress.phase
            print_message(phase)
        if progress.step is not None and progress.steps is not None:
            bar.report(progress.step, progress.steps)

    return show


def _cell(value: float | None) -> str:
    return "    -" if value is None else f"{value:.3f}"
