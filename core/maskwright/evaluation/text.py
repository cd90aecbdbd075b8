"""Evaluation of text prompts: mIoU over the categories of a labelled folder (contracts.md, section 2)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Scores, TextPrompt, rle
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

    return score_text(
        engine,
        names,
        prompts,
        labelled(),
        total=len(images),
        boundary=any(v.boundary for v in variants),
        progress=progress,
    )


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
    confusions = [Confusion(len(names)) for _ in prompts]
    edges = [BoundaryCounts(len(names)) for _ in prompts]
    instances = [{name: InstanceCounts() for name in prompt.divided} for prompt in prompts]
    done = 0
    for image, ground_truth, objects in labelled:
        progress.report(done, total)
        for prompt, confusion, edge, counts in zip(prompts, confusions, edges, instances, strict=True):
            prediction = engine.segment(image, prompt, progress=progress.quiet())
            confusion.add(ground_truth, prediction.label_map)
            if boundary:
                edge.add(ground_truth, prediction.label_map)
            masks = prediction.masks() if counts else []
            for name, count in counts.items():
                single, crowds = objects.get(name, AnnotatedObjects([], []))
                count.add([mask for mask in masks if mask.category == name], single, crowds)
        done += 1
    progress.report(done, total)

    def scores(
        prompt: TextPrompt, confusion: Confusion, edge: BoundaryCounts, counts: Mapping[str, InstanceCounts]
    ) -> Scores:
        background, *iou = confusion.iou()
        known = [value for value in iou if value is not None]
        of_edges = [value for value in edge.iou() if value is not None]
        return Scores(
            method=engine.text_method(prompt.method),
            preset=engine.model.name,
            images=done,
            classes=len(known),
            miou=float(np.mean(known)) if known else 0.0,
            boundary_iou=float(np.mean(of_edges)) if of_edges else None,
            pixel_accuracy=confusion.accuracy(),
            per_class=dict(zip(names, iou, strict=True)),
            background=background if prompt.background else None,
            cleaning=prompt.cleaning,
            refine=prompt.refine,
            instances=InstanceCounts.summary(counts) if counts else None,
        )

    return [scores(*row) for row in zip(prompts, confusions, edges, instances, strict=True)]
