"""Images and masks of a fine-tuning run, as its plan fixed them."""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from importlib.resources import as_file, files
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Annotation, FinetunePlan, Image
from maskwright.evaluation.metrics import IGNORED
from maskwright.files.hashing import sha256_of
from maskwright.formats.labelled_folder import rasterize
from maskwright.project import Project
from maskwright.training.finetune.images import TrainingImage

__all__ = ["HeldOut", "RunData", "sample_images"]

_REPLAYED = 20
"""Photographs of the samples whose answers are kept in training; the others show what was forgotten."""


class HeldOut(NamedTuple):
    """A held-out image with what people drew on it."""

    image_id: int
    image: Image
    masks: Sequence[Annotation]
    labels: NDArray[np.int16]
    """(H, W) 0 background, k the k-th class, IGNORED not counted"""


class RunData:
    """What a run reads from its project."""

    def __init__(self, project: Project, plan: FinetunePlan) -> None:
        self._project, self._plan = project, plan
        # masks that were edited, deleted or restored since the run was started are left out
        self._accepted = self._by_image("accepted", dict(plan.masks))
        self._rejected = self._by_image("rejected", dict(plan.rejected))

    def training(self, ids: Collection[int]) -> list[TrainingImage]:
        """Images to learn from.

        Raises:
            MaskwrightError: The file of one is missing.
        """
        records = {record.id: record for record in self._project.images.all()}
        return [
            TrainingImage(
                self._project.images.file_of(records[key]), records[key].sha256, tuple(self._accepted.get(key, ())),
                tuple(self._rejected.get(key, ())), complete=key in self._plan.complete,
            )
            for key in ids
        ]  # fmt: skip

    def held_out(self, ids: Sequence[int]) -> Iterator[HeldOut]:
        """Images to measure on, in their order."""
        plan = self._plan
        labels = {name: index for index, name in enumerate(plan.categories, start=1)}
        judges = set(plan.judged_by or ())
        for key in ids:
            image, masks = self._project.images.open(key), self._accepted.get(key, [])
            if judges:
                # what a model proposed says nothing about a model: its pixels do not count
                masks = [mask if mask.uid in judges else replace(mask, crowd=True) for mask in masks]
            empty = 0 if plan.background else IGNORED
            yield HeldOut(key, image, masks, rasterize(masks, labels, image.size_hw, empty=empty))

    def _by_image(self, state: str, revisions: dict[str, int]) -> dict[int, list[Annotation]]:
        by_image: dict[int, list[Annotation]] = {}
        if revisions:
            for mask in self._project.annotations(states=(state,)):
                if revisions.get(mask.uid) == mask.revision:
                    by_image.setdefault(mask.image_id, []).append(mask)
        return by_image


def sample_images() -> tuple[list[TrainingImage], list[TrainingImage]]:
    """The photographs that come with the app: those that are replayed, and those that show what was forgotten."""
    with as_file(files("maskwright_assets") / "samples") as folder:
        rows = json.loads((folder / "samples.json").read_text(encoding="utf-8"))
        images = [
            TrainingImage(Path(file), sha256_of(file), words=tuple(word.strip() for word in row["words"].split(",")))
            for row in rows
            if (file := folder / row["file"]).is_file()
        ]
    return images[:_REPLAYED], images[_REPLAYED:]
