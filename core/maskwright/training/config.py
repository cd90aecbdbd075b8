"""What a training run is made of: sources, sizes, schedule."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.sam import SamConfig

__all__ = ["CLICK", "TINY", "ClickConfig", "TrainConfig"]

TINY = DinoTxtConfig(
    backbone=DinoV3Config(
        width=256, depth=3, heads=4, layer_scale=1.0, drop_path=0.05, stem=((32, 1), (64, 2), (128, 3), (256, 3))
    ),
    head=HeadConfig(blocks=1, heads=4, layer_scale=1.0, drop_path=0.05),
    text=TextConfig(vocabulary=2048, context=32, width=128, depth=3, heads=4),
)
"""The bundled model: DINOv3's transformer with a convolutional stem, dino.txt's head and a small text tower."""

CLICK = SamConfig(
    size=640, longest=576, stride=8, backbone=TINY.backbone, out=128, mask_channels=16, decoder_heads=4,
    decoder_mlp=512, iou_hidden=128,
)  # fmt: skip
"""The bundled promptable model: the same backbone, and SAM's prompt encoder and decoder at half their width."""


@dataclass(frozen=True, slots=True)
class TrainConfig:
    """One run of the trainer; everything that changes its result."""

    model: DinoTxtConfig = field(default_factory=lambda: TINY)
    steps: int = 6000
    batch: int = 16
    crop: int = 192
    """Side of the training crops in pixels."""
    short_side: tuple[int, int] = (192, 512)
    """Range that an image's short side is resized to before cropping; microscopy gets 1.3 times as much."""
    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.02
    """Share of the steps with a rising rate; a cosine follows."""
    average: float = 0.998
    """Decay of the running mean of the weights, which is what is saved."""
    word_steps: int = 250
    """Steps on the text tower alone, before the first image."""
    text_every: int = 4
    """The words are encoded under other synonyms and prompts in one step of so many."""
    image_loss: float = 0.05
    subset_loss: float = 0.3
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class ClickConfig:
    """One run of the trainer of the promptable part."""

    model: SamConfig = field(default_factory=lambda: CLICK)
    steps: int = 2200
    batch: int = 4
    crop: int = 288
    short_side: tuple[int, int] = (256, 560)
    objects: int = 6
    """At most so many of a picture."""
    boxes: float = 0.25
    """Share of the steps that start with a box."""
    masks: float = 0.1
    """Share of the steps that start with a mask to correct."""
    corrections: int = 4
    """One to so many clicks follow the first prompt."""
    rate: float = 1e-3
    weight_decay: float = 0.05
    warmup: float = 0.03
    average: float = 0.998
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)
