"""Models that learn: a preset from scratch, and a better model of a project."""

from __future__ import annotations

from dataclasses import asdict
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from maskwright.cli.output import Device, Folder, Json, answer, progress_bar, say
from maskwright.errors import MaskwrightError

__all__ = ["ablate", "activate", "finetune", "runs", "train", "train_projection"]


class _Task(StrEnum):
    text = "text"
    click = "click"
    seg = "seg"


def train(
    data: Annotated[list[Path], typer.Argument(help="Folders with images/ and COCO annotations.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the preset; a run that stopped there goes on.")],
    task: Annotated[
        _Task,
        typer.Option(
            help="text makes the preset; click adds clicks and boxes to the preset in --out; then seg adds dinov3.seg."
        ),
    ] = _Task.text,
    weight: Annotated[list[str] | None, typer.Option(help="FOLDER=NUMBER: share of each batch; default 1.")] = None,
    background: Annotated[
        list[str] | None, typer.Option(help="FOLDER whose unlabelled pixels are none of its classes.")
    ] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Length of the run.")] = None,
    minutes: Annotated[float | None, typer.Option(min=0, help="Stop after so many; the same call goes on.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same data, same CPU: same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a preset like `tiny` from scratch on labelled images."""
    from maskwright.training.recipes import TrainingJob, train_preset, train_promptable, train_segmenter

    shares = _shares(data, weight, background)
    if task is _Task.click and background:
        raise MaskwrightError("Objects have no background to tell; leave --background out.")
    train_it = {_Task.text: train_preset, _Task.click: train_promptable, _Task.seg: train_segmenter}[task]
    with progress_bar("Steps") as bar:
        order = TrainingJob(
            data, out, shares, frozenset(background or []), steps=steps, minutes=minutes, seed=seed, device=device,
            say=say, progress=bar,
        )  # fmt: skip
        finished = train_it(order)
    text = f"{'Finished' if finished else 'Stopped early; the same command goes on'}: {out}"
    answer({"preset": str(out.resolve()), "finished": finished}, as_json, text)


class _Pooling(StrEnum):
    max_head = "max-head"
    average = "average"
    cls = "cls"


def train_projection(
    data: Annotated[
        list[Path],
        typer.Argument(help="Folders with images/ and captions.json (COCO); or class names, in annotations.json."),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the preset; made of --preset where it is not there yet.")],
    preset: Annotated[str, typer.Option(help="Whose encoders to learn between: tiny, talk2dino-b, a folder.")] = "tiny",
    pooling: Annotated[
        _Pooling, typer.Option(help="What stands for a picture (Table 4): the best head, all heads' average, or CLS.")
    ] = _Pooling.max_head,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the pictures; 100 as published.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Learning rate; 0.0001 as published.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Pairs compared with one another; 128 as published.")] = None,
    seed: Annotated[int, typer.Option(help="Same seed, same data, same CPU: same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Teach a preset Talk2DINO: words into the space of its patches, from pictures with captions."""
    from maskwright.presets.loading import find
    from maskwright.settings import Settings
    from maskwright.training.projection import settings_for
    from maskwright.training.recipes import train_projection as learn

    base = find(preset, Settings.load())
    given = {"epochs": epochs, "rate": rate, "batch": batch}
    run = settings_for(base, pooling=pooling.name, seed=seed, **{k: v for k, v in given.items() if v is not None})
    with progress_bar("Pictures") as bar:
        phase = ""

        def tell(now: str, done: int, total: int) -> None:
            nonlocal phase
            if now != phase:
                phase = now
                say(phase)
            bar.report(done, total)

        taught = learn(data, base, out, run, device=device, progress=tell)
    value = {
        "preset": str(out.resolve()), "pictures": taught.pictures, "captions": taught.captions,
        "losses": taught.losses, "pooling": run.pooling,
    }  # fmt: skip
    text = f"Learned from {taught.pictures} pictures and {taught.captions} captions; loss {taught.losses[0]:.2f} to"
    answer(value, as_json, f"{text} {taught.losses[-1]:.2f}: {out}")


def ablate(
    data: Annotated[list[Path], typer.Argument(help="Folders with images/ and COCO annotations.json to train on.")],
    measure: Annotated[list[Path], typer.Option(help="Labelled folder whose held-out images are measured; repeat it.")],
    out: Annotated[Path, typer.Option(help="Folder for the trained variants; a call that was stopped goes on.")],
    base: Annotated[str, typer.Option(help="Preset whose words and clicks every variant starts from.")] = "tiny",
    steps: Annotated[int, typer.Option(min=1, help="Length of each training; four are made.")] = 400,
    weight: Annotated[list[str] | None, typer.Option(help="FOLDER=NUMBER: share of each batch; default 1.")] = None,
    background: Annotated[
        list[str] | None, typer.Option(help="FOLDER whose unlabelled pixels are none of its classes.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many images of each folder.")] = None,
    seed: Annotated[int, typer.Option(help="Of the trainings and the draw of images.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train dinov3.seg with one part left out at a time, and print what each part is worth (mIoU)."""
    from maskwright.presets.loading import find
    from maskwright.project.ablation import ablate, as_plain, as_table
    from maskwright.settings import Settings
    from maskwright.training.recipes import TrainingJob

    with progress_bar("Steps") as bar:
        order = TrainingJob(
            data, out, _shares(data, weight, background), frozenset(background or []), steps=steps, seed=seed,
            device=device, say=say, progress=bar,
        )  # fmt: skip
        rows = ablate(
            find(base, Settings.load()), order, measure, limit=limit,
            on_row=lambda row: say(f"{row.name}: {row.miou}"),
        )  # fmt: skip
    answer([as_plain(row) for row in rows], as_json, as_table(rows))


def _shares(data: list[Path], weight: list[str] | None, background: list[str] | None) -> dict[str, float]:
    """Shares of the folders; a name that is none of theirs is refused."""
    shares = dict(_share(row) for row in weight or [])
    names = {folder.name for folder in data}
    for name in [*shares, *(background or [])]:
        if name not in names:
            raise MaskwrightError(f"{name} is none of the folders given: {', '.join(sorted(names))}.")
    return shares


def _share(row: str) -> tuple[str, float]:
    name, _, number = row.partition("=")
    try:
        return name, float(number)
    except ValueError as error:
        raise typer.BadParameter(f"{row!r} is not FOLDER=NUMBER") from error


class _Recipe(StrEnum):
    full = "full"
    head = "head"


def finetune(
    project: Folder,
    recipe: Annotated[
        _Recipe, typer.Option(help="What learns: all that sees pixels, or only the head.")
    ] = _Recipe.full,
    base: Annotated[
        str | None, typer.Option(help="Preset or checkpoint to start from; default: the one the project uses, or tiny.")
    ] = None,
    epochs: Annotated[
        int | None, typer.Option(min=1, help="Passes over the images; default: 320, but 100 to 800 steps.")
    ] = None,
    measure_on: Annotated[
        Path | None,
        typer.Option(help="Labelled folder to measure on; default: one image in five is kept out for that."),
    ] = None,
    resume: Annotated[str | None, typer.Option(help="A run that was cancelled, failed or interrupted.")] = None,
    device: Device = "auto",
    seed: Annotated[int, typer.Option(help="Of the split and the training.")] = 0,
    as_json: Json = False,
) -> None:
    """Make a better model of the accepted masks, and measure it before and after on the same images."""
    from maskwright.project import Project
    from maskwright.project.images import user_name

    with Project.open(project) as opened:
        if resume:
            run = opened.runs.resume(resume, who=user_name())
        else:
            run = opened.finetune(
                recipe=recipe.value, base=base, epochs=epochs, measure_on=measure_on, device=device, seed=seed
            )
        plan = run.status().plan
        say(
            f"{run.name}: {len(plan['categories'])} classes, {len(plan['masks'])} masks, {len(plan['train'])} images "
            f"to learn from, {len(plan['validation']) or 'a folder of images'} to measure on."
        )
        if plan["left_out"]:
            say(f"Left out, with fewer than 3 masks: {', '.join(plan['left_out'])}.")
        try:
            with progress_bar("Steps") as bar:
                done = run.wait(_teller(bar))
        except KeyboardInterrupt:
            run.cancel()
            say(f"{run.name} is stopping; `maskwright finetune {project} --resume {run.name}` goes on.")
            raise
    before, after = done.before or {}, done.after or {}
    rows = [
        f"{_number(before['per_class'].get(name))}  {_number(value)}  {name}"
        for name, value in after["per_class"].items()
    ]
    head = f"mIoU {before['miou']:.3f} before, {after['miou']:.3f} after, on {after['images']} images"
    use = f"{run.checkpoint}\nUse it: maskwright activate {project} {run.name}"
    value = {"run": run.name, "checkpoint": str(run.checkpoint), "before": before, "after": after}
    answer(value, as_json, "\n".join([head, "before after", *rows, use]))


def _teller(bar: Any) -> Any:
    """Progress of a run on the terminal: a bar while it learns, one line whenever it turns to something else."""
    phase = ""

    def tell(run: Any) -> None:
        nonlocal phase
        told = run.progress
        if told.get("phase", "") != phase:
            phase = told["phase"]
            say(phase)
        if "steps" in told:
            bar.report(told["step"], told["steps"])

    return tell


def _number(value: float | None) -> str:
    return "    -" if value is None else f"{value:.3f}"


def runs(project: Folder, as_json: Json = False) -> None:
    """List the fine-tuning runs with their scores; the model in use is marked."""
    from maskwright.project import Project

    with Project.open(project) as opened:
        found, active = opened.runs.all(), opened.runs.active()
    rows = [asdict(run) | {"active": run.name == active} for run in found]
    lines = [
        f"{'*' if row['active'] else ' '} {row['name']}  {row['state']}  {row['created_at'][:16]}"
        + (f"  mIoU {row['before']['miou']:.3f} -> {row['after']['miou']:.3f}" if row["after"] else "")
        for row in rows
    ]
    answer(rows, as_json, "\n".join(lines) or "No runs yet.")


def activate(
    project: Folder,
    run: Annotated[str, typer.Argument(help='A run that is done, or "base" to go back to the model before all runs.')],
    as_json: Json = False,
) -> None:
    """Choose the model that the project uses."""
    from maskwright.project import Project
    from maskwright.project.images import user_name

    with Project.open(project) as opened:
        opened.runs.activate(None if run == "base" else run, who=user_name())
        value = {"active": opened.runs.active(), "checkpoint": opened.runs.model()}
    answer(value, as_json, f"The project uses {run}.")
