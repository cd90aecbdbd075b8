"""Settings of each model in a preset: the entries of its `config.json` as frozen dataclasses.

A field whose key in the file has another name says so with `stored_as`; the format of the file stays as it was.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from maskwright.models.dinotxt import DinoTxtConfig
from maskwright.models.dinotxt_highres import HighResolution
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.insid3 import Insid3Config
from maskwright.models.ovs_dino import EncodersConfig, HeadsConfig
from maskwright.models.sam import SamConfig
from maskwright.models.talk2dino import LAMBDA, THRESHOLD, Formula, ProjectionConfig, Talk2DinoConfig

__all__ = [
    "JSON_KEY",
    "OVS_DINO",
    "OVS_ENCODERS",
    "TALK2DINO",
    "TEXT",
    "BackboneSettings",
    "DinoTxtSettings",
    "Dinov3SegProtocol",
    "Dinov3SegSettings",
    "Insid3Settings",
    "OvsDinoSettings",
    "OvsEncodersSettings",
    "PointMatching",
    "SamSettings",
    "SlideProtocol",
    "Talk2DinoSettings",
    "WindowProtocol",
]

JSON_KEY = "json_key"
"""Metadata of a field: its key in `config.json` where that is not the field's name."""
TALK2DINO = "talk2dino"
"""Talk2DINO's entry in `config.json`."""
OVS_DINO, OVS_ENCODERS = "ovs-dino", "ovs-dino-encoders"
"""OVS-DINO's trained parts, and the encoders that they are trained on where these are not dino.txt's."""
TEXT = "text"
"""Entry of `config.json` whose `method` answers text prompts that name none: the one that was fine-tuned."""


def stored_as(key: str, default: Any) -> Any:
    """A field with a default that `config.json` holds under `key`."""
    return field(default=default, metadata={JSON_KEY: key})


@dataclass(frozen=True, slots=True)
class SlideProtocol:
    """Sliding-window inference of dino.txt; the defaults are those of its release."""

    short_sides: tuple[int, ...] = (512,)
    """Short sides in pixels that the image is resized to; probabilities are averaged over them (release: one)."""
    window: int = 384
    """Side of a window, in pixels."""
    stride: int = 192


@dataclass(frozen=True, slots=True)
class DinoTxtSettings:
    """Settings of dino.txt."""

    model: DinoTxtConfig
    weights: str
    """File name of the weights."""
    sha256: str
    """Hash of that file."""
    tokenizer: str
    """File name of the tokenizer."""
    prompts: tuple[str, ...]
    """Prompt templates, with {} for the class name."""
    protocol: SlideProtocol = field(default_factory=SlideProtocol)
    high_resolution: HighResolution = field(default_factory=HighResolution)
    stretch: bool = False
    """Stretch the image's contrast first, as in the training of the bundled model."""
    logit_scale: float = stored_as("sharpness", 1.0)
    """Factor on the cosine before the softmax over the classes; 1 as released."""
    background_scale: float = stored_as("scale", 1 / 0.07)
    """The same factor where background is one of the classes."""
    threshold: float = 0.2
    """Cosine at which a class and background are equally likely."""
    cleaning: float = LAMBDA
    """Weight of background cleaning."""
    vocabulary: tuple[str, ...] | None = stored_as("familiar", None)
    """Class names in the training data; None when there are too many to list."""

    @property
    def released(self) -> bool:
        """Whether the weights are their authors' or tuned from these; presets trained here list their vocabulary."""
        return self.vocabulary is None


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """Settings of a backbone without text."""

    model: DinoV3Config
    weights: str
    sha256: str


@dataclass(frozen=True, slots=True)
class PointMatching:
    """Features for matching points with INSID3; the defaults are the authors'."""

    size: int = 768
    """Side of the square input, in pixels."""
    components: int = 20
    """Dimensions of the positional subspace."""
    centred: bool = True
    """Count patches from their centres; False: from their corners, as in the authors' code."""


@dataclass(frozen=True, slots=True)
class Insid3Settings:
    """Settings of INSID3; the defaults are the authors' for DINOv3 ViT-L."""

    part: str = "dinotxt"
    """Entry of the preset whose backbone encodes."""
    method: Insid3Config = field(default_factory=Insid3Config)
    stretch: bool = False
    """Stretch the image's contrast first, as in the training of the bundled model."""
    stem: float = 0.0
    """Weight of the patch embedding beside the last layer, see `dense_features`."""
    position: float = 0.0
    """Weight of the position channels, see `dense_features`."""
    points: PointMatching | None = None
    """None: points are matched with the features that masks are found with."""


@dataclass(frozen=True, slots=True)
class SamSettings:
    """Settings of SAM and of its automatic mask generation."""

    model: SamConfig
    weights: str
    sha256: str
    stretch: bool = False
    """Stretch the image's contrast first, as in the training of the bundled model."""
    connected: bool = False
    """Keep only the connected parts of a mask that hold a click: a small model also marks similar objects."""
    filled_box: bool = False
    """Pass a box as a mask prompt as well, and cut the mask to it: a small model makes little of corners."""
    points_per_side: int = stored_as("grid", 32)
    """Points along the longer side of the image; this and the next three are SAM's `SamAutomaticMaskGenerator`'s."""
    pred_iou_thresh: float = stored_as("least_score", 0.88)
    """Lowest predicted IoU of a mask."""
    stability_score_thresh: float = stored_as("least_stability", 0.95)
    """Lowest IoU between the masks at logits of `stability_score_offset` and of minus that."""
    stability_score_offset: float = stored_as("offset", 1.0)


