"""A project as a batch leaves it: plain images with proposals that nobody has decided on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

import maskwright as mw
from maskwright.domain import Annotation
from maskwright.project import Project
from maskwright.project.images import user_name
from maskwright.store import NewAnnotation

SIZE_HW = (60, 80)


def region(left: int, right: int) -> NDArray[np.bool_]:
    """The columns from `left` to `right`, without a margin above and below."""
    mask = np.zeros(SIZE_HW, bool)
    mask[10:50, left:right] = True
    return mask


def add_images(project: Project, number: int) -> None:
    """Add the first so many images; those that are there already stay as they are."""
    rng = np.random.default_rng(7)
    for _ in range(number):
        project.images.register(mw.Image(rng.integers(90, 160, (*SIZE_HW, 3), dtype=np.uint8)))


def propose(project: Project, image_id: int, **masks: NDArray[np.bool_]) -> list[Annotation]:
    """One proposal for each class name."""
    drafts = [
        NewAnnotation(
            image_id, name, mw.Mask.from_array(mask, category=name, score=0.75), "text",
            {"source": "text", "method": "dinotxt", "prompt": name, "parameters": {}}, user_name(), "proposed",
        )
        for name, mask in masks.items()
    ]  # fmt: skip
    return project.store.predictions.add(image_id, drafts, repr(sorted(masks)), user_name())
