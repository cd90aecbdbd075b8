"""What all text methods share: class names, the protocol between them and the engine, scores turned into labels."""

from __future__ import annotations

import unicodedata
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from maskwright.domain import ModelRef
from maskwright.errors import EmptyPrompt
from maskwright.models.tokens import clean

__all__ = ["ClassName", "Labels", "TextMethod", "class_names", "enlarged", "labelled", "normalised"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


class ClassName(NamedTuple):
    """One class of a prompt: the name shown, and every synonym that stands for it."""

    name: str
    synonyms: tuple[str, ...]


class Labels(NamedTuple):
    """Scores turned into regions."""

    label_map: NDArray[np.int32]
    """(H, W), 0 none, k the 1-based class"""
    scores: tuple[float, ...]
    """Per class the mean probability over its pixels"""
    best: tuple[float, ...]
    """Per class the highest probability anywhere"""


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

    def label(self, embedding: Any, classes: Tensor, size_hw: tuple[int, int], *, threshold: float | None) -> Labels:
        """Give each pixel its best class.

        Args:
            embedding: of the image, by `encode`.
            classes: (T, ...) of `vectors`, stacked.
            size_hw: of the image that is labelled.
            threshold: None for a closed vocabulary, else the probability that a class needs.
        """
        ...


def class_names(prompt: str | Sequence[str]) -> list[ClassName]:
    """Classes of a prompt: separated by commas (or given as a list), synonyms by "|", repeated names once.

    Raises:
        EmptyPrompt: not a single name is left.
    """
    parts = prompt.split(",") if isinstance(prompt, str) else prompt
    found: dict[str, ClassName] = {}
    for part in parts:
        names = tuple(dict.fromkeys(n for raw in part.split("|") if (n := unicodedata.normalize("NFC", raw.strip()))))
        if names:
            found.setdefault(clean(names[0]), ClassName(names[0], names))
    if not found:
        raise EmptyPrompt
    return list(found.values())


def normalised(pixels: NDArray[np.uint8], device: torch.device) -> Tensor:
    """(1, 3, H, W) float32, ImageNet statistics."""
    image = torch.from_numpy(pixels.copy()).to(device).permute(2, 0, 1)[None].float() / 255
    mean, std = (torch.tensor(v, device=device)[:, None, None] for v in (_MEAN, _STD))
    return (image - mean) / std


def enlarged(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(T, h, w) maps at another size, bilinear."""
    return F.interpolate(maps[None], size=size_hw, mode="bilinear", align_corners=False)[0]


def labelled(
    maps: Tensor,
    none: Tensor | None,
    size_hw: tuple[int, int],
    threshold: float,
    *,
    chance: Callable[[Tensor], Tensor] = lambda plane: plane,
) -> Labels:
    """Bilinear to the image's size and arg-max, one class at a time so that memory does not grow with classes.

    Args:
        maps: (T, h, w) of the classes.
        none: (h, w) of "none of these", which a class's probability is then taken against.
        size_hw: of the image.
        threshold: probability that a class needs.
        chance: from a map's values at full size to probabilities.
    """
    against = torch.ones(size_hw, device=maps.device) if none is None else enlarged(none[None], size_hw)[0]
    top = torch.full(size_hw, -1.0, device=maps.device)
    labels = torch.zeros(size_hw, dtype=torch.int32, device=maps.device)
    best = []
    for index, small in enumerate(maps, start=1):
        plane = chance(enlarged(small[None], size_hw)[0])
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
