"""Settings of the training recipes: models of the bundled preset, schedules, loss weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

from maskwright.models.anyup import AnyUpConfig
from maskwright.models.cost_aggregation import AggregatorConfig
from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.sam import SamConfig

__all__ = [
    "RELEASED_LR",
    "TINY_DINOTXT",
    "TINY_DINOV3SEG",
    "TINY_SAM",
    "TINY_SEG_STAGES",
    "ClickConfig",
    "Schedule",
    "SegConfig",
    "TrainConfig",
]

RELEASED_LR = 2e-6
"""Largest learning rate for weights that their authors published: dinov3.seg's for dino.txt and SAM (Sec. 4.2)."""

TINY_DINOTXT = DinoTxtConfig(
    backbone=DinoV3Config(
        width=256, depth=3, heads=4, layer_scale=1.0, drop_path=0.05, stem=((32, 1), (64, 2), (128, 3), (256, 3))
    ),
    head=HeadConfig(blocks=1, heads=4, layer_scale=1.0, drop_path=0.05),
    text=TextConfig(vocabulary=2048, context=32, width=128, depth=3, heads=4),
)
"""dino.txt of the bundled preset: DINOv3's transformer with a convolutional stem, and a small text tower."""

TINY_SAM = SamConfig(
    size=640, longest=576, stride=8, backbone=TINY_DINOTXT.backbone, out=128, mask_channels=16, decoder_heads=4,
    decoder_mlp=512, iou_hidden=128,
)  # fmt: skip
"""SAM of the bundled preset: the same backbone, prompt encoder and mask decoder at half of SAM's width."""

TINY_DINOV3SEG = Dinov3SegConfig(
    vlm=TINY_DINOTXT, spe=TINY_SAM, taps=(3, 2), anyup=AnyUpConfig(width=32, heads=4, window=0.05), guide=4,
    aggregator=AggregatorConfig(
        text=256, appearance=128, taps=(128, 64), hidden=48, window=6, text_guidance=32, appearance_guidance=32,
        decoder=(32, 16), decoder_guidance=(16, 8), padding=0,
    ),
)  # fmt: skip
"""dinov3.seg of the bundled preset: the two models above, refinement and decoder at a third of the paper's width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Settings that every training run has."""

    steps: int
    batch: int
    """Images per step."""
    crop: int
    """Side of the square training crops in pixels."""
    short_side: tuple[int, int]
    """Range in pixels that the short side of an image is resized to before cropping."""
    lr: float
    """Peak learning rate of AdamW; a linear warm-up rises to it and a cosine falls to 0."""
    pretrained_lr_scale: float = 1.0
    """Factor on `lr` for pretrained modules."""
    weight_decay: float = 0.05
    warmup: float
    """Share of the steps that the warm-up takes."""
    clip_norm: float = 1.0
    """Largest norm of the gradient."""
    ema: float
    """Decay of the exponential moving average of the weights, which is what is saved; 0 saves the last weights."""
    seed: int = 0

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)

    def record(self) -> dict[str, Any]:
        """Plain values for the preset's record of its training, without the model's sizes, which `config.json` has."""
        return _without_model(self.to_dict())


