"""Settings of the training recipes: models of the bundled preset, schedules, loss weights."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from maskwright.models.anyup import AnyUpConfig
from maskwright.models.cost_aggregation import AggregatorConfig
from maskwright.models.dinotxt import DinoTxtConfig, HeadConfig, TextConfig
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.efficientnet_lite import LiteConfig
from maskwright.models.ovs_dino import HeadsConfig
from maskwright.models.sam import SPECS as SAM

__all__ = [
    "RELEASED_LR",
    "TINY_DINOTXT",
    "TINY_DINOV3SEG",
    "TINY_OVS",
    "TINY_SEG",
    "ClickConfig",
    "CropSchedule",
    "OvsConfig",
    "Schedule",
    "SegConfig",
    "TrainConfig",
    "TuneConfig",
]

RELEASED_LR = 2e-6
"""Largest learning rate for weights that their authors published: dinov3.seg's for dino.txt and SAM (Sec. 4.2)."""

TINY_DINOTXT = DinoTxtConfig(
    backbone=DinoV3Config(width=384, depth=3, heads=6, layer_scale=1.0, drop_path=0.05, trunk=LiteConfig()),
    head=HeadConfig(blocks=1, heads=6, layer_scale=1.0, drop_path=0.05),
    text=TextConfig(vocabulary=8192, context=32, width=256, depth=4, heads=4),
)
"""dino.txt of the bundled preset: DINOv3's transformer on EfficientNet-Lite2, and a small text tower."""

TINY_DINOV3SEG = Dinov3SegConfig(
    vlm=TINY_DINOTXT, spe=SAM["mobile"], taps=(3, 2), anyup=AnyUpConfig(width=32, heads=4, window=0.05), guide=4,
    aggregator=AggregatorConfig(
        text=384, appearance=256, taps=(128, 64), hidden=48, window=6, text_guidance=32, appearance_guidance=32,
        decoder=(32, 16), decoder_guidance=(16, 8), padding=0,
    ),
)  # fmt: skip
"""dinov3.seg of the bundled preset: dino.txt and MobileSAM, refinement and decoder at a third of the paper's width."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schedule:
    """Settings that every training run has."""

    steps: int
    batch: int
    """Images per step."""
    lr: float
    """Peak learning rate of AdamW; a linear warm-up rises to it and a cosine falls to 0."""
    pretrained_lr_scale: float = 1.0
    """Factor on `lr` for pretrained modules."""
    weight_decay: float = 0.05
    decayed: Literal["kernels", "all_but_norms"] = "kernels"
    """Parameters with weight decay: matrices and kernels except embeddings; or, as CAT-Seg has it, all except norms,
    tables of positions and `nn.Embedding`, so biases too."""
    betas: tuple[float, float] = (0.9, 0.98)
    """AdamW's averages of the gradient and of its square."""
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
class CropSchedule(Schedule):
    """Settings of a run on random crops of images."""

    crop: int
    """Side of the square training crops in pixels."""
    short_side: tuple[int, int]
    """Range in pixels that the short side of an image is resized to before cropping."""
    augment: Literal["maskwright", "catseg"] = "maskwright"
    """How images are drawn and varied, see `augmentation`; as CAT-Seg does, all images take turns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig(CropSchedule):
    """Training of dino.txt on labelled pixels."""

    model: DinoTxtConfig
    text_every: int = 4
    """Steps between two draws of synonyms and prompt templates for the class embeddings."""
    image_loss: float = 0.05
    """Weight of the image-level loss."""
    subset_loss: float = 0.3
    """Weight of the loss on random subsets of the classes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ClickConfig(Schedule):
    """Training of SAM's decoder on simulated prompts; the defaults are the bundled preset's."""

    steps: int = 351
    batch: int = 10
    lr: float = 8e-5
    weight_decay: float = 0.01
    warmup: float = 0.17
    ema: float = 0.995
    objects: int = 6
    """Largest number of objects per image."""
    prompts: int = 4
    """Prompts per object: a first one, and clicks that correct its mask."""
    boxes: float = 0.2
    """Share of the steps that start with a box."""
    interpolation: float = 0.5
    """Share of the way from the initial to the trained weights that the result goes: halfway it keeps more of what was
    known of whole objects (Wortsman et al., 2022, "Robust fine-tuning of zero-shot models")."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SegConfig(CropSchedule):
    """Training of dinov3.seg; the defaults are the paper's, or CAT-Seg's where the paper gives none."""

    model: Dinov3SegConfig = field(default_factory=Dinov3SegConfig)
    steps: int = 80_000
    batch: int = 4
    crop: int = 384
    short_side: tuple[int, int] = (384, 384)
    lr: float = 2e-4
    pretrained_lr_scale: float = 0.01
    weight_decay: float = 1e-4
    decayed: Literal["kernels", "all_but_norms"] = "all_but_norms"
    betas: tuple[float, float] = (0.9, 0.999)
    warmup: float = 0.0
    clip_norm: float = 0.01
    ema: float = 0.0
    augment: Literal["maskwright", "catseg"] = "catseg"
    label_stride: int = 1
    """Pixels per label; 1 compares at full size."""
    max_classes: int | None = None
    """Largest number of classes prompted per image, those it shows first; None is all classes of its source."""
    loss: Literal["focal_dice", "bce"] = "focal_dice"
    gamma: float = 2.0
    dice: float = 0.05
    """Weight of the dice loss."""
    none_loss: float = 0.0
    """Weight of a softmax over the prompted classes and "none"."""
    frozen_encoders: bool = False
    """Train early refinement and aggregation alone: dino.txt and the semantic prior encoder keep their weights."""
    tuned: Literal["full", "qv", "qk"] = "full"
    """What learns of dino.txt where the encoders learn: everything, or of its attention the projections of queries and
    values, or of queries and keys (Table 4)."""
    feature_mixing: float = 0.0
    """Share of the images whose features are mixed with another image's at random places."""
    new_early: bool = False
    """Early refinement starts from random weights and is trained at the full learning rate."""
    text_every: int = 1
    """Steps between two draws of synonyms and prompt templates for the class embeddings."""
    prompt: str | None = "A photo of a {} in the scene"
    """Prompt template of a class's first name; None draws names and templates."""


