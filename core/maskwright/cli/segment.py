"""`maskwright segment`: masks by text prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import (
    Cleaning,
    Device,
    Json,
    Method,
    Preset,
    load_engine,
    print_message,
    print_result,
    progress_bar,
    refinement,
)

__all__ = ["segment"]


def segment(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    text: Annotated[str, typer.Option(help='Class names, separated by commas; synonyms with "|".')],
    method: Method = None,
    background: Annotated[
        bool, typer.Option("--background", help="Add a background class: pixels that fit none of the class names.")
    ] = False,
    cleaning: Cleaning = None,
    threshold: Annotated[
        float | None, typer.Option(help="Probability that a class needs, 0 to 1; implies --background.")
    ] = None,
    high_resolution: Annotated[
        bool, typer.Option("--high-resolution", help="dino.txt's slow procedure for fine structures.")
    ] = False,
    instances: Annotated[
        bool, typer.Option("--instances", help="One mask per object instead of one per class.")
    ] = False,
    refine: Annotated[str, typer.Option(help="Refine the contours: crf, pamr or none.")] = "none",
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Segment an image by class names; writes a label map, an overlay and the masks."""
    from maskwright.domain import Image, TextPrompt
    from maskwright.formats.prediction_files import write_prediction

    prompt = TextPrompt.parse(
        text,
        method=method,
        background=background,
        cleaning=cleaning,
        threshold=threshold,
        high_resolution=high_resolution,
        refine=refinement(refine),
        instances=instances,
    )
    opened = Image.open(image)
    if opened.pages_notice:
        print_message(opened.pages_notice)
    engine = load_engine(preset, device)
    with progress_bar("Encoding") as bar:
        prediction = engine.segment(opened, prompt, progress=bar)
    if prediction.note:
        print_message(prediction.note)
    if prediction.out_of_vocabulary:
        names = ", ".join(prediction.out_of_vocabulary)
        print_message(f"This model was not trained on: {names}. Expect poor masks for these names.")
    if prediction.unlabelled_by_cleaning is not None:
        share = 100 * prediction.unlabelled_by_cleaning.mean()
        print_message(f"Background cleaning removed the class of {share:.1f} % of the image.")
    if len(prediction.categories) == 1 and prompt.minimum_probability is None:
        print_message("One class and no --background: the class covers the whole image.")
    written = write_prediction(prediction, opened, out)
    lines = [
        f"{mask['category']}: {100 * mask['area'] / prediction.label_map.size:.1f} % of the image"
        for mask in written["masks"]
    ]
    lines += [written["label_map"], written["overlay"], written["masks_file"]]
    print_result(written, "\n".join(lines), as_json=as_json)
