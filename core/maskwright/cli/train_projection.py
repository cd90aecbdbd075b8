"""`train-projection`: Talk2DINO's projection from captioned images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import AllImages, Device, Json, print_message, print_result, progress_bar
from maskwright.progress import Progress

__all__ = ["train_projection"]


class _Pooling(StrEnum):
    max_head = "max-head"
    average = "average"
    cls = "cls"


class _StageLines(Progress):
    """Passes reports on, with a line on stderr for each new stage."""

    def __init__(self, bar: Progress) -> None:
        self._bar, self._stage = bar, ""

    def report(self, done: int, total: int, stage: str = "") -> None:
        if stage != self._stage:
            self._stage = stage
            print_message(stage)
        self._bar.report(done, total, stage)


def train_projection(
    data: Annotated[
        list[Path],
        typer.Argument(
            help="Folders with images/ and captions.json (COCO), or annotations.json for class names as captions."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Folder of the preset; a copy of --preset where it does not exist yet.")],
    preset: Annotated[
        str, typer.Option(help="Preset with the frozen encoders: tiny, talk2dino-b or a folder.")
    ] = "tiny",
    pooling: Annotated[
        _Pooling, typer.Option(help="Image embedding (Table 4): best head, average of all heads, or CLS.")
    ] = _Pooling.max_head,
    epochs: Annotated[int | None, typer.Option(min=1, help="Passes over the images; 100 as published.")] = None,
    rate: Annotated[float | None, typer.Option(min=0, help="Learning rate; 0.0001 as published.")] = None,
    batch: Annotated[int | None, typer.Option(min=2, help="Image-caption pairs of a batch; 128 as published.")] = None,
    all_images: AllImages = False,
    seed: Annotated[int, typer.Option(help="Same seed, data and CPU give the same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train Talk2DINO's projection from text embeddings to patch features on captioned images."""
    from maskwright.presets.folders import find
    from maskwright.settings import Settings
    from maskwright.training import recipes
    from maskwright.training.projection import default_settings

    base = find(preset, Settings.load())
    options = {"epochs": epochs, "lr": rate, "batch": batch}
    options = {name: value for name, value in options.items() if value is not None}
    settings = default_settings(base, pooling=pooling.name, seed=seed, all_images=all_images, **options)
    with progress_bar("Images") as bar:
        result = recipes.train_projection(data, base, out, settings, device=device, progress=_StageLines(bar))
    value = {
        "preset": str(out.resolve()), "pictures": result.images, "captions": result.captions,
        "losses": result.losses, "pooling": settings.pooling,
    }  # fmt: skip
    text = f"Trained on {result.images} images with {result.captions} captions; loss {result.losses[0]:.2f} to"
    print_result(value, f"{text} {result.losses[-1]:.2f}: {out}", as_json=as_json)
