"""Dense features of whole pictures from a DINOv3 backbone, as INSID3 compares them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from maskwright.models.dinov3 import DinoV3
from maskwright.models.insid3 import Insid3Config

__all__ = ["DenseConfig", "dense_features", "picture"]

_MEAN = (0.485, 0.456, 0.406)
_STD = (0.229, 0.224, 0.225)


@dataclass(frozen=True, slots=True)
class DenseConfig:
    """What `config.json` says of segmentation by example; the defaults are the authors' for DINOv3 ViT-L."""

    part: str = "dinotxt"
    """The part of the preset whose backbone encodes."""
    method: Insid3Config = field(default_factory=Insid3Config)
    stretch: bool = False
    """Stretch the picture's contrast first, as the bundled model was taught to expect."""
    stem: float = 0.0
    """Weight of the convolutional stem's output beside the last layer: a small backbone loses appearance on its way."""
    position: float = 0.0
    """Weight of position channels: DINOv3's features carry positions, a small backbone's hardly do."""


def picture(pixels: Tensor, size: int) -> Tensor:
    """(1, 3, size, size) normalised, from (3, H, W) in 0..1; the ratio is not kept."""
    mean, std = (torch.tensor(v, device=pixels.device)[:, None, None] for v in (_MEAN, _STD))
    return F.interpolate(((pixels - mean) / std)[None], (size, size), mode="bilinear")


@torch.inference_mode()
def dense_features(backbone: DinoV3, image: Tensor, config: DenseConfig) -> Tensor:
    """(C, h, w) float32 features of a (1, 3, H, W) normalised picture: the last layer after its norm, patches only."""
    image = image.to(next(backbone.parameters()).dtype)
    stem, last = backbone.with_stem(image)
    features = last.patch_map()[0].float()
    found = [features]
    if config.stem:
        look = stem[0].float()
        look = F.normalize(look - look.mean(dim=(1, 2), keepdim=True), dim=0)
        found = [config.stem * look, F.normalize(features, dim=0)]
    if config.position:
        found.append(config.position * _positions(features.shape[1], features.shape[2], features.device))
    return torch.cat(found)


def _positions(height: int, width: int, device: torch.device) -> Tensor:
    """(4, h, w): sine and cosine of a half turn down and across."""
    down, across = (torch.linspace(-math.pi / 2, math.pi / 2, n, device=device) for n in (height, width))
    ys, xs = torch.meshgrid(down, across, indexing="ij")
    return torch.stack([ys.sin(), ys.cos(), xs.sin(), xs.cos()])
