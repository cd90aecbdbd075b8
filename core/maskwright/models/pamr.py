"""PAMR, pixel-adaptive mask refinement (Araslanov and Roth, 2020), with the settings of Talk2DINO's release.

Neighbourhoods are not unfolded: each step reads one neighbour of a strip of rows, so that the memory is one weight per
pixel and neighbour, whatever the number of masks, and a strip stays in the processor's cache.
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
"""Values processed at a time on a CPU."""


def pamr(
    image: Tensor, masks: Tensor, *, iterations: int = ITERATIONS, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """Refine masks so that they follow the colours of the image.

    Args:
        image: (B, 3, H', W') RGB in 0..255, resized to the masks when its size differs.
        masks: (B, K, H, W) scores of any range.
        iterations: how often each value is replaced by the mean of its neighbours, weighted by `affinity`.
        dilations: of the 3 x 3 neighbourhoods, in pixels.

    Returns:
        (B, K, H, W).
    """
    if image.shape[-2:] != masks.shape[-2:]:
        image = F.interpolate(image, masks.shape[-2:], mode="bilinear", align_corners=True)
    return torch.stack(
        [
            refine(planes, affinity(pixels, dilations), iterations=iterations, dilations=dilations)
            for pixels, planes in zip(image, masks, strict=True)
        ]
    )


def _steps(dilations: tuple[int, ...]) -> list[tuple[int, int]]:
    """(dy, dx) of the eight neighbours at each dilation."""
    around = [(dy, dx) for dy in (-1, 0, 1) for dx in (-1, 0, 1) if (dy, dx) != (0, 0)]
    return [(dy * reach, dx * reach) for reach in dilations for dy, dx in around]


def _neighbours(padded: Tensor, reach: int, rows: slice, dilations: tuple[int, ...]) -> Iterator[Tensor]:
    """(C, rows, W) values of each neighbour of some rows, from planes padded by `reach` on every side."""
    width = padded.shape[-1] - 2 * reach
    for dy, dx in _steps(dilations):
        top, left = rows.start + dy + reach, dx + reach
        yield padded[:, top : top + rows.stop - rows.start, left : left + width]


def _padded(planes: Tensor, reach: int) -> Tensor:
    return F.pad(planes[None], (reach,) * 4, mode="replicate")[0]


def _strips(planes: Tensor) -> Iterator[slice]:
    """Rows of (C, H, W) planes to process at a time; all of them on a GPU."""
    count, height, width = planes.shape
    rows = max(1, _STRIP // (count * width)) if planes.device.type == "cpu" else height
    for top in range(0, height, rows):
        yield slice(top, min(top + rows, height))


def affinity(image: Tensor, dilations: tuple[int, ...] = DILATIONS) -> Tensor:
    """(N, H, W) weights of each pixel's N neighbours, by similarity of colour in a (3, H, W) image; they sum to one."""
    reach, count = max(dilations), 8 * len(dilations)
    padded = _padded(image, reach)
    weights = image.new_empty(count, *image.shape[-2:])
    for rows in _strips(weights):
        centre = image[:, rows]
        differences = [neighbour - centre for neighbour in _neighbours(padded, reach, rows, dilations)]
        # standard deviation over the neighbourhoods; the centre is a sample once per dilation
        total, squares = torch.zeros_like(centre), torch.zeros_like(centre)
        for difference in differences:
            total += difference
            squares += difference * difference
        samples = count + len(dilations)
        spread = ((squares - total * total / samples) / (samples - 1)).clamp(min=0).sqrt()
        unit = (1e-8 + 0.1 * spread).reciprocal()
        for n, difference in enumerate(differences):
            weights[n, rows] = -(difference.abs() * unit).mean(dim=0)
        weights[:, rows] = weights[:, rows].softmax(dim=0)
    return weights


def refine(
    masks: Tensor, weights: Tensor, *, iterations: int = ITERATIONS, dilations: tuple[int, ...] = DILATIONS
) -> Tensor:
    """(K, H, W) masks after the iterations; `weights` is the image's `affinity`."""
    reach = max(dilations)
    for _ in range(iterations):
        padded, masks = _padded(masks, reach), torch.zeros_like(masks)
        for rows in _strips(masks):
            for weight, neighbour in zip(weights, _neighbours(padded, reach, rows, dilations), strict=True):
                masks[:, rows].addcmul_(neighbour, weight[rows])
    return masks
