"""Whole images and texts: zero-shot classification, and retrieval of images by caption and of captions by image."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import torch
from torch import Tensor

from maskwright.domain import Image
from maskwright.engine.image_level import ImageTextEncoder
from maskwright.errors import MaskwrightError
from maskwright.evaluation.protocol import ALL_IMAGES, ImageSelection
from maskwright.formats.captions import read_retrieval
from maskwright.formats.class_folders import read_class_folders
from maskwright.progress import NO_PROGRESS, Progress

__all__ = ["ClassificationScores", "RetrievalScores", "evaluate_classify", "evaluate_retrieve"]

_TEXTS = 256
"""Texts that are encoded or compared together."""
T = TypeVar("T")


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassificationScores:
    """Share of images whose class is the most similar of all, and among the five most similar."""

    task: str = "classify"
    method: str
    preset: str
    images: int
    classes: int
    top1: float
    top5: float
    per_class: dict[str, float | None]
    """Share by class; None without an image."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalScores:
    """Ranks of what belongs together among all images, or captions, of the set."""

    task: str = "retrieve"
    method: str
    preset: str
    images: int
    captions: int
    image_by_text: dict[str, float]
    """`r1`, `r5` and `r10`, the share of captions whose image is among the first; `median_rank` and `mean_rank`."""
    text_by_image: dict[str, float]
    """The same of images and the first of their captions."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def evaluate_classify(
    encoder: ImageTextEncoder,
    folder: Path,
    preset: str,
    *,
    selection: ImageSelection = ALL_IMAGES,
    progress: Progress = NO_PROGRESS,
) -> ClassificationScores:
    """Name the images of class folders by the most similar class.

    Args:
        encoder: from `image_text_encoder`.
        folder: with a folder of images for each class; see `read_class_folders`.
        preset: its name, for the result.
        selection: its limit and seed draw images.
        progress: reports images; cancels between them.

    Raises:
        MaskwrightError: the folder holds no classes, or an image cannot be read.
    """
    data = read_class_folders(folder)
    images = _drawn(data.images, selection)
    vectors = torch.stack([encoder.class_name([part.strip() for part in name.split(",")]) for name in data.names])
    hits = np.zeros((len(data.names), 3), np.int64)
    for done, (file, label) in enumerate(images):
        progress.check()
        progress.report(done, len(images))
        scores = encoder.similarity(encoder.image(Image.open(file).pixels)[None], vectors)[0]
        rank = int((scores > scores[label]).sum())
        hits[label] += 1, rank < 1, rank < 5
    progress.report(len(images), len(images))
    total, first, five = (int(part) for part in hits.sum(axis=0))
    shares = [float(row[1] / row[0]) if row[0] else None for row in hits]
    return ClassificationScores(
        method=encoder.name, preset=preset, images=total, classes=len(data.names), top1=first / total,
        top5=five / total, per_class=dict(zip(data.names, shares, strict=True)),
    )  # fmt: skip


def evaluate_retrieve(
    encoder: ImageTextEncoder,
    folder: Path,
    preset: str,
    *,
    selection: ImageSelection = ALL_IMAGES,
    progress: Progress = NO_PROGRESS,
) -> RetrievalScores:
    """Find each caption's image, and each image's captions.

    Args:
        encoder: from `image_text_encoder`.
        folder: with captioned images; see `read_retrieval`.
        preset: its name, for the result.
        selection: its limit and seed draw images.
        progress: reports images; cancels between them.

    Raises:
        MaskwrightError: the folder holds no captions, or an image is missing.
    """
    shown = _drawn(read_retrieval(folder), selection)
    if len(shown) < 2:
        raise MaskwrightError(f"{folder} has fewer than two captioned images.", "Add some.")
    vectors = []
    for done, row in enumerate(shown):
        progress.check()
        progress.report(done, len(shown))
        vectors.append(encoder.image(Image.open(row.file).pixels))
    progress.report(len(shown), len(shown))
    owner = torch.tensor([n for n, row in enumerate(shown) for _ in row.captions])
    texts = [text for row in shown for text in row.captions]
    parts = [encoder.captions(texts[start : start + _TEXTS]) for start in range(0, len(texts), _TEXTS)]
    by_text, by_image = _ranks(encoder, torch.stack(vectors), torch.cat(parts), owner)
    return RetrievalScores(
        method=encoder.name, preset=preset, images=len(shown), captions=len(texts), image_by_text=_summary(by_text),
        text_by_image=_summary(by_image),
    )  # fmt: skip


def _ranks(encoder: ImageTextEncoder, images: Tensor, texts: Tensor, owner: Tensor) -> tuple[Tensor, Tensor]:
    """From 0: (T,) ranks of each text's image, and (I,) ranks of the first of each image's texts."""
    by_text = []
    for start in range(0, len(texts), _TEXTS):
        scores = encoder.similarity(images, texts[start : start + _TEXTS]).cpu()
        own = owner[start : start + _TEXTS]
        by_text.append((scores > scores[own, torch.arange(len(own))]).sum(dim=0))
    by_image = []
    for number, image in enumerate(images):
        scores = encoder.similarity(image[None], texts)[0].cpu()
        by_image.append((scores > scores[owner == number].max()).sum())
    return torch.cat(by_text), torch.stack(by_image)


def _summary(ranks: Tensor) -> dict[str, float]:
    numbers = ranks.double() + 1
    shares = {f"r{count}": float((numbers <= count).double().mean()) for count in (1, 5, 10)}
    return shares | {"median_rank": float(np.median(numbers.numpy())), "mean_rank": float(numbers.mean())}


def _drawn(rows: Sequence[T], selection: ImageSelection) -> Sequence[T]:
    if selection.limit is None or selection.limit >= len(rows):
        return rows
    return [rows[n] for n in sorted(random.Random(selection.seed).sample(range(len(rows)), selection.limit))]
