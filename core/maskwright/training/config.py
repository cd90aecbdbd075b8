"""What a training run is made of: sources, sizes, schedule."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config

__all__ = ["TINY", "TrainConfig"]

TINY = DinoTxtConfig(
    backbone=DinoV3Config(
        width=256, depth=3, heads=4, layer_scale=1.0, drop_path=0.05, stem=((32, 1), (64, 2), (128, 3), (256, 3))
    ),
    head=HeadConfig(blocks=1, heads=4, layer_scale=1.0, drop_path=0.05),
    text=TextConfig(vocabulary=2048, context=32, width=128, depth=3, heads=4),
)
"""The bundled model: DINOv3's transformer with a convolutional stem, dino.txt's head and a small text tower."""


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
