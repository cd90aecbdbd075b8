"""Which images a reproducible evaluation measures (contracts.md, section 2)."""

from __future__ import annotations

import random
from collections.abc import Sequence

from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, held_out

__all__ = ["chosen_images"]


def chosen_images(
    data: LabelledFolder, *, only_held_out: bool, limit: int | None, seed: int
) -> Sequence[LabelledImage]:
    """The images that are measured: all, or those kept out of training; `limit` of them drawn by `seed`."""
    images = [image for image in data if not only_held_out or held_out(image.file.name)]
    if limit is not None and limit < len(images):
        drawn = sorted(random.Random(seed).sample(range(len(images)), limit))
        images = [images[n] for n in drawn]
    if not images:
        raise MaskwrightError(f"{data.folder} has no image to measure. Add images, or leave --held-out away.")
    return images
