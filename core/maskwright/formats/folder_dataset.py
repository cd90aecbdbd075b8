"""What a data set written as a folder is made of."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from maskwright.domain import Annotation, Category, ImageRecord
from maskwright.formats.coco_writer import Dataset

__all__ = ["Deliver", "FolderDataset", "used_categories"]

Deliver = Callable[[ImageRecord], ImageRecord]
"""Copies a picture; gives the record of the copy."""


class FolderDataset(Dataset, Protocol):
    """What a folder is made of: images one after the other, each with its annotations."""

    def of_image(self, image_id: int) -> list[Annotation]:
        """The annotations of one image, in id order."""


def used_categories(dataset: Dataset) -> list[Category]:
    """Categories that have at least one annotation, in id order."""
    used = dataset.used()
    return [one for one in dataset.categories() if one.id in used]
