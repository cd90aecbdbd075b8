"""Talk2DINO (Barsellotti et al., 2024): CLIP's words mapped into the space of DINO's patches.

Told in the paper's order: the projection (Eq. 3), attention heads as regions of an image (Eqs. 4 to 6), the loss that
teaches the projection (Eq. 7), the similarity map (Eq. 1), background cleaning (Eqs. 8 to 10) and image-text matching
(Appendix B). Both backbones stay as they are. Where the released code departs from the formulas it is followed, and
the function says so.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from maskwright.models.clip_text import ClipText, ClipTextConfig
from maskwright.models.dinotxt import VisualModel
from maskwright.models.dinov2 import SPECS as DINOV2
from maskwright.models.dinov2 import DinoV2, DinoV2Config
from maskwright.models.dinov3 import SPECS as DINOV3
from maskwright.models.dinov3 import DinoFeatures, DinoV3, DinoV3Config, LastAttention

__all__ = [
    "LAMBDA",
    "SPECS",
    "THRESHOLD",
    "Formula",
    "InfoNce",
    "Pooling",
    "Projection",
    "ProjectionConfig",
    "Talk2Dino",
    "Talk2DinoConfig",
    "best_head",
    "class_attention",
    "class_vector",
    "clean",
    "cls_attention",
    "convert_official",
    "head_embeddings",
    "head_similarity",
    "image_similarity",
    "pooled",
    "scores",
    "similarity",
]

LAMBDA = 0.2
"""Weight of the attention in background cleaning."""
THRESHOLD = 0.55
"""Score under which a pixel is background, for ViT-B; it is 0.54 for ViT-L."""
_EPS = 1e-6
_SCALE = 0.125
"""On attention logits: the released code's constant, which is right for heads 64 wide."""


@dataclass(frozen=True, slots=True)
class ProjectionConfig:
    """Sizes of the projection; the defaults are those of the released ones."""

    text: int = 512
    """Width of the text embedding."""
    width: int = 768
    """Of the patches."""
    hidden: int | None = None
    """Between the two affine maps; None: as wide as the patches."""


class Projection(nn.Module):
    """Text into patch space (Eq. 3): affine, tanh, affine; module names are those of the released files."""

    def __init__(self, config: ProjectionConfig) -> None:
        super().__init__()
        hidden = config.hidden or config.width
        self.linear_layer = nn.Linear(config.text, hidden)
        self.hidden_layers = nn.ModuleList([nn.Linear(hidden, config.width)])

    def forward(self, text: Tensor) -> Tensor:
        """(..., text) embeddings as the text tower gives them, not normalised -> (..., width), not normalised."""
        return self.hidden_layers[0](self.linear_layer(text).tanh())  # type: ignore[no-any-return]


