"""What a preset's `config.json` says of each model."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from maskwright.models.dinotxt import DinoTxtConfig
from maskwright.models.dinotxt_highres import HighResolution
from maskwright.models.dinov3 import DinoV3Config
from maskwright.models.dinov3seg import Dinov3SegConfig
from maskwright.models.sam import SamConfig
from maskwright.models.talk2dino import LAMBDA, THRESHOLD, Formula, ProjectionConfig, Talk2DinoConfig

__all__ = [
    "PART",
    "BackboneSettings",
    "DinoTxtSettings",
    "Dinov3SegProtocol",
    "Dinov3SegSettings",
    "SamSettings",
    "SlideProtocol",
    "Talk2DinoSettings",
    "WindowProtocol",
]


@dataclass(frozen=True, slots=True)
class SlideProtocol:
    """How an image is cut for dense prediction; the defaults are dino.txt's release."""

    short_sides: tuple[int, ...] = (512,)
    """The image is resized to each of these and the probabilities are averaged; one size as released."""
    window: int = 384
    stride: int = 192


@dataclass(frozen=True, slots=True)
class DinoTxtSettings:
    """What `config.json` says of the text model."""

    model: DinoTxtConfig
    weights: str
    sha256: str
    tokenizer: str
    prompts: tuple[str, ...]
    protocol: SlideProtocol = field(default_factory=SlideProtocol)
    high_resolution: HighResolution = field(default_factory=HighResolution)
    stretch: bool = False
    """Stretch the picture's contrast first, as the bundled model was taught to expect."""
    sharpness: float = 1.0
    """Factor on the cosine before the softmax over a closed vocabulary; 1 as released."""
    scale: float = 1 / 0.07
    """Factor on the cosine against "none of these"."""
    threshold: float = 0.2
    """Cosine at which a class and "none of these" are equally likely."""
    cleaning: float = LAMBDA
    """Weight of background cleaning."""
    familiar: tuple[str, ...] | None = None
    """Words the model was taught; None when it has seen too many to list."""


@dataclass(frozen=True, slots=True)
class BackboneSettings:
    """What `config.json` says of a backbone without text."""

    model: DinoV3Config
    weights: str
    sha256: str


@dataclass(frozen=True, slots=True)
class SamSettings:
    """What `config.json` says of the promptable model."""

    model: SamConfig
    weights: str
    sha256: str
    stretch: bool = False
    """Stretch the picture's contrast first, as the bundled model was taught to expect."""
    connected: bool = False
    """Of a mask only the parts with a click are kept: a small model finds things alike as well."""
    filled_box: bool = False
    """A box is also the mask to start from, and holds the answer: a small model reads corners poorly."""
    grid: int = 32
    """Clicks along the longer side when everything is asked for; this and the next three are SAM's."""
    least_score: float = 0.88
    """IoU that the model must expect of a mask then."""
    least_stability: float = 0.95
    """IoU that the masks at a logit of `offset` and of minus that must have then."""
    offset: float = 1.0


@dataclass(frozen=True, slots=True)
class Dinov3SegProtocol:
    """How an image is looked at by dinov3.seg; the defaults are the paper's."""

    sides: tuple[int, ...] = (640,)
    """The image gets the area of a square of each of these, its ratio stays, and the chances are averaged; one size as
    published."""
    window: int = 384
    stride: int = 256
    aggregation: Literal["lga", "global", "catseg"] = "lga"
    """Features of windows and of the whole averaged; the whole alone; or predictions averaged, as in CAT-Seg."""


@dataclass(frozen=True, slots=True)
class Dinov3SegSettings:
    """What `config.json` says of dinov3.seg."""

    model: Dinov3SegConfig
    weights: str
    sha256: str
    trained: bool = True
    """False: official parts put together, to be trained; words are answered by dino.txt."""
    prompt: str = "A photo of a {} in the scene"
    protocol: Dinov3SegProtocol = field(default_factory=Dinov3SegProtocol)
    stretch: bool = False
    """Stretch the picture's contrast first, as the bundled model was taught to expect."""
    built_on: tuple[str, str] | None = None
    """SHA-256 of the weights of the text model and of the promptable model that it shares tensors with."""
    cleaning: float = LAMBDA
    """Weight of background cleaning."""
    most_classes: int | None = 256
    """Of more classes those most similar to the image are kept, as in CAT-Seg; None keeps all."""


PART = "talk2dino"


@dataclass(frozen=True, slots=True)
class WindowProtocol:
    """How an image is cut; the defaults are the published ones."""

    short_side: int = 448
    longest: int = 2048
    """At most so many pixels; a longer picture is squeezed."""
    window: int = 448
    stride: int = 224


@dataclass(frozen=True, slots=True)
class Talk2DinoSettings:
    """What `config.json` says of Talk2DINO."""

    weights: str
    sha256: str
    prompts: tuple[str, ...]
    model: Talk2DinoConfig | None = None
    """None: the projection alone is stored, and the encoders are those of the preset's dino.txt."""
    projection: ProjectionConfig | None = None
    """Where it stands alone."""
    built_on: str | None = None
    """SHA-256 of the weights whose encoders it was trained for; None: the projection came with them."""
    tokenizer: str | None = None
    protocol: WindowProtocol = field(default_factory=WindowProtocol)
    matched_at: int = 518
    """Pixels of the square that a picture is stretched to when it is compared with a phrase as a whole."""
    stretch: bool = False
    """Stretch the picture's contrast first, as the bundled model was taught to expect."""
    threshold: float = THRESHOLD
    """Score under which a pixel is none of the classes: what a probability of 0.5 stands for."""
    sharpness: float = 100.0
    """Factor on a score's distance from the threshold that makes it a probability."""
    cleaning: float = LAMBDA
    """Weight of background cleaning."""
    formula: Formula = "released"
    """By which formula."""
