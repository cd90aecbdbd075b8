"""PAMR, pixel-adaptive mask refinement (Araslanov and Roth, 2020), as Talk2DINO's release sets it.

Neighbours are never laid side by side for all pixels and masks: every step reads one neighbour of a strip of rows, so
the memory is that of one weight per pixel and neighbour, whatever the number of masks, and a strip stays in the
processor's cache.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DILATIONS", "ITERATIONS", "affinity", "pamr", "refine"]

DILATIONS = (1, 2, 4, 8, 12, 24)
ITERATIONS = 10
_STRIP = 2**18
"""Values that are worked on at a time on a CPU."""


def pamr(
    image: Tensor, masks: Tensor, *, iterations: int = ITERATIONS, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """Masks whose values follow the picture's colours.

    Args:
        image: (B, 3, H', W') in 0..255, resized to the masks when its size differs.
        masks: (B, K, H, W) scores of any range.
        iterations: how often each value is replaced by the mean of its neighbours, weighted by likeness.
        dilations: of the 3 x 3 neighbourhoods.
    """
    if image.shape[-2:] != masks.shape[-2:]:
        image = F.interpolate(image, masks.shape[-2:], mode="bilinear", align_corners=True)
    return torch.stack(
        [
            refine(one, affinity(picture, dilations), iterations=iterations, dilations=dilations)
            for picture, one in zip(image, masks, strict=True)
        ]
    )


def _steps(dilations: tuple[int, ...]) -> list[tuple[int, int]]:
    """(down, across) of the eight neighbours at each dilation."""
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return [(dy * reach, dx * reach) for reach in dilations for dy, dx in around]


def _neighbours(padded: Tensor, reach: int, rows: slice, dilations: tuple[int, ...]) -> Iterator[Tensor]:
    """(C, rows, W) values of each neighbour of some rows; `padded` (C, H + 2 reach, W + 2 reach) repeats the border."""
    width = padded.shape[-1] - 2 * reach
    for dy, dx in _steps(dilations):
        top, left = rows.start + dy + reach, dx + reach
        yield padded[:, top : top + rows.stop - rows.start, left : left + width]


def _padded(planes: Tensor, reach: int) -> Tensor:
    return F.pad(planes[None], (reach,) * 4, mode="replicate")[0]


def _strips(planes: Tensor) -> Iterator[slice]:
    """Rows of (C, H, W) planes that are worked on at a time: all of them on a GPU."""
    count, height, width = planes.shape
    rows = max(1, _STRIP // (count * width)) if planes.device.type == "cpu" else height
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def affinity(image: Tensor, dilations: tuple[int, ...] = DILATIONS) -> Tensor:
    """(N, H, W) weights of each pixel's neighbours in a (3, H, W) picture in 0..255, by likeness; they sum to one."""
    reach, count = max(dilations), 8 * len(dilations)
    padded = _padded(image, reach)
    likeness = image.new_empty(count, *image.shape[-2:])
    for rows in _strips(likeness):
        centre = image[:, rows]
        away = [there - centre for there in _neighbours(padded, reach, rows, dilations)]
        # deviation from the centre's value, which is a sample once per dilation
        total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
        for one in away:
            total += one
            squares += one * one
        samples = count + len(dilations)
        spread = ((squares - total * total / samples) / (samples - 1)).clamp(min=0).sqrt()
        unit = (1e-8 + 0.1 * spread).reciprocal()
        for n, one in enumerate(away):
            likeness[n, rows] = -(one.abs() * unit).mean(dim=0)
        likeness[:, rows] = likeness[:, rows].softmax(dim=0)
    return likeness


def refine(
    masks: Tensor, likeness: Tensor, *, iterations: int = ITERATIONS, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """(K, H, W) masks after so many rounds, given the picture's `affinity`."""
    reach = max(dilations)
    for _ in range(iterations):
        padded, masks = _padded(masks, reach), torch.zeros_like(masks)
        for rows in _strips(masks):
            for weight, there in zip(likeness, _neighbours(padded, reach, rows, dilations), strict=True):
                masks[:, rows].addcmul_(there, weight[rows])
    return masks
