"""Training images of a project: read on demand, with what people said about their pixels."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, Image
from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import rasterize
from maskwright.training.data import IGNORE, NONE

__all__ = ["MAX_CLASSES", "LabelledPixels", "TrainingImage"]

MAX_CLASSES = 64
"""Classes whose rejected masks are remembered, one bit each."""


@dataclass(frozen=True, slots=True)
class LabelledPixels:
    """What people said about the pixels of an image."""

    labels: NDArray[np.int16]
    """(H, W) class index, IGNORE or NONE"""
    rejected: NDArray[np.uint64]
    """(H, W) bit k: somebody rejected a mask of class k here"""


@dataclass(frozen=True, slots=True)
class TrainingImage:
    """One image file with its masks."""

    file: Path
    sha256: str
    accepted: tuple[Annotation, ...] = ()
    rejected: tuple[Annotation, ...] = ()
    complete: bool = False
    """Every object of the classes has its mask: other pixels show none of them."""
    words: tuple[str, ...] = ()
    """What it shows, where nobody labelled it: classes that the base is asked for, so that it keeps them."""

    def open(self) -> Image:
        """Read the file.

        Raises:
            MaskwrightError: It is missing or damaged, or was changed since it was added.
        """
        if not self.file.is_file():
            raise MaskwrightError(
                f"The image file {self.file.name} is missing from {self.file.parent}.", "Put it back, then resume."
            )
        return Image.open(self.file)

    def label(self, names: Sequence[str], size_hw: tuple[int, int], *, background: bool) -> LabelledPixels:
        """Labels of the pixels; pixels of other classes, and of unfinished images, are ignored.

        Args:
            names: Classes by index.
            size_hw: Of the image.
            background: Unlabelled pixels belong to none of the classes in every image.
        """
        index = {name: number for number, name in enumerate(names)}
        empty = NONE if background or self.complete else IGNORE
        labels = rasterize(self.accepted, index, size_hw, empty=empty)
        rejected = np.zeros(size_hw, np.uint64)
        for mask in self.rejected:
            number = index.get(mask.category)
            if number is not None and number < MAX_CLASSES:
                wrong = mask.mask.to_array() & (labels != number)
                rejected[wrong] |= np.uint64(1 << number)
        return LabelledPixels(labels, rejected)
