"""`train`: dinov3.seg from labelled images, or OVS-DINO from masks of nouns."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import AllImages, Device, Json, print_message, print_result, progress_bar
from maskwright.errors import UsageError

__all__ = ["Background", "Weight", "batch_shares", "train"]

Weight = Annotated[list[str] | None, typer.Option(help="FOLDER=NUMBER: share of each batch; default 1.")]
Background = Annotated[
    list[str] | None, typer.Option(help="FOLDER whose unlabelled pixels belong to none of its classes.")
]


class _Task(StrEnum):
    dinov3seg = "dinov3seg"
    ovs = "ovs"


class _Augment(StrEnum):
    maskwright = "maskwright"
    catseg = "catseg"


def train(
    data: Annotated[
        list[Path],
        typer.Argument(help="Folders with images/ and COCO annotations.json; dinov3seg: or COCO-Stuff as published."),
    ],
    out: Annotated[
        Path, typer.Option(help="Preset with encoders and SAM, which gets the model; an unfinished run is resumed.")
    ],
    task: Annotated[
        _Task, typer.Option(help="dinov3seg, or ovs: OVS-DINO from masks of nouns, such as those of pseudo-masks.")
    ] = _Task.dinov3seg,
    weight: Weight = None,
    background: Background = None,
    augment: Annotated[
        _Augment | None,
        typer.Option(help="dinov3seg: how images are drawn and varied; catseg where imported parts are trained."),
    ] = None,
    all_images: AllImages = False,
    steps: Annotated[int | None, typer.Option(min=1, help="Number of training steps.")] = None,
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; the same command resumes.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Same seed, data and CPU give the same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train dinov3.seg or OVS-DINO on labelled images: imported parts as published, else on frozen encoders."""
    from maskwright.training.recipes import TrainingJob, train_dinov3seg, train_ovs_dino

    if task is _Task.ovs and (weight or augment):
        raise UsageError(
            "--weight and --augment are for dinov3seg: OVS-DINO sees every image once an epoch.", "Leave them out."
        )
    shares = batch_shares(data, weight, background)
    with progress_bar("Steps") as bar:
        job = TrainingJob(
            folders=data, out=out, weights=shares, background=frozenset(background or []), all_images=all_images,
            augment=augment.value if augment else None, steps=steps,
            minutes=minutes, seed=seed, device=device, log=print_message, progress=bar,
        )  # fmt: skip
        finished = (train_ovs_dino if task is _Task.ovs else train_dinov3seg)(job)
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
