"""Sliding-window inference: encode overlapping windows of an image, and average them where they overlap."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from maskwright.progress import Progress

__all__ = ["EncodedWindows", "average_windows", "encode_windows"]

_BATCH = 4


class EncodedWindows(NamedTuple):
    """An image at one size, cut into W windows and encoded."""

    features: Tensor
    """(W, C, h, w) patch features"""
    attention: Tensor
    """(W, heads, h * w) logits of the attention of CLS to the patches in the last block of the backbone"""
    positions: tuple[tuple[int, int], ...]
    """(top, left) of each window in the resized image, in pixels"""
    resized_hw: tuple[int, int]
    """Size of the resized image"""


def encode_windows(
    image: Tensor,
    window: int,
    positions: Sequence[tuple[int, int]],
    encode: Callable[[Tensor], tuple[Tensor, Tensor]],
    progress: Progress,
) -> EncodedWindows:
    """Encode the windows of an image in batches.

    Args:
        image: (1, 3, H, W), normalised.
        window: side of a window, in pixels.
        positions: (top, left) of each window.
        encode: (B, 3, window, window) -> features (B, C, h, w) and attention logits (B, heads, h * w).
        progress: reports windows, and cancels between batches.

    Raises:
        Cancelled: on request.
    """
    features, attention = [], []
    for start in range(0, len(positions), _BATCH):
        progress.check()
        progress.report(start, len(positions), "Encoding")
        crops = [image[:, :, y : y + window, x : x + window] for y, x in positions[start : start + _BATCH]]
        batch_features, batch_attention = encode(torch.cat(crops))
        features.append(batch_features)
        attention.append(batch_attention)
    progress.report(len(positions), len(positions), "Encoding")
    size = image.shape[-2], image.shape[-1]
    return EncodedWindows(torch.cat(features), torch.cat(attention), tuple(positions), size)


def average_windows(
    windows: Iterable[Tensor], positions: Sequence[tuple[int, int]], size_hw: tuple[int, int]
) -> Tensor:
    """Mean of overlapping windows at their positions.

    Args:
        windows: (C, h, w) each; a generator keeps only one of them in memory.
        positions: (top, left) of each window; together they cover the result.
        size_hw: of the result.

    Returns:
        (C, *size_hw) in the type of the windows.
    """
    total = count = torch.zeros(())
    for number, (window, (top, left)) in enumerate(zip(windows, positions, strict=True)):
        if number == 0:
            total, count = window.new_zeros(len(window), *size_hw), window.new_zeros(size_hw)
        height, width = window.shape[-2:]
        total[:, top : top + height, left : left + width] += window
        count[top : top + height, left : left + width] += 1
    return total / count
