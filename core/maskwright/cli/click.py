"""Masks by click and box, and of everything in a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Device, Json, Preset, answer, engine, progress_bar
from maskwright.errors import BadPrompt

__all__ = ["click"]


def click(
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    point: Annotated[
        list[str] | None, typer.Option(help="X,Y in pixels on the thing, or X,Y,0 beside it; repeat it for more.")
    ] = None,
    box: Annotated[str | None, typer.Option(help="X0,Y0,X1,Y1 in pixels around the thing.")] = None,
    everything: Annotated[bool, typer.Option("--everything", help="All things, without a click.")] = False,
    category: Annotated[str, typer.Option(help="Name of what is found.")] = "object",
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Find the thing that is clicked on: up to three masks, the best first, which alone is in label map and overlay."""
    from maskwright.domain import Image
    from maskwright.formats.prediction_files import write_prediction

    points = [_numbers(words, "--point", (2, 3)) for words in point or []]
    corners = None if box is None else _numbers(box, "--box", (4,))
    if everything and (points or corners):
        raise BadPrompt("--everything needs neither --point nor --box. Leave them out.")
    if not everything and not points and corners is None:
        raise BadPrompt("Give --point X,Y on the thing, --box X0,Y0,X1,Y1 around it, or --everything.")
    picture = Image.open(image)
    model = engine(preset, device)
    if everything:
        with progress_bar("Clicks") as bar:
            found = model.segment_everything(picture, category=category, progress=bar)
    else:
        signs = [int(p[2]) if len(p) == 3 else 1 for p in points]
        found = model.segment_click(picture, [p[:2] for p in points], signs, corners, category=category)
    written = write_prediction(found, picture, out)
    lines = [
        f"{m['category']}: {100 * m['area'] / found.label_map.size:.1f} % of the picture, score {m['score']:.2f}"
        for m in written["masks"]
    ]
    lines = lines or ["Nothing was found there. Click somewhere else, or draw a box."]
    answer(written, as_json, "\n".join([*lines, written["label_map"], written["overlay"], written["masks_file"]]))


def _numbers(words: str, option: str, counts: tuple[int, ...]) -> list[float]:
    try:
        numbers = [float(word) for word in words.split(",")]
    except ValueError as error:
        raise typer.BadParameter(f"{words!r} is not made of numbers", param_hint=option) from error
    if len(numbers) not in counts or (len(numbers) == 3 and numbers[2] not in (0, 1)):
        raise typer.BadParameter(f"{words!r} should be like {_EXAMPLES[option]}", param_hint=option)
    return numbers


_EXAMPLES = {"--point": "120,80 or 120,80,0", "--box": "100,60,180,140"}
