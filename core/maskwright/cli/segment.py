"""`maskwright segment`: masks by text prompt."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from maskwright.cli.output import Cleaning, Device, Json, Method, Preset, answer, engine, progress_bar, refinement, say

__all__ = ["segment"]


def segment(
    image: Annotated[Path, typer.Argument(help="Picture file.")],
    text: Annotated[str, typer.Option(help='Class names, separated by commas; synonyms with "|".')],
    method: Method = None,
    background: Annotated[bool, typer.Option("--background", help="Leave what was not named unlabelled.")] = False,
    cleaning: Cleaning = None,
    threshold: Annotated[float | None, typer.Option(help="How sure a class must be, 0 to 1; with background.")] = None,
    high_resolution: Annotated[
        bool, typer.Option("--high-resolution", help="Slow procedure for fine structures.")
    ] = False,
    refine: Annotated[str | None, typer.Option(help="pamr: contours follow the picture's colours.")] = None,
    preset: Preset = "tiny",
    device: Device = "auto",
    out: Annotated[Path, typer.Option(help="Folder for the files.")] = Path(),
    as_json: Json = False,
) -> None:
    """Find regions by words: writes a label map, an overlay and the masks."""
    from maskwright.domain import Image
    from maskwright.formats.prediction_files import write_prediction

    picture = Image.open(image)
    model = engine(preset, device)
    with progress_bar("Encoding") as bar:
        found = model.segment_text(
            picture, text, method, background, refinement(refine or "none"), threshold=threshold, cleaning=cleaning,
            high_resolution=high_resolution, progress=bar,
        )  # fmt: skip
    if found.note:
        say(found.note)
    if found.out_of_vocabulary:
        say(f"This model was not taught: {', '.join(found.out_of_vocabulary)}. Expect little of it.")
    cleaned = found.unlabelled_by_cleaning
    if cleaned is not None:
        say(f"Cleaning left {100 * cleaned.mean():.1f} % of the picture unlabelled that had a class before.")
    if len(found.categories) == 1 and not background and threshold is None:
        say("One class and no --background: the class covers the whole picture.")
    written = write_prediction(found, picture, out)
    lines = [
        f"{m['category']}: {100 * m['area'] / found.label_map.size:.1f} % of the picture" for m in written["masks"]
    ]
    answer(written, as_json, "\n".join([*lines, written["label_map"], written["overlay"], written["masks_file"]]))
