"""What all text methods share: class names, the protocol between them and the engine, scores turned into labels."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef, TextPrompt
from maskwright.models.normalization import normalize
from maskwright.models.pamr import affinity, refine

__all__ = [
    "Labels",
    "Scores",
    "TextMethod",
    "answer",
    "enlarged",
    "labelled",
    "normalised",
    "refined",
]


class Labels(NamedTuple):
    """Scores turned into regions."""

    label_map: NDArray[np.int32]
    """(H, W), 0 none, k the 1-based class"""
    scores: tuple[float, ...]
    """Per class the mean probability over its pixels"""
    best: tuple[float, ...]
    """Per class the highest probability anywhere"""


class Scores(NamedTuple):
    """What a method says of every class at every place, before anything is decided."""

    maps: Tensor
    """(T, h, w)"""
    none: Tensor | None = None
    """(h, w) of "none of these", which a class's probability is then taken against"""
    probability: Callable[[Tensor], Tensor] = lambda plane: plane
    """From values of `maps`, enlarged, to probabilities"""


class TextMethod(Protocol):
    """A loaded model that answers words; what it makes of an image or a word is kept by the engine."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        ...

    @property
    def procedure(self) -> Any:
        """The (frozen) settings that an image's embedding depends on."""
        ...

    def encode(self, pixels: NDArray[np.uint8], check: Callable[[float], None]) -> Any:
        """Embedding of an (H, W, 3) image: nested tuples of tensors.

        `check` is told the share done before each pass and may raise to stop.
        """
        ...

    def vectors(self, names: Sequence[str]) -> Tensor:
        """What the model makes of one class, given by its synonyms."""
        ...

    @property
    def cleaning(self) -> float | None:
        """Weight of background cleaning where pixels may be none of the classes; None where it cannot be done."""
        ...

    def scores(self, embedding: Any, classes: Tensor, *, background: float | None) -> Scores:
        """Compare an image with words.

        Args:
            embedding: of the image, by `encode`.
            classes: (T, ...) of `vectors`, stacked.
            background: None where each pixel is one of the classes, else the weight of background cleaning.
        """
        ...


def normalised(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(1, 3, H, W) float32, ImageNet statistics."""
    return normalize(torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255)


def enlarged(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(T, h, w) maps at another size, bilinear."""
    return F.interpolate(maps[None], size=size_hw, mode="bilinear", align_corners=False)[0]


def answer(
    method: TextMethod,
    embedding: Any,
    classes: Tensor,
    pixels: NDArray[np.uint8],
    prompt: TextPrompt,
    cleaning: float | None,
) -> tuple[Labels, NDArray[np.bool_] | None]:
    """Labels of an (H, W, 3) image, and the pixels that have a class without cleaning only; None without cleaning."""

    def labels(weight: float | None) -> Labels:
        scores = method.scores(embedding, classes, background=weight)
        if prompt.refine is not None:
            scores = refined(scores, pixels, classes.device)
        return labelled(scores, (pixels.shape[0], pixels.shape[1]), prompt.minimum_probability or 0.0)

    found = labels(cleaning)
    if not cleaning:
        return found, None
    return found, (labels(0.0).label_map > 0) & (found.label_map == 0)


_REFINED_SIDE, _REFINED_AREA = 512, 2**20
"""Short side and pixels at which PAMR works at most: its weights are 48 numbers a pixel."""
_TOGETHER = 16


@torch.inference_mode()
def refined(scores: Scores, pixels: NDArray[np.uint8], device: torch.device) -> Scores:
    """Probabilities that follow the picture's colours (PAMR); `pixels` is the (H, W, 3) image."""
    height, width = pixels.shape[:2]
    scale = min(1.0, _REFINED_SIDE / min(height, width), (_REFINED_AREA / (height * width)) ** 0.5)
    size = max(1, round(height * scale)), max(1, round(width * scale))
    image = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float()
    image = F.interpolate(image, size, mode="area")
    maps = scores.maps if scores.none is None else torch.cat([scores.maps, scores.none[None]])
    likeness = affinity(image[0])
    found = torch.cat([refine(scores.probability(enlarged(some, size)), likeness) for some in maps.split(_TOGETHER)])
    return Scores(found) if scores.none is None else Scores(found[:-1], found[-1])


@torch.inference_mode()
def labelled(scores: Scores, size_hw: tuple[int, int], threshold: float) -> Labels:
    """Bilinear to the image's size and arg-max, one class at a time so that memory does not grow with classes.

    Args:
        scores: of the classes.
        size_hw: of the image.
        threshold: probability that a class needs.
    """
    maps, none, probability = scores
    against = torch.ones(size_hw, device=maps.device) if none is None else enlarged(none[None], size_hw)[0]
    top = torch.full(size_hw, -1.0, device=maps.device)
    labels = torch.zeros(size_hw, dtype=torch.int32, device=maps.device)
    best = []
    for index, small in enumerate(maps, start=1):
        plane = probability(enlarged(small[None], size_hw)[0])
        better = plane > top
        top = torch.where(better, plane, top)
        labels.masked_fill_(better, index)
        best.append(float((plane if none is None else plane / (plane + against)).max()))
    score = top if none is None else top / (top + against)
    labels.masked_fill_(score < threshold, 0)
    flat = labels.flatten().long()
    pixels = torch.bincount(flat, minlength=len(maps) + 1)
    sums = torch.zeros(len(maps) + 1, dtype=torch.float64, device=score.device)
    sums.index_add_(0, flat, score.flatten().double())
    means = (sums / pixels.clamp(min=1))[1:]
    return Labels(labels.cpu().numpy(), tuple(means.tolist()), tuple(best))