@dataclass(frozen=True, slots=True)
class Dinov3SegProtocol:
    """Inference of dinov3.seg; the defaults are the paper's."""

    sides: tuple[int, ...] = (640,)
    """The image is resized to the area of a square of each of these sides, at its own aspect ratio; probabilities are
    averaged over them (paper: one)."""
    window: int = 384
    """Side of a window, in pixels."""
    stride: int = 256
    square: bool = False
    """Stretch the image to that square, as published, instead."""
    aggregation: Literal["lga", "global", "catseg"] = "lga"
    """Average features of the windows and of the whole image (local-global aggregation), use the whole image alone, or
    average predictions as CAT-Seg does."""
    prior: Literal["global", "lga"] = "global"
    """The same for the semantic prior encoder, except in CAT-Seg's aggregation."""


@dataclass(frozen=True, slots=True)
class Dinov3SegSettings:
    """Settings of dinov3.seg."""

    model: Dinov3SegConfig
    weights: str
    sha256: str
    trained: bool = True
    """False: imported parts that are yet to be trained; text prompts then use dino.txt."""
    prompt: str = "A photo of a {} in the scene"
    """Prompt template."""
    protocol: Dinov3SegProtocol = field(default_factory=Dinov3SegProtocol)
    stretch: bool = False
    """Stretch the image's contrast first, as in the training of the bundled model."""
    built_on: tuple[str, str] | None = None
    """SHA-256 of the weights of dino.txt and of SAM that it shares tensors with."""
    cleaning: float = LAMBDA
    """Weight of background cleaning."""
    max_classes: int | None = stored_as("most_classes", 256)
    """Of more classes the most similar to the image are kept, as in CAT-Seg; None keeps all."""
    class_pooling: tuple[int, int] | None = None
    """Pooling of the class blocks at inference, in cells; None is that of the training. CAT-Seg: 2 x 2 in training,
    1 x 1 at inference."""


@dataclass(frozen=True, slots=True)
class WindowProtocol:
    """Sliding-window inference of Talk2DINO and OVS-DINO; the defaults are the published ones."""

    short_side: int = 448
    """The image's short side is resized to this, in pixels."""
    longest: int = 2048
    """Limit of the long side, in pixels; a longer image is squeezed."""
    window: int = 448
    """Side of a window, in pixels."""
    stride: int = 224


@dataclass(frozen=True, slots=True)
class Talk2DinoSettings:
    """Settings of Talk2DINO."""

    weights: str
    sha256: str
    prompts: tuple[str, ...]
    """Prompt templates, with {} for the class name."""
    model: Talk2DinoConfig | None = None
    """None: only the projection is stored, and the encoders are those of the preset's dino.txt."""
    projection: ProjectionConfig | None = None
    """Sizes of the projection where it is stored alone."""
    built_on: str | None = None
    """SHA-256 of the weights of the encoders it was trained for; None: the projection came with them."""
    tokenizer: str | None = None
    """File name of the tokenizer; None: that of dino.txt."""
    trained: bool = True
    """False: imported encoders whose projection is yet to be trained."""
    protocol: WindowProtocol = field(default_factory=WindowProtocol)
    retrieval_size: int = stored_as("matched_at", 518)
    """Side in pixels of the square that an image is stretched to for image-text retrieval."""
    stretch: bool = False
    """Stretch the image's contrast first, as in the training of the bundled model."""
    threshold: float = THRESHOLD
    """Score below which a pixel is background: it becomes a probability of 0.5."""
    logit_scale: float = stored_as("sharpness", 100.0)
    """Factor on a score's distance from the threshold, before the sigmoid that makes it a probability."""
    cleaning: float = LAMBDA
    """Weight of background cleaning."""
    formula: Formula = "released"
    """Formula of background cleaning."""

    @property
    def encoders_sha256(self) -> str:
        """Hash of the weights of both encoders, which stay the same when the projection is trained again."""
        return self.built_on or self.sha256


@dataclass(frozen=True, slots=True)
class OvsEncodersSettings:
    """Encoders that OVS-DINO is trained on: DINOv2 and CLIP's text tower."""

    model: EncodersConfig
    weights: str
    sha256: str
    tokenizer: str
    """File name of the tokenizer."""


@dataclass(frozen=True, slots=True)
class OvsDinoSettings:
    """Settings of a trained OVS-DINO."""

    heads: HeadsConfig
    weights: str
    """File name of what was trained: the heads, and DINO's last blocks."""
    sha256: str
    built_on: str
    """SHA-256 of the weights of the encoders."""
    prompts: tuple[str, ...]
    """Prompt templates, with {} for the class name."""
    trained_blocks: int = 3
    """Number of DINO's last blocks among the weights."""
    protocol: WindowProtocol = field(default_factory=WindowProtocol)
    stretch: bool = False
    """Stretch the image's contrast first, as in the training of the bundled model."""
    threshold: float = 0.5
    """Probability below which a pixel is background: it becomes one of 0.5."""
    cleaning: float = 0.0
    """Weight of background cleaning, which the paper does not use."""
    middle: Literal["encoder", "sam"] = "encoder"
    """What the decoder reads: F_middle, or the embedding of the preset's SAM (the rows of Tables 2 and 4)."""
    teacher_size: int = 1024
    """Side in pixels of SAM's input in training."""
