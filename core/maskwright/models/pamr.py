"""PAMR, pixel-adaptive mask refinement (Araslanov and Roth, 2020), as Talk2DINO's release sets it."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["DILATIONS", "ITERATIONS", "pamr"]

DILATIONS = (1, 2, 4, 8, 12, 24)
ITERATIONS = 10


def _around(values: Tensor, dilations: tuple[int, ...]) -> Tensor:
    """(B, C, 8 * D, H, W): for each dilation the eight neighbours of a pixel, the border repeated."""
    height, width = values.shape[-2:]
    found = []
    for reach in dilations:
        padded = F.pad(values, (reach, reach, reach, reach), mode="replicate")
        steps = [(dy, dx) for dy in (0, reach, 2 * reach) for dx in (0, reach, 2 * reach) if (dy, dx) != (reach, reach)]
        found += [padded[..., dy : dy + height, dx : dx + width] for dy, dx in steps]
    return torch.stack(found, dim=2)


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
    around = _around(image, dilations)
    # the centre counts once per dilation
    samples = torch.cat([around, image[:, :, None].expand(-1, -1, len(dilations), -1, -1)], dim=2)
    spread = samples.std(dim=2, keepdim=True)
    likeness = -(around - image[:, :, None]).abs() / (1e-8 + 0.1 * spread)
    weights = likeness.mean(dim=1).softmax(dim=1)
    for _ in range(iterations):
        masks = torch.einsum("bnhw,bknhw->bkhw", weights, _around(masks, dilations))
    return masks
