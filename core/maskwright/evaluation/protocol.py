"""Which images of a labelled folder a reproducible evaluation measures (contracts.md, section 2)."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, held_out

__all__ = ["ALL_IMAGES", "ImageSelection"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageSelection:
    """Which part of a labelled folder is measured."""

    only_held_out: bool = False
    """Only images that training leaves out; see `labelled_folder.held_out`."""
    limit: int | None = None
    """Largest number of images (few-shot: episodes), drawn by `seed`."""
    seed: int = 0
    only_things: bool = False
    """Text prompts: only the categories marked as things; all other pixels are scored as background."""

    def candidates(self, data: LabelledFolder) -> list[LabelledImage]:
        """The images that may be measured, whatever the limit."""
        return [image for image in data if not self.only_held_out or held_out(image.file.name)]

    def images(self, data: LabelledFolder) -> Sequence[LabelledImage]:
        """The images to measure, in file order.

        Raises:
            MaskwrightError: There is none.
        """
        images = self.candidates(data)
        if self.limit is not None and self.limit < len(images):
            drawn = sorted(random.Random(self.seed).sample(range(len(images)), self.limit))
            images = [images[n] for n in drawn]
        if not images:
            raise MaskwrightError(f"{data.folder} has no image to measure. Add images, or leave --held-out away.")
        return images


ALL_IMAGES = ImageSelection()
