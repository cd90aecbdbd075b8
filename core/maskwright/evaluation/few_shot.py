"""The evaluation protocol of segmentation by example (contracts.md section 2): episodes of a reference and a target."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Mask, Reference
from maskwright.domain.mask import iou
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage, held_out, mask_of
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["EPISODES", "Episode", "ExampleScores", "draw", "evaluate_example"]

EPISODES = 200
_TRIES = 50
"""Draws per episode before the data is said to hold too few references."""


@dataclass(frozen=True, slots=True)
class Episode:
    """Find in `target` what `reference` shows of a category."""

    category: int
    reference: LabelledImage
    target: LabelledImage


@dataclass(frozen=True, slots=True)
class ExampleScores:
    """Result of the example task."""

    task: str
    method: str
    preset: str
    seed: int
    episodes: int
    images: int
    """How many different images took part."""
    classes: int
    miou: float
    """Mean IoU over episodes."""
    pixel_accuracy: float
    """Mean share of right pixels over episodes."""
    per_class: dict[str, float | None]
    """Mean IoU of a category's episodes; None where none was drawn."""
    ranking: float
    """Spearman's correlation between score and IoU: 1 when "most certain first" is "best first"."""


def region(image: LabelledImage, category: int) -> NDArray[np.bool_]:
    """(H, W): the union of a category's masks, crowds left out."""
    union = np.zeros(image.size_hw, np.bool_)
    for row in image.annotations:
        if row.get("category_id") == category and row.get("segmentation") and not row.get("iscrowd"):
            union |= mask_of(row, image.size_hw)
    return union


def draw(data: LabelledFolder, *, count: int, seed: int, only_held_out: bool = False) -> Iterator[Episode]:
    """Episodes: a category, then a reference of it, then another image of it, each evenly.

    Where images carry a sequence both are frames of one. A reference that is empty or fills its image is drawn again.

    Raises:
        MaskwrightError: no category has two images.
    """
    groups: dict[int, dict[str | None, list[LabelledImage]]] = {}
    for image in data:
        if only_held_out and not held_out(image.file.name):
            continue
        rows = [row for row in image.annotations if row.get("segmentation") and not row.get("iscrowd")]
        for category in dict.fromkeys(row["category_id"] for row in rows):
            groups.setdefault(category, {}).setdefault(image.sequence, []).append(image)
    pairs = {
        category: [(one, of) for of in by_sequence.values() if len(of) > 1 for one in of]
        for category, by_sequence in sorted(groups.items())
    }
    categories = [category for category, found in pairs.items() if found]
    if not categories:
        raise MaskwrightError(f"{data.folder} has no category with masks in two images. Add images.")
    chance = random.Random(seed)
    for _ in range(count):
        for _ in range(_TRIES):
            category = chance.choice(categories)
            reference, group = chance.choice(pairs[category])
            target = chance.choice([one for one in group if one is not reference])
            shown = region(reference, category)
            if shown.any() and not shown.all() and region(target, category).any():
                break
        else:
            raise MaskwrightError(f"{data.folder} has hardly a mask that could be a reference. Check its masks.")
        yield Episode(category, reference, target)


def evaluate_example(
    engine: Engine,
    folder: Path,
    *,
    refine: str | None = "crf",
    only_held_out: bool = False,
    limit: int | None = None,
    seed: int = 0,
    progress: Progress = NO_PROGRESS,
) -> ExampleScores:
    """Segment the target of each episode by its reference, and compare with its labels.

    Args:
        engine: with the preset to measure.
        folder: `images/` and `annotations.json`.
        refine: refinement of the contour, or None.
        only_held_out: only images that training leaves out.
        limit: at most so many episodes.
        seed: of the draw.
        progress: hears how many episodes are done.
    """
    data = LabelledFolder.read(folder)
    count = min(EPISODES, limit or EPISODES)
    opened = lru_cache(maxsize=64)(Image.open)
    ious: list[float] = []
    right: list[float] = []
    scores: list[float] = []
    by_class: dict[int, list[float]] = {}
    images: set[Path] = set()
    for done, one in enumerate(draw(data, count=count, seed=seed, only_held_out=only_held_out)):
        progress.report(done, count)
        shown = Mask.from_array(region(one.reference, one.category), category=data.categories[one.category])
        found = engine.segment_like(
            opened(one.target.file), [Reference(opened(one.reference.file), shown)], refine=refine
        )
        mask, truth = found.label_map > 0, region(one.target, one.category)
        ious.append(iou(mask, truth))
        right.append(float((mask == truth).mean()))
        scores.append(found.scores[0])
        by_class.setdefault(one.category, []).append(ious[-1])
        images |= {one.reference.file, one.target.file}
    progress.report(count, count)
    return ExampleScores(
        task="example",
        method="insid3",
        preset=engine.model.name,
        seed=seed,
        episodes=len(ious),
        images=len(images),
        classes=len(by_class),
        miou=float(np.mean(ious)),
        pixel_accuracy=float(np.mean(right)),
        per_class={
            name: float(np.mean(by_class[key])) if key in by_class else None for key, name in data.categories.items()
        },
        ranking=_spearman(scores, ious),
    )


def _spearman(first: list[float], second: list[float]) -> float:
    from scipy.stats import spearmanr

    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(spearmanr(first, second).statistic)
