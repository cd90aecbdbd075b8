"""`pseudo-masks`: masks of the nouns of captions, to train OVS-DINO on."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, Preset, load_engine, print_result, progress_bar

__all__ = ["pseudo_masks"]


def pseudo_masks(
    data: Annotated[
        Path,
        typer.Argument(
            help="Folder with images/ and captions.json (COCO), or annotations.json for class names as captions."
        ),
    ],
    out: Annotated[Path, typer.Option(help="Labelled folder for the masks; an unfinished run in it is continued.")],
    preset: Preset = "tiny",
    least_captions: Annotated[int, typer.Option(min=1, help="Leave out nouns of fewer images.")] = 20,
    threshold: Annotated[
        float, typer.Option(min=0, max=1, help="Least probability of a noun's region by the text method.")
    ] = 0.5,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Turn captions into masks: their nouns, boxes of the nouns by the preset's text method, and masks by its SAM."""
    from maskwright.formats.captions import read_captions
    from maskwright.training.pseudo import PseudoSettings, make_pseudo_masks
    from maskwright.training.recipes import gallery_images

    images = read_captions(data, gallery_images())
    engine = load_engine(preset, device)
    settings = PseudoSettings(least_captions=least_captions, threshold=threshold)
    with progress_bar("Images") as bar:
        counts = make_pseudo_masks(engine, images, out, settings, bar)
    print_result({"folder": str(out.resolve()), **asdict(counts)}, f"{counts.sentence()}\n{out}", as_json=as_json)
