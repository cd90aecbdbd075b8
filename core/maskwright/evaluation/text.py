"""Evaluation of text prompts: mIoU over the categories of a labelled folder (contracts.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Prediction, Scores, TextPrompt, rle
from maskwright.domain.prompts import parse_class_names
from maskwright.domain.rle import Rle
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.instances import InstanceCounts
from maskwright.evaluation.metrics import IGNORED, BoundaryCounts, Confusion
from maskwright.evaluation.protocol import ALL_IMAGES, ImageSelection
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, label_map
from maskwright.formats.segmentation import mask_of
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["CLEANING_TABLE", "LabelledImageData", "PostProcessing", "evaluate_text", "score_text"]


class PostProcessing(NamedTuple):
    """Options of a text prompt that share the image's embedding."""

    cleaning: bool | None = None
    """Background cleaning; None is the preset's default."""
    refine: str | None = None
    """Mask refinement, or None."""
    instances: bool = False
    """One mask per object, which are scored as well: of the things where the folder marks any, else of all classes."""
    boundary: bool = False
    """Boundary IoU as well."""


class AnnotatedObjects(NamedTuple):
    """Objects of one class in one image."""

    single: list[Rle]
    crowds: list[Rle]


class LabelledImageData(NamedTuple):
    """An image with its ground truth."""

    image: Image
    labels: NDArray[np.int16]
    """(H, W): 0 background, k the k-th class, IGNORED not counted"""
    objects: Mapping[str, AnnotatedObjects] = {}
    """By class name; needed for prompts for objects only"""


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
    names, classes = _classes(data, folder, only_things=selection.only_things)
    background = background or selection.only_things
    prompts = [
        TextPrompt.parse(
            names, method=method, background=background, cleaning=variant.cleaning, refine=variant.refine,
            instances=_countable(data, names) if variant.instances else False,
        )
        for variant in variants
    ]  # fmt: skip
    images = selection.images(data)
    objects = any(variant.instances for variant in variants)

    def labelled() -> Iterator[LabelledImageData]:
        for row in images:
            image = Image.open(row.file)
            empty = 0 if background else IGNORED
            labels = label_map(row.annotations, classes, image.size_hw, empty=empty, crowd=IGNORED)
            yield LabelledImageData(image, labels, _objects(data, row, image.size_hw) if objects else {})

    boundary = any(variant.boundary for variant in variants)
    return score_text(engine, names, prompts, labelled(), total=len(images), boundary=boundary, progress=progress)


def _classes(data: LabelledFolder, folder: Path, *, only_things: bool) -> tuple[list[str], dict[int, int]]:
    """Names of the measured classes, and the label of each category; 0 is background."""
    names = list(data.categories.values())
    # a prompt takes "Car" and "car" for one class and leaves an empty name out
    if not names or not all(map(str.strip, names)) or len(parse_class_names(names)) != len(names):
        raise MaskwrightError(f"{folder} lists no category, one without a name, or a name twice. Rename it.")
    if only_things and not data.things:
        raise MaskwrightError(f"{folder} marks no category as a thing (supercategory). Leave --things out.")
    measured = [key for key in data.categories if not only_things or key in data.things]
    labels = {key: label for label, key in enumerate(measured, start=1)}
    return [data.categories[key] for key in measured], {key: labels.get(key, 0) for key in data.categories}


def _countable(data: LabelledFolder, names: Sequence[str]) -> tuple[str, ...]:
    things = {name for key, name in data.categories.items() if key in data.things}
    return tuple(name for name in names if not things or name in things)


def _objects(data: LabelledFolder, row: LabelledImage, size_hw: tuple[int, int]) -> Mapping[str, AnnotatedObjects]:
    """Annotated objects of an image by category name; objects without a pixel are left out."""
    objects: dict[str, AnnotatedObjects] = {}
    for annotation in row.annotations:
        if annotation.get("segmentation") and annotation.get("category_id") in data.categories:
            mask = rle.encode(mask_of(annotation, size_hw))
            if rle.area(mask):
                of_class = objects.setdefault(data.categories[annotation["category_id"]], AnnotatedObjects([], []))
                (of_class.crowds if annotation.get("iscrowd") else of_class.single).append(mask)
    return objects


def score_text(
    engine: Engine,
    names: Sequence[str],
    prompts: Sequence[TextPrompt],
    labelled: Iterable[LabelledImageData],
    *,
    total: int,
    boundary: bool = False,
    progress: Progress = NO_PROGRESS,
) -> list[Scores]:
    """Segment each image with each prompt and compare with its labels.

    Args:
        engine: Engine of the preset to measure.
        names: Class names in the order of the prompts' classes, for `Scores.per_class`.
        prompts: Prompts on the same classes, which differ in their options.
        labelled: Images with their labels and, for prompts for objects, their objects.
        total: Number of images.
        boundary: Measure boundary IoU as well.
        progress: Reports images; cancels between them.

    Returns:
        Scores of each prompt.
    """
    counts = [_Counts(prompt, names) for prompt in prompts]
    done = 0
    for data in labelled:
        progress.report(done, total)
        for prompt, count in zip(prompts, counts, strict=True):
            count.add(data, engine.segment(data.image, prompt, progress=progress.quiet()), boundary=boundary)
        done += 1
    progress.report(done, total)
    return [count.scores(engine, done) for count in counts]


class _Counts:
    """What is counted over images for one prompt."""

    def __init__(self, prompt: TextPrompt, names: Sequence[str]) -> None:
        self._prompt, self._names = prompt, names
        self._pixels, self._edges = Confusion(len(names)), BoundaryCounts(len(names))
        self._instances = {name: InstanceCounts() for name in prompt.divided}

    def add(self, data: LabelledImageData, prediction: Prediction, *, boundary: bool) -> None:
        self._pixels.add(data.labels, prediction.label_map)
        if boundary:
            self._edges.add(data.labels, prediction.label_map)
        masks = prediction.masks() if self._instances else []
        for name, count in self._instances.items():
            single, crowds = data.objects.get(name, AnnotatedObjects([], []))
            count.add([mask for mask in masks if mask.category == name], single, crowds)

    def scores(self, engine: Engine, images: int) -> Scores:
        prompt = self._prompt
        background, *iou = self._pixels.iou()
        return Scores(
            method=engine.text_method(prompt.method),
            preset=engine.model.name,
            images=images,
            classes=sum(value is not None for value in iou),
            miou=_mean(iou) or 0.0,
            boundary_iou=_mean(self._edges.iou()),
            pixel_accuracy=self._pixels.accuracy(),
            per_class=dict(zip(self._names, iou, strict=True)),
            background=background if prompt.background else None,
            cleaning=prompt.cleaning,
            refine=prompt.refine,
            instances=InstanceCounts.summary(self._instances) if self._instances else None,
        )


def _mean(values: Iterable[float | None]) -> float | None:
    """Mean of those that were measured; None without any."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None
