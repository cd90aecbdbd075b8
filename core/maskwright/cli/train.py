"""`train`: a preset like `tiny` from labelled images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, print_message, print_result, progress_bar
from maskwright.errors import UsageError

__all__ = ["Background", "Weight", "batch_shares", "train"]

Weight = Annotated[list[str] | None, typer.Option(help="FOLDER=NUMBER: share of each batch; default 1.")]
Background = Annotated[
    list[str] | None, typer.Option(help="FOLDER whose unlabelled pixels belong to none of its classes.")
]


class _Task(StrEnum):
    text = "text"
    click = "click"
    seg = "seg"


def train(
    data: Annotated[list[Path], typer.Argument(help="Folders with images/ and COCO annotations.json.")],
    out: Annotated[Path, typer.Option(help="Folder of the preset; an unfinished run in it is resumed.")],
    task: Annotated[
        _Task,
        typer.Option(
            help="text makes a preset; click adds click prompts to the preset in --out; then seg adds dinov3.seg."
        ),
    ] = _Task.text,
    weight: Weight = None,
    background: Background = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of training steps.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; the same command resumes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, data and CPU give the same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train a preset like `tiny` from scratch on labelled images."""
    from maskwright.training.recipes import TrainingJob, train_clicks, train_dinov3seg, train_text

    shares = batch_shares(data, weight, background)
    if task is _Task.click and background:
        raise UsageError("Clicks need no background. Leave --background out.")
    recipe = {_Task.text: train_text, _Task.click: train_clicks, _Task.seg: train_dinov3seg}[task]
    with progress_bar("Steps") as bar:
        job = TrainingJob(
            folders=data, out=out, weights=shares, background=frozenset(background or []), steps=steps,
            minutes=minutes, seed=seed, device=device, log=print_message, progress=bar,
        )  # fmt: skip
        finished = recipe(job)
    text = f"{'Finished' if finished else 'Stopped early; the same command resumes'}: {out}"
    print_result({"preset": str(out.resolve()), "finished": finished}, text, as_json=as_json)


def batch_shares(data: list[Path], weight: list[str] | None, background: list[str] | None) -> dict[str, float]:
    """Batch share by folder name, from FOLDER=NUMBER options.

    Raises:
        UsageError: An option names none of the folders.
    """
    shares = dict(_parse_share(row) for row in weight or [])
    names = {folder.name for folder in data}
    for name in [*shares, *(background or [])]:
        if name not in names:
            raise UsageError(f"{name} is none of the folders given: {', '.join(sorted(names))}.")
    return shares


def _parse_share(row: str) -> tuple[str, float]:
    name, _, number = row.partition("=")
    try:
        return name, float(number)
    except ValueError as error:
        raise typer.BadParameter(f"{row!r} is not FOLDER=NUMBER") from error