def convert_official(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The keys of a released projection; older files call the second map `linear_layer2`."""
    return {name.replace("linear_layer2.", "hidden_layers.0."): value for name, value in state.items()}


def class_vector(projection: Projection, text: Tensor) -> Tensor:
    """(..., C) unit vectors of (P, ..., text) prompts: the mean of raw embeddings, projected, then normalised."""
    return F.normalize(projection(text.mean(dim=0)), dim=-1, eps=_EPS)


@dataclass(frozen=True, slots=True)
class Talk2DinoConfig:
    """The whole: one of the two backbones, CLIP's text tower, the projection between them."""

    dinov2: DinoV2Config | None = None
    dinov3: DinoV3Config | None = None
    text: ClipTextConfig = field(default_factory=ClipTextConfig)
    projection: ProjectionConfig = field(default_factory=ProjectionConfig)


SPECS = {
    "b": Talk2DinoConfig(dinov2=DINOV2["vitb14_reg"]),
    "dinov3-b": Talk2DinoConfig(dinov3=DINOV3["vitb16"]),
}
"""By the part of the preset's name that follows "talk2dino-"."""


class Talk2Dino(nn.Module):
    """Two frozen encoders and the projection.

    The text tower may be any that gives raw embeddings of token ids; the image encoder is DINOv2, DINOv3, or DINOv3
    with dino.txt's vision head.
    """

    def __init__(self, visual: DinoV2 | DinoV3 | VisualModel, text: nn.Module, projection: Projection) -> None:
        super().__init__()
        self.visual, self.text, self.projection = visual, text, projection

    @classmethod
    def build(cls, config: Talk2DinoConfig) -> Talk2Dino:
        """With random weights, of the given sizes; raises ValueError unless one backbone is given."""
        if (config.dinov2 is None) == (config.dinov3 is None):
            raise ValueError("Talk2DINO needs one backbone, DINOv2 or DINOv3")
        visual = DinoV2(config.dinov2) if config.dinov2 else DinoV3(config.dinov3)  # type: ignore[arg-type]
        return cls(visual, ClipText(config.text), Projection(config.projection))

    def encode_image(self, pixels: Tensor) -> tuple[DinoFeatures, Tensor]:
        """Tokens of a normalised (B, 3, H, W) batch, and (B, heads, N) logits of CLS on its patches; one pass."""
        with self.visual.watched() as seen:
            features = self.visual(pixels)
        return features, cls_attention(seen[0], self.visual.global_tokens)

    def regions(self, pixels: Tensor, size: int) -> Tensor:
        """(B, heads + 2, C): what each head of a picture looks at, what all do on average, and CLS.

        Args:
            pixels: normalised (B, 3, H, W), stretched here to a square.
            size: of that square, rounded up to whole patches.
        """
        side = -(-size // self.visual.config.patch) * self.visual.config.patch
        square = F.interpolate(pixels, (side, side), mode="bilinear", antialias=True)
        tokens, attention = self.encode_image(square.to(next(self.visual.parameters()).dtype))
        every = torch.cat([attention, attention.mean(dim=1, keepdim=True)], dim=1).float()
        looked_at = head_embeddings(tokens.patches.float().transpose(1, 2), every)
        return torch.cat([looked_at, tokens.cls.float()[:, None]], dim=1)

    def encode_class(self, ids: Tensor) -> Tensor:
        """(P, context) token ids of one class's prompts -> its (C,) unit vector."""
        return class_vector(self.projection, self.text(ids).float())


# Sec. 3.2: attention heads as regions


def cls_attention(attention: LastAttention, global_tokens: int) -> Tensor:
    """(B, heads, N) logits with which CLS looks at the patches in the last block.

    Queries and keys are taken before rotation, as the released code does for DINOv3.
    """
    return (attention.query[:, :, :1] @ attention.key[:, :, global_tokens:].transpose(2, 3))[:, :, 0] * _SCALE


def head_embeddings(features: Tensor, attention: Tensor) -> Tensor:
    """What each head looks at (Eq. 4): (B, heads, C), the mean of (B, C, N) patches weighted by softmaxed attention.

    The released code divides by N once more, which the cosine takes out again.
    """
    return attention.softmax(dim=-1) @ features.transpose(1, 2) / features.shape[-1]


def head_similarity(heads: Tensor, text: Tensor) -> Tensor:
    """Cosines (Eq. 5) of (B, heads, C) regions with (T, C) projected texts: (B, T, heads)."""
    return F.normalize(text, dim=-1, eps=_EPS) @ F.normalize(heads, dim=-1, eps=_EPS).transpose(1, 2)


def best_head(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T) the head that fits each text best; no gradient goes through the choice."""
    return head_similarity(heads.detach(), text.detach()).argmax(dim=-1)


Pooling = Literal["max_head", "average", "cls"]
"""What stands for an image in training (Table 4): the head that fits its caption best, what all heads look at on
average, or the CLS token."""


def pooled(regions: Tensor, text: Tensor, pooling: Pooling) -> Tensor:
    """(B, C): what stands for each image when its own caption, (B, C) projected, is compared with the batch.

    `regions` is (B, heads, C) for "max_head" (Eq. 6), else (B, 1, C).
    """
    if pooling != "max_head":
        return regions[:, 0]
    rows = torch.arange(len(regions), device=regions.device)
    return regions[rows, best_head(regions, text)[rows, rows]]


class InfoNce(nn.Module):
    """Symmetric cross-entropy over a batch of image-text pairs (Eq. 7), with a scale that learns."""

    def __init__(self) -> None:
        super().__init__()
        self.logit_scale = nn.Parameter(torch.tensor(math.log(1 / 0.07)))

    def forward(self, cosines: Tensor, same: Tensor | None = None) -> Tensor:
        """Loss of (B, B) cosines of images with texts; pair i is right with text i.

        `same` (B, B) marks pairs that are right as well (two pictures of a cow, captioned "cow"): they count neither
        for nor against. The released loss is this one divided by B squared.
        """
        logits = cosines * self.logit_scale.exp()
        if same is not None:
            own = torch.eye(len(logits), dtype=torch.bool, device=logits.device)
            logits = logits.masked_fill(same & ~own, -torch.inf)
        right = torch.arange(len(logits), device=logits.device)
        return (F.cross_entropy(logits, right) + F.cross_entropy(logits.T, right)) / 2


# Sec. 3.1 and 3.3: maps


def similarity(features: Tensor, text: Tensor) -> Tensor:
    """Cosines (Eq. 1) of (B, C, h, w) patches with (T, C) unit class vectors: (B, T, h, w)."""
    return torch.einsum("bchw,tc->bthw", F.normalize(features, dim=1, eps=_EPS), text)


def scores(features: Tensor, text: Tensor) -> Tensor:
    """Sigmoid of the cosines, as released: between 0.27 and 0.73, and 0.55 is a cosine of 0.2."""
    return similarity(features, text).sigmoid()


Formula = Literal["released", "paper"]
"""Background cleaning as the released code does it, which the published numbers are of, or as the paper's text says."""


def class_attention(features: Tensor, attention: Tensor, text: Tensor, *, formula: Formula = "released") -> Tensor:
    """Where the heads look that speak of a class (Eqs. 8 and 9): (T, h, w), which sums to one for each class.

    Args:
        features: (C, h, w) patches.
        attention: (heads, h * w) logits of CLS on the patches.
        text: (T, C) unit class vectors in the space of the patches.
        formula: released: attention enters as logits, as weights of the patches and in the classes' maps; paper: it is
            softmaxed over the patches first.
    """
    patches = features.flatten(1)
    if formula == "paper":
        attention = attention.softmax(dim=-1)
    heads = F.normalize(attention @ patches.T / patches.shape[1], dim=-1, eps=_EPS)
    related = (text @ heads.T).softmax(dim=-1)  # Eq. 8
    looked_at: Tensor = (related @ attention).softmax(dim=-1)  # Eq. 9
    return looked_at.reshape(-1, *features.shape[1:])


def clean(maps: Tensor, looked_at: Tensor, *, weight: float = LAMBDA, formula: Formula = "released") -> Tensor:
    """Background cleaning: each class's map, raised where the heads look that speak of the class (Eq. 10).

    Any text method can use it whose patches and class vectors share a space and whose backbone has a CLS token.

    Args:
        maps: (T, h, w) scores of the classes, of any range.
        looked_at: (T, h, w) of `class_attention`.
        weight: lambda; 0 changes nothing.
        formula: released: one minimum and maximum over all classes and patches, and the maximum in place of the span;
            paper: the span of each class's own map.

    Returns:
        (T, h, w) in the range of `maps`.
    """
    over = (0, 1, 2) if formula == "released" else (1, 2)
    low, high = looked_at.amin(over, keepdim=True), looked_at.amax(over, keepdim=True)
    bottom, top = maps.amin(over, keepdim=True), maps.amax(over, keepdim=True)
    span = high if formula == "released" else (high - low).clamp(min=torch.finfo(maps.dtype).tiny)
    shaped = bottom + (looked_at - low) / span * (top - bottom)
    return (maps + weight * shaped) / (1 + weight)  # Eq. 10


# Appendix B: image-text matching


def image_similarity(heads: Tensor, text: Tensor) -> Tensor:
    """(B, T) how well each image, given by its (B, heads, C) regions, fits each text: the best head's cosine."""
    return head_similarity(heads, text).amax(dim=-1)
