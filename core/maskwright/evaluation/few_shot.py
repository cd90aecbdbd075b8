"""Few-shot evaluation: episodes of a reference and a target image (contracts.md, section 2)."""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from maskwright.domain import Image, Mask, Reference
from maskwright.domain.mask import iou
from maskwright.engine import Engine
from maskwright.errors import MaskwrightError
from maskwright.evaluation.protocol import ALL_IMAGES, ImageSelection
from maskwright.formats.labelled_folder import LabelledFolder, LabelledImage
from maskwright.formats.segmentation import mask_of
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["EPISODES", "Episode", "ExampleScores", "draw_episodes", "evaluate_example", "rank_correlation"]

EPISODES = 200
_MAX_DRAWS = 50
"""Draws per episode before the data counts as having too few usable references."""


@dataclass(frozen=True, slots=True)
class Episode:
    """One few-shot task: segment a category in `target` from its mask in `reference`."""

    category: int
    reference: LabelledImage
    target: LabelledImage


@dataclass(frozen=True, slots=True, kw_only=True)
class ExampleScores:
    """Result of the example task."""

    task: str = "example"
    method: str = "insid3"
    preset: str
    seed: int
    episodes: int
    images: int
    """Number of different images in the episodes."""
    classes: int
    miou: float
    """Mean IoU over episodes."""
    pixel_accuracy: float
    """Mean share of correct pixels over episodes."""
    per_class: dict[str, float | None]
    """Mean IoU of a category's episodes; None where none was drawn."""
    ranking: float
    """Spearman's rank correlation of score and IoU: 1 when a higher score always means a higher IoU."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def category_mask(image: LabelledImage, category: int) -> NDArray[np.bool_]:
    """(H, W) union of a category's masks, without crowds."""
    union = np.zeros(image.size_hw, np.bool_)
    for row in image.annotations:
        if row.get("category_id") == category and row.get("segmentation") and not row.get("iscrowd"):
            union |= mask_of(row, image.size_hw)
    return union


def draw_episodes(data: LabelledFolder, selection: ImageSelection, *, count: int) -> Iterator[Episode]:
    """Draw a category, then a reference image of it, then another image of it as target, each uniformly.

    Where images carry a sequence, reference and target are frames of the same one. A reference mask that is empty or
    fills its image is drawn again.

    Args:
        data: Labelled folder.
        selection: Which images take part, and the seed; its limit is not used.
        count: Number of episodes.

    Raises:
        MaskwrightError: No category has masks in two images, or hardly a mask can be a reference.
    """
    groups: dict[int, dict[str | None, list[LabelledImage]]] = {}
    for image in selection.candidates(data):
        rows = [row for row in image.annotations if row.get("segmentation") and not row.get("iscrowd")]
        for category in dict.fromkeys(row["category_id"] for row in rows):
            groups.setdefault(category, {}).setdefault(image.sequence, []).append(image)
    references = {
        category: [(image, group) for group in by_sequence.values() if len(group) > 1 for image in group]
        for category, by_sequence in sorted(groups.items())
    }
    categories = [category for category, pairs in references.items() if pairs]
    if not categories:
        raise MaskwrightError(f"{data.folder} has no category with masks in two images. Add images.")
    rng = random.Random(selection.seed)
    for _ in range(count):
        for _ in range(_MAX_DRAWS):
            category = rng.choice(categories)
            reference, group = rng.choice(references[category])
            target = rng.choice([image for image in group if image is not reference])
            mask = category_mask(reference, category)
            if mask.any() and not mask.all() and category_mask(target, category).any():
                break
        else:
            raise MaskwrightError(f"{data.folder} has hardly a mask that could be a reference. Check its masks.")
        yield Episode(category, reference, target)


def evaluate_example(
    engine: Engine,
    folder: Path,
    *,
    refine: str | None = "crf",
    selection: ImageSelection = ALL_IMAGES,
    progress: Progress = NO_PROGRESS,
) -> ExampleScores:
    """Segment the target of each episode from its reference, and compare with the target's labels.

    Args:
        engine: Engine of the preset to measure.
        folder: Labelled folder (`images/` and `annotations.json`).
        refine: Mask refinement, or None.
        selection: Which images take part; its limit counts episodes.
        progress: Reports episodes; cancels between them.
    """
    data = LabelledFolder.read(folder)
    count = min(EPISODES, selection.limit or EPISODES)
    opened = lru_cache(maxsize=64)(Image.open)
    ious: list[float] = []
    accuracies: list[float] = []
    scores: list[float] = []
    by_class: dict[int, list[float]] = {}
    images: set[Path] = set()
    for done, episode in enumerate(draw_episodes(data, selection, count=count)):
        progress.check()
        progress.report(done, count)
        category, reference, target = episode.category, episode.reference, episode.target
        mask = Mask.from_array(category_mask(reference, category), category=data.categories[category])
        prediction = engine.segment_like(
            opened(target.file), [Reference(opened(reference.file), mask)], refine=refine
        )  # fmt: skip
        predicted, ground_truth = prediction.label_map > 0, category_mask(target, category)
        ious.append(iou(predicted, ground_truth))
        accuracies.append(float((predicted == ground_truth).mean()))
        scores.append(prediction.scores[0])
        by_class.setdefault(category, []).append(ious[-1])
        images |= {reference.file, target.file}
    progress.report(count, count)
    return ExampleScores(
        preset=engine.model.name,
        seed=selection.seed,
        episodes=len(ious),
        images=len(images),
        classes=len(by_class),
        miou=float(np.mean(ious)),
        pixel_accuracy=float(np.mean(accuracies)),
        per_class={
            name: float(np.mean(by_class[key])) if key in by_class else None for key, name in data.categories.items()
        },
        ranking=rank_correlation(scores, ious),
    )


def rank_correlation(first: list[float], second: list[float]) -> float:
    """Spearman's rank correlation; 0 where all values of a list are equal."""
    from scipy.stats import spearmanr

    if len(set(first)) < 2 or len(set(second)) < 2:
        return 0.0
    return float(spearmanr(first, second).statistic)
