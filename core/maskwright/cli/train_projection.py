"""`train-projection`: Talk2DINO's projection from captioned images."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, print_message, print_result, progress_bar

__all__ = ["train_projection"]


class _Pooling(StrEnum):
    max_head = "max-head"
    average = "average"
    cls = "cls"


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
    seed: Annotated[int, typer.Option(help="Same seed, data and CPU give the same weights.")] = 0,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train Talk2DINO's projection from text embeddings to patch features on captioned images."""
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
                print_message(phase)
            bar.report(done, total)

        taught = learn(data, base, out, run, device=device, progress=tell)
    value = {
        "preset": str(out.resolve()), "pictures": taught.pictures, "captions": taught.captions,
        "losses": taught.losses, "pooling": run.pooling,
    }  # fmt: skip
    text = f"Learned from {taught.pictures} pictures and {taught.captions} captions; loss {taught.losses[0]:.2f} to"
    print_result(value, f"{text} {taught.losses[-1]:.2f}: {out}", as_json=as_json)
