"""`maskwright click`: masks by clicks or a box, and of everything in an image."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import (
    Category,
    Device,
    Json,
    Preset,
    load_engine,
    print_message,
    print_result,
    progress_bar,
)
from maskwright.errors import BadPrompt

__all__ = ["click"]

_EXAMPLES = {"--point": "120,80 or 120,80,0", "--box": "100,60,180,140"}


def click(
    image: Annotated[Path, typer.Argument(help="Image file.")],
    point: Annotated[
        list[str] | None,
        typer.Option(help="X,Y in pixels for a positive point, X,Y,0 for a negative one; repeat it for more."),
    ] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 in pixels around the object.")] = None,
    everything: Annotated[
        bool, typer.Option("--everything", help="All objects: a grid of points over the image, without a click.")
    ] = False,
    category: Category = "object",
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Segment the object under points or in a box (SAM).

    Up to three masks are listed, the best first; label map and overlay show the best one.
    """
    from maskwright.domain import Image
    from maskwright.formats.prediction_files import write_prediction

    points = [_numbers(text, "--point", counts=(2, 3)) for text in point or []]
    corners = None if box is None else _numbers(box, "--box", counts=(4,))
    if everything and (points or corners):
        raise BadPrompt("--everything takes neither --point nor --box. Leave them out.")
    if not everything and not points and corners is None:
        raise BadPrompt("Add --point X,Y on the object, --box X0,Y0,X1,Y1 around it, or --everything.")
    opened = Image.open(image)
    if opened.pages_notice:
        print_message(opened.pages_notice)
    engine = load_engine(preset, device)
    if everything:
        with progress_bar("Points") as bar:
            prediction = engine.segment_everything(opened, category=category, progress=bar)
    else:
        labels = [int(numbers[2]) if len(numbers) == 3 else 1 for numbers in points]
        prediction = engine.segment_click(
            opened, [numbers[:2] for numbers in points], labels, corners, category=category
        )
    written = write_prediction(prediction, opened, out)
    lines = [
        f"{mask['category']}: {100 * mask['area'] / prediction.label_map.size:.1f} % of the image, "
        f"score {mask['score']:.2f}"
        for mask in written["masks"]
    ] or ["No mask there. Click somewhere else, or draw a box."]
    lines += [written["label_map"], written["overlay"], written["masks_file"]]
    print_result(written, "\n".join(lines), as_json=as_json)


def _numbers(text: str, option: str, *, counts: tuple[int, ...]) -> list[float]:
    """Numbers separated by commas; a third one is a point's label, 0 or 1."""
    try:
        numbers = [float(part) for part in text.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{text!r} is not made of numbers", param_hint=option) from error
    if (
        not all(map(math.isfinite, numbers))
        or len(numbers) not in counts
        or (len(numbers) == 3 and numbers[2] not in (0, 1))
    ):
        raise typer.BadParameter(f"{text!r} should be like {_EXAMPLES[option]}", param_hint=option)
    return numbers
