"""What a training run is made of: sources, sizes, schedule."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from maskwright.models.anyup import AnyUpConfig
from maskwright.models.cost_aggregation import AggregatorConfig
from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.sam import SamConfig

__all__ = ["CLICK", "SEG", "TINY", "TINY_SEG", "ClickConfig", "SegConfig", "TrainConfig"]

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

SEG = Dinov3SegConfig(
    vlm=TINY, spe=CLICK, taps=(3, 2), anyup=AnyUpConfig(width=32, heads=4, window=0.05), guide=4,
    aggregator=AggregatorConfig(
        text=256, appearance=128, taps=(128, 64), hidden=48, window=6, text_guidance=32, appearance_guidance=32,
        decoder=(32, 16), decoder_guidance=(16, 8), padding=0,
    ),
)  # fmt: skip
"""The bundled dinov3.seg: the two models above, and the paper's refinement and decoder at a third of their width."""


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


@dataclass(frozen=True, slots=True)
class SegConfig:
    """One run of the trainer of dinov3.seg; the defaults are the paper's (and CAT-Seg's where it gives none)."""

    model: Dinov3SegConfig = field(default_factory=Dinov3SegConfig)
    steps: int = 80_000
    batch: int = 4
    crop: int = 384
    short_side: tuple[int, int] = (384, 384)
    label_stride: int = 1
    """Pixels per label: 1 compares at full size."""
    classes: int | None = None
    """At most so many a picture, those it shows first; None is as many as every source has."""
    loss: Literal["focal_dice", "bce"] = "focal_dice"
    gamma: float = 2.0
    dice: float = 0.05
    """Weight of the dice loss."""
    rate: float = 2e-4
    share: float = 0.01
    """Of the rate, for what was trained before: vision-language model, semantic prior encoder, early refinement."""
    still: tuple[Literal["text", "stems"], ...] = ()
    """What does not learn: the text tower, the convolutional stems."""
    blur: float = 0.0
    """Share of the pictures that get another's features mixed in at places, as if the model did not know them."""
    weight_decay: float = 1e-4
    clip: float = 0.01
    warmup: float = 0.0
    average: float = 0.0
    new_early: bool = False
    """Early refinement starts from random weights and learns at the full rate."""
    text_every: int = 1
    prompt: str | None = "A photo of a {} in the scene"
    """What a class's first name is shown under; None draws names and prompts."""
    finish: SegConfig | None = None
    """A second run that starts where this one ends."""
    keep: float = 0.0
    """Share of the weights it started from in the result: long on few pictures, a model knows them too well (weight
    averaging as of Wortsman et al., 2022)."""
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


_SMALL_CROPS = SegConfig(
    model=SEG, steps=2600, batch=8, crop=192, short_side=(192, 480), label_stride=4, classes=16, rate=1e-3, share=0.1,
    still=("text", "stems"), blur=0.5, weight_decay=0.05, clip=1.0, warmup=0.03, average=0.998, new_early=True,
    text_every=4, prompt=None,
)  # fmt: skip
_LARGER_CROPS = replace(
    _SMALL_CROPS, steps=450, batch=4, crop=288, short_side=(288, 480), rate=4e-4, share=0.25, warmup=0.04, average=0.99
)
TINY_SEG = replace(
    _SMALL_CROPS,
    finish=replace(
        _LARGER_CROPS, finish=replace(_LARGER_CROPS, steps=1200, crop=384, short_side=(384, 512), keep=0.75)
    ),
)
"""How the bundled one is trained: on crops that a CPU can do, without what has no room to be stored twice; then for a
while on larger ones, so that the whole picture of the aggregation is no stranger to it."""
