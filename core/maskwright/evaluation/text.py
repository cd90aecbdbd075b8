"""Evaluation of text prompts: mIoU over the categories of a labelled folder (contracts.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.domain.prompts import parse_class_names
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.metrics import IGNORED, Confusion
from maskwright.evaluation.protocol import chosen_images
from maskwright.formats.labelled_folder import LabelledFolder, label_map
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["CLEANING_TABLE", "TextScores", "Way", "evaluate_text", "score_text"]


@dataclass(frozen=True, slots=True)
class TextScores:
    """Result of the text task."""

    task: str
    method: str
    preset: str
    images: int
    classes: int
    """How many classes were averaged."""
    miou: float
    pixel_accuracy: float
    per_class: dict[str, float | None]
    """IoU by name; None without ground truth."""
    background: float | None = None
    """IoU of the pixels that are none of the classes; None where they are not scored."""
    cleaning: bool | None = None
    """Background cleaning as it was asked for; None: as the preset says."""
    refine: str | None = None
    """How contours were refined."""


class Way(NamedTuple):
    """How words are asked beside their method."""

    cleaning: bool | None = None
    refine: str | None = None


CLEANING_TABLE = (Way(False), Way(True), Way(False, "pamr"), Way(True, "pamr"))
"""Talk2DINO's Table 5: without and with background cleaning, without and with mask refinement."""


def evaluate_text(
    engine: Engine,
    folder: Path,
    *,
    method: str | None = None,
    background: bool = False,
    things: bool = False,
    ways: Sequence[Way] = (Way(),),
    only_held_out: bool = False,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> list[TextScores]:
    """Prompt every category of the file, in file order, on each image, and compare pixel by pixel.

    Args:
        engine: with the preset to measure.
        folder: `images/` and `annotations.json`.
        method: text method, None for the default.
        background: score pixels without annotation as class 0 (else they are ignored).
        things: prompt only categories that are things; all the rest is background, and scored.
        ways: each gives scores of its own; an image is encoded once for all.
        only_held_out: only the images that training leaves out.
        limit: at most so many images, drawn by `seed`.
        seed: of the draw.
        progress: hears how many images are done, and cancels between them.
    """
    data = LabelledFolder.read(folder)
    names = list(data.categories.values())
    # a prompt takes "Car" and "car" for one class and leaves an empty name out
    if not names or not all(map(str.strip, names)) or len(parse_class_names(names)) != len(names):
        raise MaskwrightError(f"{folder} lists no category, one without a name, or a name twice. Rename it.")
    classes = {key: index for index, key in enumerate(data.categories, start=1)}
    if things:
        if not data.things:
            raise MaskwrightError(f"{folder} marks no category as a thing (supercategory). Leave --things out.")
        names = [name for key, name in data.categories.items() if key in data.things]
        numbers = iter(range(1, len(names) + 1))
        classes = {key: next(numbers) if key in data.things else 0 for key in data.categories}
        background = True
    images = chosen_images(data, only_held_out=only_held_out, limit=limit, seed=seed)

    def labelled() -> Iterator[tuple[Image, NDArray[np.int16]]]:
        for row in images:
            image = Image.open(row.file)
            empty = 0 if background else IGNORED
            yield image, label_map(row.annotations, classes, image.size_hw, empty=empty, crowd=IGNORED)

    return score_text(
        engine, names, labelled(), total=len(images), method=method, background=background, ways=ways,
        progress=progress,
    )  # fmt: skip


def score_text(
    engine: Engine,
    names: Sequence[str],
    labelled: Iterable[tuple[Image, NDArray[np.int16]]],
    *,
    total: int,
    method: str | None = None,
    background: bool = False,
    ways: Sequence[Way] = (Way(),),
    progress: Progress = NO_PROGRESS,
) -> list[TextScores]:
    """Prompt all names on each image and compare with its labels.

    Args:
        engine: with the preset to measure.
        names: of the classes, label 1 first.
        labelled: images with their (H, W) labels: 0 background, k the k-th name, IGNORED not counted.
        total: how many images there are.
        method: text method, None for the default.
        background: pixels may be none of the names.
        ways: each gives scores of its own.
        progress: hears how many images are done, and cancels between them.
    """
    counted = [Confusion(len(names)) for _ in ways]
    done = 0
    for image, truth in labelled:
        progress.report(done, total)
        for way, confusion in zip(ways, counted, strict=True):
            found = engine.segment_text(
                image, names, method, background, way.refine, cleaning=way.cleaning, progress=progress.quiet()
            )
            confusion.add(truth, found.label_map)
        done += 1
    progress.report(done, total)

    def scores(way: Way, confusion: Confusion) -> TextScores:
        nothing, *iou = confusion.iou()
        known = [value for value in iou if value is not None]
        return TextScores(
            task="text",
            method=engine.text_method(method),
            preset=engine.model.name,
            images=done,
            classes=len(known),
            miou=float(np.mean(known)) if known else 0.0,
            pixel_accuracy=confusion.accuracy(),
            per_class=dict(zip(names, iou, strict=True)),
            background=nothing if background else None,
            cleaning=way.cleaning,
            refine=way.refine,
        )

    return [scores(way, confusion) for way, confusion in zip(ways, counted, strict=True)]
