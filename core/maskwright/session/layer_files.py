"""Projects and COCO files as label images, and label images into them: what a viewer opens and saves as layers."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image
from maskwright.errors import MaskwrightError
from maskwright.project import Project
from maskwright.session.drawn import masks_of_labels
from maskwright.session.messages import plural
from maskwright.store import NewAnnotation

__all__ = ["LabelledImage", "is_coco", "read_labelled", "write_labelled"]

_MOST_IMAGES = 12
"""Images that one file or folder opens as."""
_COCO_KEYS = {"images", "annotations", "categories"}


@dataclass(frozen=True, slots=True)
class LabelledImage:
    """An image with its accepted masks."""

    name: str
    labels: NDArray[np.integer[Any]]
    """(H, W): 0 is background; where masks overlap, the smaller one is there."""
    pixels: NDArray[np.uint8] | None = None
    """(H, W, 3) RGB; None when there are none."""
    classes: Mapping[int, str] = field(default_factory=dict)
    """Category by label."""
    colors: Mapping[int, str] = field(default_factory=dict)
    """#rrggbb by label."""
    scores: Mapping[int, float] = field(default_factory=dict)
    """Score by label, of masks that have one."""


def is_coco(file: Path) -> bool:
    """Whether a file is a COCO dataset."""
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return isinstance(content, dict) and set(content) >= _COCO_KEYS


def read_labelled(path: Path) -> tuple[list[LabelledImage], str]:
    """The first images with masks of a project's folder or a COCO file, and a sentence on what is left out, or none.

    Args:
        path: folder with a `project.db`, that file, or a COCO file, whose images lie near it.

    Raises:
        BadProject, BadCoco: it cannot be read.
        MaskwrightError: there is no image with a mask.
    """
    if path.suffix != ".json":
        with closing(Project.open(path.parent if path.name == "project.db" else path)) as project:
            return _labelled(project, path)
    with tempfile.TemporaryDirectory() as folder, closing(Project.open(folder, create=True)) as project:
        project.exchange.import_coco(path)
        return _labelled(project, path)


def write_labelled(path: Path, images: Sequence[LabelledImage]) -> Path:
    """Write label images as a COCO file, or add them to a project as accepted masks.

    Args:
        path: of a `.json` file, or of the `project.db` of a project that is created if it is new.
        images: those without pixels become black images.

    Returns:
        The file.

    Raises:
        MaskwrightError: there is no mask, or the file cannot be written.
    """
    if not any(image.labels.any() for image in images):
        raise MaskwrightError("There is no label to save.", "Paint one first.")
    if path.name == "project.db":
        with closing(Project.open(path.parent, create=True)) as project:
            _add(project, images)
        return path
    with tempfile.TemporaryDirectory() as folder, closing(Project.open(folder, create=True)) as project:
        _add(project, images)
        return project.export_coco(path)


def _labelled(project: Project, path: Path) -> tuple[list[LabelledImage], str]:
    colors = {category.name: category.color for category in project.categories()}
    found = []
    records = [record for record in project.images.all() if project.annotations(record.id)]
    if not records:
        raise MaskwrightError(f"{path} has no image with an accepted mask.", "Open its project in the dock.")
    for record in records[:_MOST_IMAGES]:
        masks = project.annotations(record.id)
        labels = np.zeros((record.height, record.width), np.min_scalar_type(len(masks)))
        for number, row in sorted(enumerate(masks, start=1), key=lambda item: -item[1].mask.area):
            x, y, width, height = row.mask.bbox
            labels[y : y + height, x : x + width][row.mask.part()] = number
        try:
            pixels = project.images.open(record.id).pixels
        except MaskwrightError:
            # the masks are of use without the image
            pixels = None
        rows = dict(enumerate(masks, start=1))
        found.append(
            LabelledImage(
                Path(record.file_name).name, labels, pixels,
                {number: row.category for number, row in rows.items()},
                {number: colors[row.category] for number, row in rows.items()},
                {number: row.mask.score for number, row in rows.items() if row.mask.score is not None},
            )
        )  # fmt: skip
    rest = len(records) - len(found)
    sentence = f"{plural(rest, 'more image')} with masks: open the project in the dock to see all." if rest else ""
    return found, sentence


def _add(project: Project, images: Sequence[LabelledImage]) -> None:
    for image in images:
        pixels = np.zeros((*image.labels.shape, 3), np.uint8) if image.pixels is None else image.pixels
        if pixels.shape[:2] != image.labels.shape:
            raise MaskwrightError(f"The labels of {image.name} have another size than the image.")
        # black images of two planes are two images
        own = hashlib.sha256(image.name.encode() + image.labels.tobytes()).hexdigest() if image.pixels is None else ""
        record = project.images.register(Image(pixels, image.name, sha256=own))
        drafts = [
            NewAnnotation(record.id, mask.category or "object", mask, "manual", {"source": "manual"})
            for mask in masks_of_labels(image.labels, image.classes)
        ]
        if drafts:
            project.store.masks.add_many(drafts)