TINY_SEG = SegConfig(
    model=TINY_DINOV3SEG, steps=2500, batch=16, crop=320, short_side=(230, 560), lr=1e-3, weight_decay=0.02,
    decayed="kernels", betas=(0.9, 0.98), augment="maskwright", warmup=0.04, clip_norm=1.0, ema=0.998,
    label_stride=4, max_classes=20, dice=1.0, none_loss=0.3,
    frozen_encoders=True, feature_mixing=0.5, new_early=True, text_every=4, prompt=None,
)  # fmt: skip
"""dinov3.seg of the bundled preset."""


@dataclass(frozen=True, slots=True, kw_only=True)
class OvsConfig(Schedule):
    """Training of OVS-DINO; the defaults are the paper's, or the choice made where it is silent."""

    heads: HeadsConfig = field(default_factory=HeadsConfig)
    steps: int = 46_225
    """25 epochs of 118,287 images."""
    batch: int = 64
    lr: float = 1e-4
    pretrained_lr_scale: float = 0.1
    """For DINO's last blocks."""
    weight_decay: float = 1e-4
    warmup: float = 0.04
    """One epoch of 25."""
    ema: float = 0.0
    size: int = 448
    """Side in pixels of the square that images are stretched to for DINO."""
    teacher_size: int = 1024
    """The same for SAM."""
    mask_side: int = 448
    """Side of the masks that logits are compared with."""
    trained_blocks: int = 3
    """Blocks of DINO, from the end, that the segmentation loss trains; with 0 (Table 3, "frozen DINO") the maps of
    every image are computed once."""
    nouns: int = 10
    """Largest number of an image's own nouns asked in a step."""
    negatives: int = 0
    """Number of nouns asked whose target is empty; only of those that a labelled folder surely does not show there."""
    align: float = 1.0
    """Weight of the alignment; 0 is Table 2's "w/o SA"."""
    middle: Literal["encoder", "sam"] = "encoder"
    """What the decoder reads: F_middle, or SAM's embedding (Table 2, "w/o Encoder")."""
    mirror: float = 0.5
    """Probability that an image is mirrored."""


TINY_OVS = OvsConfig(
    heads=HeadsConfig(width=384, text=384, taps=(1, 2), pointwise=True, text_part="local", identity=True),
    steps=120, batch=8, lr=1e-3, warmup=0.1, ema=0.95, teacher_size=896, mask_side=112, trained_blocks=0, negatives=4,
)  # fmt: skip
"""OVS-DINO of the bundled preset, on the frozen encoders of its dino.txt, whose answers it starts from."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TuneConfig(Schedule):
    """Fine-tuning of dinov3.seg on a project's masks."""

    recipe: str
    released: bool
    """The base's weights are their authors' or tuned from these, and learn at RELEASED_LR at most."""
    side: int
    """The image is resized to about the area of a square of this side, in pixels, as at inference."""
    crop: int
    """Side of the square training crops in pixels, a multiple of the patch."""
    least: int
    """Length in pixels that no side of a resized image falls below."""
    variants: int
    """Sizes, mirror images and colours in which each image is encoded once, where its encoders stand still."""
    max_classes: int = 16
    """Largest number of classes prompted per image, absent ones included."""
    absent: int = 2
    """Classes among them that the project does not have."""
    gamma: float = 2.0
    dice: float = 0.05
    """Weight of the dice loss."""
    none_loss: float = 0.0
    """Weight of a softmax over the prompted classes and "none"."""
    replay: float = 0.25
    """Share of each batch that the base's own answers on other images take, against forgetting."""
