"""The interface between the engine and its text methods."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from maskwright.domain import ModelRef
from maskwright.imaging.normalization import stretch_contrast
from maskwright.models.devices import mixed_precision
from maskwright.models.normalization import normalize
from maskwright.presets.loading import needs_single_precision
from maskwright.progress import Progress

__all__ = ["Scores", "TextMethod", "half_precision", "preprocess", "upsample"]


class Scores(NamedTuple):
    """Score maps of T classes, before a class is assigned to any pixel."""

    maps: Tensor
    """(T, h, w)"""
    background: Tensor | None = None
    """(h, w) score of background, which competes with each class; None where a class's probability stands alone"""
    probability: Callable[[Tensor], Tensor] = lambda maps: maps
    """From upsampled `maps` to probabilities"""
    pamr: Callable[[NDArray[np.uint8]], Tensor] | None = None
    """`maps` refined by PAMR in the method's published order, of an (H, W, 3) image; None where it has none"""


class TextMethod(Protocol):
    """A loaded open-vocabulary model. The engine caches its embeddings of images and classes."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def ref(self) -> ModelRef:
        """Name and weights hash of the model."""
        ...

    @property
    def procedure(self) -> Any:
        """The frozen settings that an image's embedding depends on."""
        ...

    @property
    def cleaning(self) -> float | None:
        """The preset's weight of background cleaning; None where the method does not support it."""
        ...

    def encode(self, pixels: NDArray[np.uint8], progress: Progress, limits: tuple[float, float] | None = None) -> Any:
        """Encode an image.

        Args:
            pixels: (H, W, 3) RGB.
            progress: reports encoder passes, and cancels between them.
            limits: of the contrast, where the preset stretches it; None takes the image's own.

        Returns:
            The embedding: nested tuples of tensors.
        """
        ...

    def class_embedding(self, synonyms: Sequence[str]) -> Tensor:
        """Encode one class, given by its synonyms."""
        ...

    def scores(self, embedding: Any, classes: Tensor, *, cleaning: float | None) -> Scores:
        """Score every class everywhere in an image.

        Args:
            embedding: of the image, from `encode`.
            classes: (T, ...) class embeddings, stacked.
            cleaning: weight of background cleaning, 0 for none; None where every pixel is one of the classes.
        """
        ...


def half_precision(device: torch.device, model: nn.Module) -> AbstractContextManager[object]:
    """Mixed precision where the network bears it; operations that need single precision choose it themselves."""
    return mixed_precision(device, enabled=not needs_single_precision(model))


def preprocess(
    pixels: NDArray[np.uint8], device: torch.device, *, stretch: bool, limits: tuple[float, float] | None = None
) -> Tensor:
    """(1, 3, H, W) normalised float32 from (H, W, 3) pixels, whose contrast may be stretched first."""
    array = stretch_contrast(pixels, limits) if stretch else pixels
    return normalize(torch.from_numpy(array.copy()).to(device).permute(2, 0, 1)[None].float() / 255)


def upsample(maps: Tensor, size_hw: tuple[int, int]) -> Tensor:
    """(T, h, w) maps at another size, bilinear."""
    return F.interpolate(maps[None], size=size_hw, mode="bilinear", align_corners=False)[0]
