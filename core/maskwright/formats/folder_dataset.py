"""Datasets that are written image by image into a folder."""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from PIL import Image as Pillow

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.files.atomic import replacing
from maskwright.formats.coco_writer import Dataset

__all__ = ["CopyImage", "FolderDataset", "Subsets", "WriteSummary", "flat_name", "used_categories", "write_png"]

CopyImage = Callable[[ImageRecord], ImageRecord]
"""Copies an image and returns the record of the copy."""
Subsets = Mapping[int, str]
"""The subset ("train", "val", "test") of each image by its id; empty when there is no split."""


class FolderDataset(Dataset, Protocol):
    """A dataset whose annotations can also be read image by image."""

    def of_image(self, image_id: int) -> list[Annotation]:
        """The annotations of one image, in id order."""


@dataclass(slots=True)
class WriteSummary:
    """How many masks were written, and what the format could not represent."""

    masks: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    """Numbers of masks by what happened to them."""

    @property
    def notes(self) -> tuple[str, ...]:
        """A sentence for each loss."""
        return tuple(f"{number} masks {what}." for what, number in self.lost.items() if number)


def used_categories(dataset: Dataset) -> list[Category]:
    """Categories that have at least one annotation, in id order."""
    used = dataset.used()
    return [category for category in dataset.categories() if category.id in used]


def flat_name(record: ImageRecord) -> str:
    """The image's path as one file name, for formats whose readers do not look into subfolders."""
    parts = PurePosixPath(record.file_name).parts
    return "_".join(parts[1:] or parts)


def write_png(file: Path, pixels: NDArray[np.generic], palette: bytes | None = None) -> None:
    """Write a label image, with a palette when it has 8 bits; raises OSError or MaskwrightError."""
    png = Pillow.fromarray(pixels)
    if palette is not None and pixels.dtype == np.uint8 and pixels.ndim == 2:
        png.putpalette(palette)
    encoded = io.BytesIO()
    png.save(encoded, "PNG")
    file.parent.mkdir(parents=True, exist_ok=True)
    with replacing(file) as stream:
        stream.write(encoded.getvalue())
