"""Answers of base and tuned model on the held-out images of a run, for the viewer in both front ends."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Mask, rle
from maskwright.errors import MaskwrightError
from maskwright.overlay import Layer, blend
from maskwright.project import Project
from maskwright.project.finetune_runs import ANSWERS

__all__ = ["JudgedImage", "JudgedMasks", "JudgedOverlays", "judged_images", "judged_masks", "judged_overlays"]


@dataclass(frozen=True, slots=True)
class JudgedImage:
    """A held-out image."""

    image_id: int
    file_name: str
    before: float | None
    """mIoU of the base's answer over the classes on it (clicks: IoU after one click); None where nothing counts."""
    after: float | None
    """The same of the tuned model's."""

    @property
    def change(self) -> float:
        """How much better the tuned model is."""
        return (self.after or 0.0) - (self.before or 0.0)


@dataclass(frozen=True, slots=True)
class JudgedMasks:
    """The masks of one image, by whom they are."""

    person: tuple[Mask, ...]
    before: tuple[Mask, ...]
    after: tuple[Mask, ...]


class JudgedOverlays(NamedTuple):
    """An image with masks drawn over it, (H, W, 3) uint8 each."""

    person: NDArray[np.uint8]
    before: NDArray[np.uint8]
    after: NDArray[np.uint8]


def judged_overlays(image: Image, masks: JudgedMasks, colors: Mapping[str, str]) -> JudgedOverlays:
    """Draw the masks of each side over the image, in the colours of their classes."""
    sides = (masks.person, masks.before, masks.after)
    layers = ([Layer(mask, colors[str(mask.category)]) for mask in side] for side in sides)
    return JudgedOverlays(*(blend(image.pixels, one) for one in layers))


def judged_images(project: Project, run: str) -> list[JudgedImage]:
    """The held-out images of a run, the one that got worst first; empty where none were kept."""
    names = {record.id: Path(record.file_name).name for record in project.images.all()}
    rows = [
        JudgedImage(int(key), names[int(key)], row["before"]["miou"], row["after"]["miou"])
        for key, row in _read(project, run).items()
        if int(key) in names
    ]
    return sorted(rows, key=lambda row: row.change)


def judged_masks(project: Project, run: str, image_id: int) -> JudgedMasks:
    """The masks of a held-out image.

    Raises:
        MaskwrightError: The run was not measured on this image.
    """
    row = _read(project, run).get(str(image_id))
    if row is None:
        raise MaskwrightError(f"{run} was not measured on that image.", "Choose one of its held-out images.")
    record = project.runs.get(run)
    person = tuple(
        mask.mask
        for mask in project.annotations(image=image_id)
        if mask.category in record.plan.categories and not mask.crowd
    )
    return JudgedMasks(person, _masks(row["before"]), _masks(row["after"]))


def _read(project: Project, run: str) -> dict[str, Any]:
    file = project.runs.folder_of(run) / ANSWERS
    try:
        answers = json.loads(file.read_text(encoding="utf-8"))
        return answers if isinstance(answers, dict) else {}
    except (OSError, ValueError):
        return {}


def _masks(answer: dict[str, Any]) -> tuple[Mask, ...]:
    return tuple(Mask(name, rle.compressed(region)) for name, region in answer["masks"].items())
