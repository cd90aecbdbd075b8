"""`finetune`: fine-tune a model on a project's accepted masks."""

from __future__ import annotations

from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from maskwright.cli.output import Device, Json, ProjectFolder, print_message, print_result, progress_bar

if TYPE_CHECKING:
    from maskwright.domain import FinetunePlan, Run, Scores
    from maskwright.progress import Progress

__all__ = ["finetune"]


class _Recipe(StrEnum):
    decoder = "decoder"
    qv = "qv"
    qk = "qk"
    vision = "vision"
    full = "full"
    head = "head"


class _Task(StrEnum):
    text = "text"
    click = "click"


class _Method(StrEnum):
    dinov3seg = "dinov3seg"
    dinotxt = "dinotxt"
    talk2dino = "talk2dino"


def finetune(
    project: ProjectFolder,
    recipe: Annotated[
        _Recipe,
        typer.Option(
            help="What learns: the decoder on frozen encoders (head is another name of it); queries and values, or "
            "queries and keys, of the image blocks as well; everything but the words; everything."
        ),
    ] = _Recipe.decoder,
    task: Annotated[_Task, typer.Option(help="What learns from the masks: text prompts or clicks.")] = _Task.text,
    method: Annotated[
        _Method | None, typer.Option(help="Text method that learns; default: the one that answers.")
    ] = None,
    base: Annotated[
        str | None, typer.Option(help="Preset or checkpoint to start from; default: the project's model, or tiny.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the images; default: by their number and the recipe.")
    ] = None,
    measure_on: Annotated[
        Path | None,
        typer.Option(help="Labelled folder to measure on; default: images of the project, held out of training."),
    ] = None,
    log_dir: Annotated[Path | None, typer.Option(help="Folder for TensorBoard's event files.")] = None,
    resume: Annotated[
        str | None, typer.Option(help="Continue a run that was paused, cancelled, interrupted or failed.")
    ] = None,
    pause: Annotated[str | None, typer.Option(help="Let a run save its state and stop, until it is resumed.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Seed of the split and of training.")] = 0,
    as_json: Json = False,
) -> None:
    """Fine-tune a model on the accepted masks, and measure it before and after on the same images."""
    from maskwright.project import Project
    from maskwright.project.images import user_name

    with Project.open(project) as opened:
        if pause:
            opened.runs.pause(pause)
            _print_paused(project, opened.runs.handle(pause).wait(), as_json=as_json)
            return
        if resume:
            run = opened.runs.resume(resume, user=user_name())
        else:
            run = opened.finetune(
                recipe=recipe.value, task=task.value, method=method and method.value, base=base, epochs=epochs,
                measure_on=measure_on, log_dir=log_dir, device=device, seed=seed,
            )  # fmt: skip
        _print_plan(run.name, run.status().plan)
        try:
            with progress_bar("Steps") as bar:
                done = run.wait(_progress_printer(bar))
        except KeyboardInterrupt:
            run.cancel()
            print_message(f"{run.name} is stopping; `maskwright finetune {project} --resume {run.name}` resumes it.")
            raise
    if done.state == "paused":
        _print_paused(project, done, as_json=as_json)
    else:
        _print_done(project, run.checkpoint, done, as_json=as_json)


def _print_done(project: str, checkpoint: Path, run: Run, *, as_json: bool) -> None:
    before, after = run.before, run.after
    assert before is not None
    assert after is not None
    rows = [f"{_cell(before.per_class.get(name))}  {_cell(value)}  {name}" for name, value in after.per_class.items()]
    use = f"{checkpoint}\nUse it: maskwright activate {project} {run.name}"
    value = {
        "run": run.name, "checkpoint": str(checkpoint), "before": before.to_dict(), "after": after.to_dict(),
    }  # fmt: skip
    text = "\n".join([_head(before, after), "before after", *rows, use])
    print_result(value, text, as_json=as_json)


def _print_paused(project: str, run: Run, *, as_json: bool) -> None:
    progress = run.progress
    text = f"{run.name} is {run.state} after step {progress.step or 0} of {progress.steps or 0}."
    more = f"\nContinue: maskwright finetune {project} --resume {run.name}" if run.state == "paused" else ""
    value = {"run": run.name, "state": run.state, "step": progress.step, "steps": progress.steps}
    print_result(value, text + more, as_json=as_json)


def _print_plan(name: str, plan: FinetunePlan) -> None:
    print_message(
        f"{name}: {len(plan.categories)} classes, {len(plan.masks)} masks, {len(plan.train)} training images, "
        + (f"each held out once in {len(plan.folds)} parts." if plan.folds else f"measured on {_where(plan.measured)}.")
    )
    for note in plan.notes:
        print_message(note)
    if plan.left_out:
        print_message(f"Left out, with fewer than 3 masks: {', '.join(plan.left_out)}.")


def _where(images: int) -> str:
    return f"{images} more" if images else "a folder"


def _head(before: Scores, after: Scores) -> str:
    if before.clicks and after.clicks:
        clicks = f"clicks to IoU 0.85: {before.clicks['noc85']:.1f} before, {after.clicks['noc85']:.1f} after"
        return f"{clicks}, on {after.images} images (below: IoU after five clicks)"
    return f"mIoU {before.miou:.3f} before, {after.miou:.3f} after, on {after.images} images"


def _progress_printer(bar: Progress) -> Callable[[Run], None]:
    """Show the state of a run: a line for each new phase, note and measurement, and the bar while it trains."""
    phase: str | None = None
    measured: tuple[int, float] | None = None
    printed = 0

    def show(run: Run) -> None:
        nonlocal phase, printed, measured
        progress = run.progress
        for note in (progress.notes or ())[printed:]:
            print_message(note)
        printed = len(progress.notes or ())
        if progress.phase is not None and progress.phase != phase:
            phase = progress.phase
            print_message(phase)
        if progress.metrics and progress.metrics[-1] != measured:
            measured = progress.metrics[-1]
            print_message(f"IoU on a few held-out images after {measured[0]} steps: {measured[1]:.3f}")
        if progress.step is not None and progress.steps is not None:
            bar.report(progress.step, progress.steps)

    return show


def _cell(value: float | None) -> str:
    return "    -" if value is None else f"{value:.3f}"
