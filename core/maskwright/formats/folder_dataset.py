"""Datasets that are written image by image into a folder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.formats.coco_writer import Dataset

__all__ = ["CopyImage", "FolderDataset", "used_categories"]

CopyImage = Callable[[ImageRecord], ImageRecord]
"""Copies an image and returns the record of the copy."""


class FolderDataset(Dataset, Protocol):
    """A dataset whose annotations can also be read image by image."""

    def of_image(self, image_id: int) -> list[Annotation]:
        """The annotations of one image, in id order."""


def used_categories(dataset: Dataset) -> list[Category]:
    """Categories that have at least one annotation, in id order."""
    used = dataset.used()
    return [category for category in dataset.categories() if category.id in used]
