"""Benchmarks of interactive segmentation: one object per image, to be clicked on."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from maskwright.domain import Image
from maskwright.formats.benchmarks.episodes import MaskedImage
from maskwright.formats.benchmarks.files import place, read_labels
from maskwright.imaging.reading import SUFFIXES

__all__ = ["CLICKS", "click_files", "read_object"]

CLICKS = {
    "grabcut": ("data_GT", "boundary_GT", "GrabCut"),
    "berkeley": ("images", "masks", "Berkeley"),
    "davis": ("img", "gt", "DAVIS"),
}
"""By name: folders of the images and of the masks, and the folder that holds both."""
_UNSURE = 128
"""Grey of pixels that GrabCut and Berkeley leave open."""


def click_files(folder: Path, benchmark: str) -> list[tuple[Path, Path]]:
    """Image and mask of each object, by name; raises MaskwrightError when the folder does not hold the data set."""
    images, masks, home = CLICKS[benchmark]
    root = place(folder, f"{home}/{images}", images, what=f"{home} for clicks ({images}/ and {masks}/)").parent
    by_stem = {file.stem: file for file in (root / masks).glob("*.*")}
    files = sorted(file for file in (root / images).iterdir() if file.suffix.lower() in SUFFIXES)
    return [(file, by_stem[file.stem]) for file in files if file.stem in by_stem]


def read_object(image: Path, mask: Path, benchmark: str) -> MaskedImage:
    """The image with the mask of its object and the pixels that do not count."""
    values = read_labels(mask)
    if benchmark == "davis":
        # every object in any color
        grey = values.max(axis=2) if values.ndim == 3 else values
        return MaskedImage(Image.open(image), grey > 0, np.zeros(grey.shape, np.bool_))
    grey = values[..., 2] if values.ndim == 3 else values
    return MaskedImage(Image.open(image), grey > _UNSURE, grey == _UNSURE)
