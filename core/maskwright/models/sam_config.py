"""Sizes of SAM (Kirillov et al., 2023, "Segment Anything")."""

from __future__ import annotations

from dataclasses import dataclass

from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.tiny_vit import TinyVitConfig

__all__ = ["SPECS", "SamConfig"]


@dataclass(frozen=True, slots=True)
class SamConfig:
    """Sizes of one SAM; the defaults are ViT-B's."""

    size: int = 1024
    """Side in pixels of the square frame that coordinates are encoded in."""
    longest: int = 1024
    """The image's longest side is resized to this, in pixels."""
    stride: int = 16
    """Pixels of the input per cell of the embedding."""
    width: int = 768
    depth: int = 12
    heads: int = 12
    window: int = 14
    global_blocks: tuple[int, ...] = (2, 5, 8, 11)
    backbone: DinoV3Config | None = None
    """Makes the image encoder a `HybridEncoder` on this DINOv3; the five fields above are then unused."""
    tiny_vit: TinyVitConfig | None = None
    """Makes the image encoder MobileSAM's; the five fields before `backbone` are then unused."""
    out: int = 256
    """Channels of the embedding and width of the decoder."""
    mask_channels: int = 16
    decoder_heads: int = 8
    decoder_mlp: int = 2048
    iou_hidden: int = 256
    iou_depth: int = 3


SPECS = {
    "vitb": SamConfig(),
    "vitl": SamConfig(width=1024, depth=24, heads=16, global_blocks=(5, 11, 17, 23)),
    "mobile": SamConfig(tiny_vit=TinyVitConfig()),
}
