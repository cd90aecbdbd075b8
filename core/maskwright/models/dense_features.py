"""Dense features of a whole image from a DINO backbone, the input of INSID3."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.models.dinov2 import DinoV2
from maskwright.models.dinov3 import DinoV3
from maskwright.models.normalization import normalize

__all__ = ["dense_features", "square_input", "stretched"]


def stretched(pixels: Tensor, size: int) -> Tensor:
    """(3, size, size) from (3, H, W), bilinear; smoothed where it shrinks, as the authors resize (PIL)."""
    return F.interpolate(pixels[None], (size, size), mode="bilinear", antialias=True)[0]


def square_input(pixels: Tensor, size: int) -> Tensor:
    """(1, 3, size, size) input of the backbone from (3, H, W) in 0..1: normalised and stretched to a square."""
    return normalize(stretched(pixels, size))[None]


@torch.inference_mode()
def dense_features(backbone: DinoV2 | DinoV3, image: Tensor, *, stem: float = 0.0, position: float = 0.0) -> Tensor:
    """Patch features of the last layer after its norm, and what a small backbone loses on the way there.

    Args:
        backbone: the encoder.
        image: (1, 3, H, W), normalised; sides are multiples of the patch.
        stem: weight of the patch embedding (of a convolutional stem: appearance) beside the last layer.
        position: weight of position channels; features of a large DINOv3 hold positions already.

    Returns:
        (C', h, w) float32; C' is C, twice C with a stem, and four more with positions.
    """
    image = image.to(next(backbone.parameters()).dtype)
    if stem and isinstance(backbone, DinoV3):
        embedded, last = backbone.with_stem(image)
    else:
        embedded, last = image, backbone(image)
    features = last.patch_map()[0].float()
    parts = [features]
    if stem:
        appearance = embedded[0].float()
        appearance = F.normalize(appearance - appearance.mean(dim=(1, 2), keepdim=True), dim=0)
        parts = [stem * appearance, F.normalize(features, dim=0)]
    if position:
        parts.append(position * _positions(features.shape[1], features.shape[2], features.device))
    return torch.cat(parts)


def _positions(height: int, width: int, device: torch.device) -> Tensor:
    """(4, h, w): sine and cosine of a half turn down and across."""
    down, across = (torch.linspace(-math.pi / 2, math.pi / 2, n, device=device) for n in (height, width))
    ys, xs = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([ys.sin(), ys.cos(), xs.sin(), xs.cos()])