def _without_model(data: dict[str, Any]) -> dict[str, Any]:
    own = {key: value for key, value in data.items() if key != "model"}
    return {key: _without_model(value) if isinstance(value, dict) else value for key, value in own.items()}


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(Schedule):
    """Training of dino.txt on labelled pixels; the defaults are the bundled preset's."""

    model: DinoTxtConfig = field(default_factory=lambda: TINY_DINOTXT)
    steps: int = 6000
    batch: int = 16
    crop: int = 192
    short_side: tuple[int, int] = (192, 512)
    lr: float = 1e-3
    warmup: float = 0.02
    ema: float = 0.998
    text_steps: int = 250
    """Steps on the text tower alone, before the first image."""
    text_every: int = 4
    """Steps between two draws of synonyms and prompt templates for the class embeddings."""
    image_loss: float = 0.05
    """Weight of the image-level loss."""
    subset_loss: float = 0.3
    """Weight of the loss on random subsets of the classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickConfig(Schedule):
    """Training of SAM on simulated prompts; the defaults are the bundled preset's."""

    model: SamConfig = field(default_factory=lambda: TINY_SAM)
    steps: int = 2200
    batch: int = 4
    crop: int = 288
    short_side: tuple[int, int] = (256, 560)
    lr: float = 1e-3
    pretrained_lr_scale: float = 0.3
    warmup: float = 0.03
    ema: float = 0.998
    objects: int = 6
    """Largest number of objects per image."""
    boxes: float = 0.25
    """Share of the steps that start with a box."""
    masks: float = 0.1
    """Share of the steps that start with a mask to correct."""
    corrections: int = 4
    """Largest number of clicks after the first prompt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegConfig(Schedule):
    """Training of dinov3.seg; the defaults are the paper's, or CAT-Seg's where the paper gives none."""

    model: Dinov3SegConfig = field(default_factory=Dinov3SegConfig)
    steps: int = 80_000
    batch: int = 4
    crop: int = 384
    short_side: tuple[int, int] = (384, 384)
    lr: float = 2e-4
    pretrained_lr_scale: float = 0.01
    weight_decay: float = 1e-4
    warmup: float = 0.0
    clip_norm: float = 0.01
    ema: float = 0.0
    label_stride: int = 1
    """Pixels per label; 1 compares at full size."""
    max_classes: int | None = None
    """Largest number of classes prompted per image, those it shows first; None is all classes of its source."""
    loss: Literal["focal_dice", "bce"] = "focal_dice"
    gamma: float = 2.0
    dice: float = 0.05
    """Weight of the dice loss."""
    frozen: tuple[Literal["text", "stems"], ...] = ()
    """Modules that are not trained: the text tower, the convolutional stems."""
    feature_mixing: float = 0.0
    """Share of the images whose features are mixed with another image's at random places."""
    new_early: bool = False
    """Early refinement starts from random weights and is trained at the full learning rate."""
    text_every: int = 1
    """Steps between two draws of synonyms and prompt templates for the class embeddings."""
    prompt: str | None = "A photo of a {} in the scene"
    """Prompt template of a class's first name; None draws names and templates."""
    weight_interpolation: float = 0.0
    """Share of the initial weights in the result (weight-space ensembling, Wortsman et al., 2022)."""
    next_stage: SegConfig | None = None
    """Second run that starts from the result of this one."""

    @property
    def stages(self) -> tuple[SegConfig, ...]:
        """This run and those that follow it."""
        return (self, *(self.next_stage.stages if self.next_stage else ()))


_SMALL_CROPS = SegConfig(
    model=TINY_DINOV3SEG, steps=2600, batch=8, crop=192, short_side=(192, 480), lr=1e-3, pretrained_lr_scale=0.1,
    weight_decay=0.05, warmup=0.03, clip_norm=1.0, ema=0.998, label_stride=4, max_classes=16,
    frozen=("text", "stems"), feature_mixing=0.5, new_early=True, text_every=4, prompt=None,
)  # fmt: skip
_LARGER_CROPS = replace(
    _SMALL_CROPS, steps=450, batch=4, crop=288, short_side=(288, 480), lr=4e-4, pretrained_lr_scale=0.25, warmup=0.04,
    ema=0.99,
)  # fmt: skip
_FULL_CROPS = replace(_LARGER_CROPS, steps=1200, crop=384, short_side=(384, 512), weight_interpolation=0.75)
TINY_SEG_STAGES = replace(_SMALL_CROPS, next_stage=replace(_LARGER_CROPS, next_stage=_FULL_CROPS))
"""dinov3.seg of the bundled preset: small crops that a CPU can train on, then larger ones, so that the aggregation has
seen whole images; text tower and stems stay frozen, because the preset stores them already."""
