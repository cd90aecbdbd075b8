"""Evaluation of text prompts: mIoU over the categories of a labelled folder (contracts.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Scores, TextPrompt
from maskwright.domain.prompts import parse_class_names
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.metrics import IGNORED, Confusion
from maskwright.evaluation.protocol import ALL_IMAGES, ImageSelection
from maskwright.formats.labelled_folder import LabelledFolder, label_map
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["CLEANING_TABLE", "PostProcessing", "evaluate_text", "score_text"]


class PostProcessing(NamedTuple):
    """Options of a text prompt that share the image's embedding."""

    cleaning: bool | None = None
    """Background cleaning; None is the preset's default."""
    refine: str | None = None
    """Mask refinement, or None."""


CLEANING_TABLE = (
    PostProcessing(cleaning=False),
    PostProcessing(cleaning=True),
    PostProcessing(cleaning=False, refine="pamr"),
    PostProcessing(cleaning=True, refine="pamr"),
)
"""Rows of Talk2DINO's Table 5: without and with background cleaning, without and with mask refinement."""


def evaluate_text(
    engine: Engine,
    folder: Path,
    *,
    method: str | None = None,
    background: bool = False,
    variants: Sequence[PostProcessing] = (PostProcessing(),),
    selection: ImageSelection = ALL_IMAGES,
    progress: Progress = NO_PROGRESS,
) -> list[Scores]:
    """Prompt every category of `annotations.json`, in file order, on each image, and compare pixel by pixel.

    Args:
        engine: Engine of the preset to measure.
        folder: Labelled folder (`images/` and `annotations.json`).
        method: Text method; None is the preset's default.
        background: Score pixels without annotation as background; otherwise they are ignored.
        variants: Each gets scores of its own; images are encoded once for all of them.
        selection: Which images and categories are measured.
        progress: Reports images; cancels between them.

    Returns:
        Scores of each variant.

    Raises:
        MaskwrightError: No labelled folder, no image, or categories that a prompt cannot tell apart.
        BadCoco: The annotations are damaged.
    """
    data = LabelledFolder.read(folder)
    names = list(data.categories.values())
    # a prompt takes "Car" and "car" for one class and leaves an empty name out
    if not names or not all(map(str.strip, names)) or len(parse_class_names(names)) != len(names):
        raise MaskwrightError(f"{folder} lists no category, one without a name, or a name twice. Rename it.")
    classes = {key: index for index, key in enumerate(data.categories, start=1)}
    if selection.only_things:
        if not data.things:
            raise MaskwrightError(f"{folder} marks no category as a thing (supercategory). Leave --things out.")
        names = [name for key, name in data.categories.items() if key in data.things]
        numbers = iter(range(1, len(names) + 1))
        classes = {key: next(numbers) if key in data.things else 0 for key in data.categories}
        background = True
    prompts = [
        TextPrompt.parse(
            names, method=method, background=background, cleaning=variant.cleaning, refine=variant.refine
        )
        for variant in variants
    ]  # fmt: skip
    images = selection.images(data)

    def labelled() -> Iterator[tuple[Image, NDArray[np.int16]]]:
        for row in images:
            image = Image.open(row.file)
            empty = 0 if background else IGNORED
            yield image, label_map(row.annotations, classes, image.size_hw, empty=empty, crowd=IGNORED)

    return score_text(engine, names, prompts, labelled(), total=len(images), progress=progress)


def score_text(
    engine: Engine,
    names: Sequence[str],
    prompts: Sequence[TextPrompt],
    labelled: Iterable[tuple[Image, NDArray[np.int16]]],
    *,
    total: int,
    progress: Progress = NO_PROGRESS,
) -> list[Scores]:
    """Segment each image with each prompt and compare with its labels.

    Args:
        engine: Engine of the preset to measure.
        names: Class names in the order of the prompts' classes, for `Scores.per_class`.
        prompts: Prompts on the same classes, which differ in their options.
        labelled: Images with (H, W) labels: 0 background, k the k-th class, IGNORED not counted.
        total: Number of images.
        progress: Reports images; cancels between them.

    Returns:
        Scores of each prompt.
    """
    confusions = [Confusion(len(names)) for _ in prompts]
    done = 0
    for image, ground_truth in labelled:
        progress.report(done, total)
        for prompt, confusion in zip(prompts, confusions, strict=True):
            confusion.add(ground_truth, engine.segment(image, prompt, progress=progress.quiet()).label_map)
        done += 1
    progress.report(done, total)

    def scores(prompt: TextPrompt, confusion: Confusion) -> Scores:
        background, *iou = confusion.iou()
        known = [value for value in iou if value is not None]
        return Scores(
            method=engine.text_method(prompt.method),
            preset=engine.model.name,
            images=done,
            classes=len(known),
            miou=float(np.mean(known)) if known else 0.0,
            pixel_accuracy=confusion.accuracy(),
            per_class=dict(zip(names, iou, strict=True)),
            background=background if prompt.background else None,
            cleaning=prompt.cleaning,
            refine=prompt.refine,
        )

    return [scores(prompt, confusion) for prompt, confusion in zip(prompts, confusions, strict=True)]
