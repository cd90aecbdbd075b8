"""Dense CRF in a band around a mask's contour (Kraehenbuehl and Koltun, 2011), INSID3's mask refinement.

It is implemented here because no package has a permissive licence and wheels for every platform. Only pixels in the
band can change, and each kernel is summed over a lattice of offsets up to twice its width, so that the cost is
proportional to the length of the contour.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

__all__ = ["CrfConfig", "crf", "foreground_probability"]


@dataclass(frozen=True, slots=True)
class CrfConfig:
    """Widths and weights; widths in pixels are for an image whose longer side is 512, and scale with it."""

    alpha: float = 12.0
    """Spatial width of the bilateral kernel, in pixels."""
    beta: float = 0.03
    """Colour width of the bilateral kernel, for colours in 0..1."""
    bilateral: float = 20.0
    """Weight of the bilateral kernel."""
    gamma: float = 4.0
    """Width of the spatial kernel, in pixels."""
    spatial: float = 3.0
    """Weight of the spatial kernel."""
    iterations: int = 10
    band: int = 5
    """Half the width of the band that can change, in pixels."""
    sure: float = 0.95
    """Probability of foreground in the mask outside the band."""


class _Messages(NamedTuple):
    """Neighbours of a chunk of B band pixels, with weights."""

    pixels: Tensor
    """(B,) flat index"""
    neighbours: Tensor
    """(B, K) flat index"""
    weights: Tensor
    """(B, K) normalised kernels times their weights"""


_LATTICE = 6
"""Offsets in each direction of an axis, per kernel."""
_CHUNK = 8192


def crf(image: Tensor, mask: Tensor, config: CrfConfig | None = None) -> Tensor:
    """Refine a mask so that its contour follows the image's edges.

    Args:
        image: (3, H, W) in 0..1.
        mask: (H, W) bool.
        config: widths and weights; the defaults are the authors'.

    Returns:
        (H, W) bool.
    """
    return foreground_probability(image, mask, None, config) > 0.5


def foreground_probability(
    image: Tensor, mask: Tensor, unary: Tensor | None, config: CrfConfig | None = None
) -> Tensor:
    """Probability of foreground after mean-field inference in the band around a mask's contour.

    Args:
        image: (3, H, W) in 0..1.
        mask: (H, W) bool.
        unary: (H, W) probability of foreground by the model, which counts inside the band; None is 0.5.
        config: widths and weights; the defaults are the authors'.

    Returns:
        (H, W); outside the band `sure` in the mask and 1 - `sure` elsewhere.
    """
    config = config or CrfConfig()
    solid = mask[None, None].float()
    disk = _disk(config.band, mask.device)
    reach = F.conv2d(solid, disk, padding=config.band)
    # dilation minus erosion; the mask continues beyond the border
    covered = F.conv2d(torch.ones_like(solid), disk, padding=config.band)
    band = ((reach > 0) & (reach < covered))[0, 0]
    inside = torch.full_like(solid[0, 0], 0.5) if unary is None else unary.clamp(1 - config.sure, config.sure)
    probability = torch.where(band, inside, torch.where(mask, config.sure, 1 - config.sure))
    if not band.any():
        return probability
    chunks = list(_messages(image, band, config))
    logits, belief = torch.logit(probability).flatten(), probability.flatten().clone()
    for _ in range(config.iterations):
        # Potts model: of the messages only the difference between the two labels counts
        messages = [(c.pixels, (c.weights * (2 * belief[c.neighbours] - 1)).sum(dim=1)) for c in chunks]
        for pixels, message in messages:
            belief[pixels] = torch.sigmoid(logits[pixels] + message)
    return belief.reshape(mask.shape)


def _disk(radius: int, device: torch.device) -> Tensor:
    steps = torch.arange(-radius, radius + 1, device=device)
    return (steps[:, None] ** 2 + steps[None] ** 2 <= radius**2).float()[None, None]


def _lattice(width: float, device: torch.device) -> Tensor:
    """(K, 2) integer (dy, dx) offsets up to twice the kernel's width, without (0, 0)."""
    steps = torch.linspace(-2 * width, 2 * width, 2 * _LATTICE + 1, device=device).round().long().unique()
    offsets = torch.cartesian_prod(steps, steps)
    return offsets[(offsets != 0).any(dim=1)]


def _messages(image: Tensor, band: Tensor, config: CrfConfig) -> Iterator[_Messages]:
    height, width = band.shape
    scale = max(height, width) / 512
    alpha, gamma = config.alpha * scale, config.gamma * scale
    wide, near = _lattice(alpha, band.device), _lattice(gamma, band.device)
    colours = image.flatten(1)
    closeness = {
        "wide": torch.exp(-(wide.float() ** 2).sum(dim=1) / (2 * alpha**2)),
        "near": torch.exp(-(near.float() ** 2).sum(dim=1) / (2 * gamma**2)),
    }
    rows, columns = band.nonzero(as_tuple=True)
    for y, x in zip(rows.split(_CHUNK), columns.split(_CHUNK), strict=True):
        pixels = y * width + x

        def neighbours(offsets: Tensor, y: Tensor = y, x: Tensor = x) -> tuple[Tensor, Tensor]:
            at_y, at_x = y[:, None] + offsets[:, 0], x[:, None] + offsets[:, 1]
            inside = (at_y >= 0) & (at_y < height) & (at_x >= 0) & (at_x < width)
            return at_y.clamp(0, height - 1) * width + at_x.clamp(0, width - 1), inside

        far, inside = neighbours(wide)
        distance = ((colours[:, far] - colours[:, pixels, None]) ** 2).sum(dim=0)
        bilateral = closeness["wide"] * torch.exp(-distance / (2 * config.beta**2)) * inside
        close, inside = neighbours(near)
        spatial = closeness["near"] * inside
        weights = [
            config.bilateral * bilateral / bilateral.sum(dim=1, keepdim=True).clamp_min(1e-8),
            config.spatial * spatial / spatial.sum(dim=1, keepdim=True).clamp_min(1e-8),
        ]
        yield _Messages(pixels, torch.cat([far, close], dim=1), torch.cat(weights, dim=1))
