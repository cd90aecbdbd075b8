"""ImageNet statistics, which every image encoder here was trained with."""

from __future__ import annotations

import torch
from torch import Tensor

__all__ = ["IMAGENET_MEAN", "IMAGENET_STD", "normalize"]

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


def normalize(pixels: Tensor, *, maximum: float = 1.0) -> Tensor:
    """Subtract ImageNet's mean and divide by its standard deviation, channel by channel.

    Args:
        pixels: (..., 3, H, W) RGB from 0 to `maximum`.
        maximum: 1 or 255.
    """
    mean, std = (
        torch.tensor([maximum * value for value in values], device=pixels.device)[:, None, None]
        for values in (IMAGENET_MEAN, IMAGENET_STD)
    )
    return (pixels - mean) / std
